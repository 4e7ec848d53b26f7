"""Recordings of a run's voices for an independent recognizer: chosen, made, heard."""

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
  voice_scores,
)
from audiopalm.evaluation.lines import Line, Said
from audiopalm.evaluation.recognizers import Recording, Transcript
from audiopalm.types import Task

CHUNK = 8  # recordings whose sound lies on the disk together, and between two lines of progress


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
      found += there
  if unknown and not found:
    raise ConfigError(
      "--recordings are to be heard, but the tasks asked have none in languages that --asr knows: "
      f"they speak {', '.join(sorted(unknown))}. Name other tasks (--tasks), or --recordings 0."
    )
  return found if each is None else _few(found, each)


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
  for path in (folder / voice_scores.FOLDER).glob("*.jsonl"):
    if any(said.heard_by != listener.recognizer.rule for said in lines.read(path)[0].said):
      path.unlink()  # by another recognizer: one voice is not scored by two
  for (system, split, name), written in by_file.items():
    lines.write(folder / voice_scores.FOLDER / f"{system}-{split}-{name}.jsonl", written)


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
  assert listener.recognizer is not None
  with tempfile.TemporaryDirectory() as place:
    clips = _clips(listener.trained.prepared, chosen, Path(place))
    for clip in clips:
      if clip.spoken is None:
        wave_S, rate_hz = waveform.from_flac(clip.utterance.wave_flac)
        wave_S = waveform.resample(wave_S, rate_hz, waveform.RATE_HZ)
        waveform.write(clip.path, wave_S, waveform.RATE_HZ)
    spoken = [clip.spoken for clip in clips if clip.spoken is not None]
    made = zip(spoken, speech.made(listener, spoken), strict=True)
    heard = {one.path: Transcript("", sounds.fault) for one, sounds in made if sounds.silent}
    audible = [Recording(c.path, c.chosen.language) for c in clips if c.path not in heard]
    said = recognizers.transcribe(listener.recognizer, audible, listener.executor, listener.kept)
    heard |= {one.path: transcript for one, transcript in zip(audible, said, strict=True)}
  return [_line(clip, heard[clip.path], listener.recognizer.rule) for clip in clips]


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
  """A WAV to be heard: a recording as it is, or `spoken` from the ids that it is kept as."""

  chosen: Chosen
  id: str
  utterance: Any
  system: str
  path: Path
  spoken: sound.Spoken | None


def _clips(prepared: Any, chosen: Sequence[Chosen], place: Path) -> list[Clip]:
  """Returns the WAVs of recordings, none of them written yet, to lie in `place`."""
  clips: list[Clip] = []
  for one in chosen:
    entry = prepared.entries(one.task, one.split)[one.number]
    said = entry.utterances[one.role]
    path = place / f"{len(clips)}.wav"
    clips.append(Clip(one, entry.id, said, voice_scores.AS_RECORDED, path, None))
    for stream in one.streams:
      path, tokenizer = place / f"{len(clips)}.wav", prepared.tokenizers[stream]
      voice = answers.voice_for(tokenizer, one.task.corpus, said)
      ids = entry.streams[f"{one.role}.{stream}"]
      spoken = sound.Spoken(ids, stream, voice, path, one.language, said.text, None, None)
      clips.append(Clip(one, entry.id, said, voice_scores.system_of(stream), path, spoken))
  return clips


def _line(clip: Clip, transcript: Transcript, rule: str) -> Line:
  one = clip.chosen
  said = Said(
    voice_scores.SPEECH, "speech", "words", clip.utterance.text, None, heard_by=rule,
    independent=transcript.text, independent_fault=transcript.fault, language=one.language,
    voice=one.voice,
  )  # fmt: skip
  task = f"{one.task.corpus.name}-{one.role}"
  return Line(clip.system, task, one.split, clip.id, one.language, one.voice, (said,))
