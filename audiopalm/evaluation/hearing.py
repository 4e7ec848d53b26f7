"""An independent recognizer hears the recordings of a run, as they are and through units.

What it made of them are the lines that `recordings` scores.
"""

import dataclasses
import tempfile
import time
from collections.abc import Callable, Sequence
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
from audiopalm.evaluation.lines import Line, Said
from audiopalm.evaluation.recognizers import Recording, Transcript
from audiopalm.evaluation.recordings import AS_RECORDED, FOLDER, SPEECH, system_of
from audiopalm.types import Task

CHUNK = 32  # recordings whose sound lies on the disk together


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
