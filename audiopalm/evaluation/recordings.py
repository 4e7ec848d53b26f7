"""The recordings of a run as an independent recognizer hears them, voice by voice.

    as_recorded     the recordings themselves: how well the recognizer knows this voice at all
    through_units   the same through ids of a stream and back: what speech out can reach
    model           what the run itself said in this voice of texts it was to read aloud

All of them in words wrong, so that a line a voice shows where understanding is lost. They lie in
WORKDIR/evaluation/recordings, `lines.Line` by line.
"""

import dataclasses
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from audiopalm.audio import waveform
from audiopalm.errors import ConfigError
from audiopalm.evaluation import (
  answers,
  lines,
  recognizers,
  scoring,
  sound,
  speech,
  suites,
  trials,
)
from audiopalm.evaluation.lines import MODEL, Line, Said
from audiopalm.evaluation.recognizers import Recording, Transcript
from audiopalm.types import Task

FOLDER = "recordings"
AS_RECORDED = "as_recorded"
CHUNK = 32  # recordings whose sound lies on the disk together
SPEECH = "speech"  # one name for all streams: voices are scored over whatever they were heard in


@dataclasses.dataclass(frozen=True)
class Chosen:
  """A record's recording: its number in the split's entries, and the role that is spoken."""

  task: Task
  split: str
  role: str
  streams: tuple[str, ...]
  number: int
  language: str
  voice: str


def system_of(stream: str) -> str:
  """Returns the name of recordings through a stream and back: "through_units"."""
  return f"through_{stream}"


def choose(
  prepared: Any, tasks: Sequence[Task], recognizer: recognizers.Recognizer, each: int | None
) -> list[Chosen]:
  """Returns `each` recordings (None: all) of every voice that is heard or spoken in the tasks.

  From the test split and, of voices that are not in it, from held-out voices; in the languages that
  the recognizer knows. ConfigError where it knows none of them.
  """
  found: list[Chosen] = []
  unknown, seen = set(), set()
  for (corpus, role), (task, streams) in _spoken(tasks, prepared).items():
    for split in (scoring.SEEN, scoring.HELD_OUT):
      if split not in corpus.splits:
        continue
      entries = prepared.entries(task, split)
      there = [
        Chosen(task, split, role, streams, number, said.language, said.speaker)
        for number in range(len(entries))
        if (said := entries[number].utterances.get(role)) is not None and said.wave_flac is not None
      ]
      unknown |= {one.language for one in there if not recognizer.hears(one.language)}
      there = [one for one in there if recognizer.hears(one.language)]
      if split == scoring.SEEN:
        seen |= {(one.language, one.voice) for one in there}
      else:  # its targets are in a voice that is heard in training
        there = [one for one in there if (one.language, one.voice) not in seen]
      found += there if each is None else _few(there, each)
  if unknown and not found:
    raise ConfigError(
      "--recordings are to be heard, but the tasks asked have none in languages that --asr knows: "
      f"they speak {', '.join(sorted(unknown))}. Name other tasks (--tasks), or --recordings 0."
    )
  return found


def hear(
  listener: speech.Listener,
  chosen: Sequence[Chosen],
  folder: Path,
  say: Callable[[str], None],
) -> None:
  """Writes the lines of recordings as they are and through units, heard by the recognizer.

  What was heard before, by an evaluation that was killed too, is taken from the listener's `kept`.
  """
  assert listener.recognizer is not None
  by_file: dict[tuple[str, str, str], list[Line]] = {}
  started_s = time.perf_counter()
  for start in range(0, len(chosen), CHUNK):
    for line in _heard(listener, chosen[start : start + CHUNK]):
      by_file.setdefault((line.system, line.split, line.task), []).append(line)
    done = min(start + CHUNK, len(chosen))
    each_s = (time.perf_counter() - started_s) / done
    left_min = each_s * (len(chosen) - done) / 60
    say(
      f"recordings, as they are and through units: {done} of {len(chosen)}, {each_s:.1f} s each, "
      f"{left_min:.0f} min left"
    )
  for path in (folder / FOLDER).glob("*.jsonl"):
    if any(said.heard_by != listener.recognizer.rule for said in lines.read(path)[0].said):
      path.unlink()  # by another recognizer: one voice is not scored by two
  for (system, split, name), written in by_file.items():
    lines.write(folder / FOLDER / f"{system}-{split}-{name}.jsonl", written)


def score(folder: Path, answered: Iterable[Line], read_aloud: Collection[str]) -> dict:
  """Returns {"rules", split: {language: {system: scores, "voices": {voice: {system: scores}}}}}.

  Scores have their intervals and number of examples. `answered` are lines of the model, of which
  those of the tasks that `read_aloud` count. {} where no recordings were heard.
  """
  there = [line for path in sorted((folder / FOLDER).glob("*.jsonl")) for line in lines.read(path)]
  if not there:
    return {}
  by = {said.heard_by for line in there for said in line.said}
  there += _of_the_model(answered, read_aloud, by)
  section: dict = {"rules": scoring.rules(there)}
  for split in (scoring.SEEN, scoring.HELD_OUT):
    of_split = [line for line in there if line.split == split]
    if of_split:
      section[split] = {
        language: {
          **_by_system(of_language),
          "voices": {
            voice: _by_system(of_voice) for voice, of_voice in _grouped(of_language, "voice")
          },
        }
        for language, of_language in _grouped(of_split, "language")
      }
  return section


def title_of(system: str) -> str:
  """Returns a system as tables name it: "recordings", "through units", "model's speech"."""
  titles = {AS_RECORDED: "recordings", MODEL: "model's speech"}
  return titles.get(system, system.replace("_", " "))


def systems(section: Mapping[str, Any]) -> list[str]:
  """Returns what the section has scores of, in order: as recorded, through streams, the model."""
  found = {
    name
    for split in (scoring.SEEN, scoring.HELD_OUT)
    for of in section.get(split, {}).values()
    for name in of
    if name != "voices"
  }
  return _ordered(found)


def rows(section: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
  """Yields (what, {system: scores}) for each language, its voices indented below."""
  for split in (scoring.SEEN, scoring.HELD_OUT):
    for language, of in section.get(split, {}).items():
      yield language + (", held-out voices" if split == scoring.HELD_OUT else ""), of
      for voice, scores in of["voices"].items():
        yield f"  {voice}", scores


def _spoken(tasks: Sequence[Task], prepared: Any) -> dict[Any, tuple[Task, tuple[str, ...]]]:
  """Returns by corpus and role a task that reads its entries, and the streams it is spoken in."""
  found: dict[Any, tuple[Task, tuple[str, ...]]] = {}
  for task in tasks:
    for role, stream in task.sides:
      if suites.modality((role, stream), prepared) == "speech":
        first, streams = found.get((task.corpus, role), (task, ()))
        found[task.corpus, role] = first, tuple(dict.fromkeys((*streams, stream)))
  return found


def _few(there: Sequence[Chosen], each: int) -> list[Chosen]:
  return [there[n] for n in trials.draw([f"{one.language} {one.voice}" for one in there], each)]


def _heard(listener: speech.Listener, chosen: Sequence[Chosen]) -> list[Line]:
  """Returns a line for each recording, and for each of its streams."""
  prepared = listener.generator.prepared
  entries = [prepared.entries(one.task, one.split)[one.number] for one in chosen]
  asked: list[tuple[Chosen, str, Any, str]] = []
  spoken: list[sound.Spoken] = []
  with tempfile.TemporaryDirectory() as place:
    recordings: list[Recording] = []
    for one, entry in zip(chosen, entries, strict=True):
      said = entry.utterances[one.role]
      for stream in (None, *one.streams):
        path = Path(place) / f"{len(recordings)}.wav"
        recordings.append(Recording(path, one.language))
        asked.append((one, entry.id, said, AS_RECORDED if stream is None else system_of(stream)))
        if stream is None:
          wave_S, rate_hz = waveform.from_flac(said.wave_flac)
          waveform.write(
            path, waveform.resample(wave_S, rate_hz, waveform.RATE_HZ), waveform.RATE_HZ
          )
        else:
          tokenizer = prepared.tokenizers[stream]
          voice = answers.voice_for(tokenizer, one.task.corpus, said)
          ids = entry.streams[f"{one.role}.{stream}"]
          spoken.append(sound.Spoken(ids, stream, voice, path, one.language, said.text, None, None))
    faults = dict(zip((one.path for one in spoken), speech.made(listener, spoken), strict=True))
    faults = {path: made.fault for path, made in faults.items() if made.silent}
    audible = [one for one in recordings if one.path not in faults]
    transcripts = dict(
      zip(
        (one.path for one in audible),
        recognizers.transcribe(listener.recognizer, audible, listener.executor, listener.kept),
        strict=True,
      )
    )
  return [
    _line(
      listener.recognizer.rule, *what,
      transcripts.get(recording.path) or Transcript("", faults[recording.path]),
    )
    for what, recording in zip(asked, recordings, strict=True)
  ]  # fmt: skip


def _line(
  rule: str, one: Chosen, id: str, utterance: Any, system: str, transcript: Transcript
) -> Line:
  said = Said(
    SPEECH, "speech", "words", utterance.text, None, heard_by=rule, independent=transcript.text,
    independent_fault=transcript.fault, language=one.language, voice=one.voice,
  )  # fmt: skip
  return Line(
    system, f"{one.task.corpus.name}-{one.role}", one.split, id, one.language, one.voice, (said,)
  )


def _of_the_model(
  answered: Iterable[Line], read_aloud: Collection[str], by: Collection[str | None]
) -> list[Line]:
  """Returns a line for each text that the model read aloud, under the voice it was said in.

  Of those that the same recognizer heard.
  """
  return [
    Line(
      MODEL, line.task, line.split, line.id, said.language, said.voice,
      (dataclasses.replace(said, stream=SPEECH, measured={}, mcd=None, hypothesis=None),),
    )
    for line in answered
    if line.system == MODEL and line.split == scoring.SEEN and line.task in read_aloud
    for said in line.said
    if said.modality == "speech" and said.independent is not None and said.heard_by in by
  ]  # fmt: skip


def _grouped(of: Sequence[Line], key: str) -> Iterator[tuple[str, list[Line]]]:
  for name in sorted({getattr(line, key) for line in of} - {None}):
    yield name, [line for line in of if getattr(line, key) == name]


def _by_system(of: Sequence[Line]) -> dict[str, dict]:
  names = _ordered({line.system for line in of})
  return {name: scoring.plain([line for line in of if line.system == name]) for name in names}


def _ordered(names: Collection[str]) -> list[str]:
  return sorted(names, key=lambda name: (name == MODEL, name != AS_RECORDED, name))
