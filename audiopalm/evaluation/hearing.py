"""Recordings of a run's voices for an independent recognizer: chosen, made, heard."""

import dataclasses
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from audiopalm.audio import waveform
from audiopalm.data.cache import EntryUtterance
from audiopalm.data.corpora import Corpus
from audiopalm.data.prepared import Prepared
from audiopalm.errors import ConfigError
from audiopalm.evaluation import lines, scoring, speech, trials, voice_scores
from audiopalm.evaluation.lines import Answer, Said
from audiopalm.evaluation.listeners import Listener, Measurement, WavFile
from audiopalm.evaluation.sound import Spoken
from audiopalm.evaluation.speech import Listening
from audiopalm.evaluation.suites import TaskKind
from audiopalm.types import Task

AT_ONCE = 8  # recordings whose sound lies on the disk together, and between two progress messages


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
  prepared: Prepared, kinds: Sequence[TaskKind], recognizer: Listener, each: int | None
) -> list[Chosen]:
  """Returns `each` recordings (None: all) of every voice that is heard or spoken in the tasks.

  From the test split and, of voices that are not in it, from held-out voices; in the languages that
  the recognizer knows. ConfigError where it knows none of them.
  """
  chosen: list[Chosen] = []
  unknown, seen = set(), set()
  for (corpus, role), (task, streams) in _spoken(kinds).items():
    for split in (scoring.SEEN, scoring.HELD_OUT):
      if split not in corpus.splits:
        continue
      recordings = []
      for number, entry in enumerate(prepared.entries(task, split)):
        said = entry.utterances.get(role)
        if said is None or said.wave_flac is None:
          continue
        if not recognizer.hears(said.language):
          unknown.add(said.language)
          continue
        recordings.append(Chosen(task, split, role, streams, number, said.language, said.speaker))
      if split == scoring.SEEN:
        seen |= {(recording.language, recording.voice) for recording in recordings}
      else:  # its targets are in a voice that is heard in training
        recordings = [
          recording for recording in recordings if (recording.language, recording.voice) not in seen
        ]
      chosen += recordings
  if unknown and not chosen:
    raise ConfigError(
      "--recordings are to be heard, but the tasks asked have none in languages that --asr knows: "
      f"they speak {', '.join(sorted(unknown))}. Name other tasks (--tasks), or --recordings 0."
    )
  if each is None:
    return chosen
  return [
    chosen[n]
    for n in trials.draw([f"{recording.language} {recording.voice}" for recording in chosen], each)
  ]


def hear(listening: Listening, chosen: Sequence[Chosen], say: Callable[[str], None]) -> None:
  """Writes the lines of recordings as they are and through units, heard by the recognizer.

  What was heard before, also by an evaluation that was killed, is taken from `listening.kept`.
  """
  assert listening.recognizer is not None
  by_file: dict[tuple[str, str, str], list[Answer]] = {}
  started_s = time.perf_counter()
  for start in range(0, len(chosen), AT_ONCE):
    for line in _heard(listening, chosen[start : start + AT_ONCE]):
      by_file.setdefault((line.system, line.split, line.task), []).append(line)
    done = min(start + AT_ONCE, len(chosen))
    each_s = (time.perf_counter() - started_s) / done
    left_min = each_s * (len(chosen) - done) / 60
    say(
      f"recordings, as they are and through units: {done} of {len(chosen)}, {each_s:.1f} s each, "
      f"{left_min:.0f} min left"
    )
  folder = listening.folder / voice_scores.FOLDER
  for path in folder.glob("*.jsonl"):
    if any(said.heard_by != listening.recognizer.rule for said in lines.read(path)[0].said):
      path.unlink()  # by another recognizer: one voice is not scored by two
  for (system, split, name), written in by_file.items():
    lines.write(folder / f"{system}-{split}-{name}.jsonl", written)


def _spoken(kinds: Sequence[TaskKind]) -> dict[tuple[Corpus, str], tuple[Task, tuple[str, ...]]]:
  """Returns by corpus and role a task that reads its entries, and the streams it is spoken in."""
  spoken: dict[tuple[Corpus, str], tuple[Task, tuple[str, ...]]] = {}
  for kind in kinds:
    task = kind.task
    for role, stream in task.sides:
      if kind.modalities[stream] == "speech":
        first, streams = spoken.get((task.corpus, role), (task, ()))
        spoken[task.corpus, role] = first, tuple(dict.fromkeys((*streams, stream)))
  return spoken


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
  """A WAV to be heard: a recording as it is, or `spoken` from the ids that it is kept as."""

  chosen: Chosen
  id: str
  utterance: EntryUtterance
  system: str
  path: Path
  spoken: Spoken | None


def _heard(listening: Listening, chosen: Sequence[Chosen]) -> list[Answer]:
  """Returns a line for each recording, and for each of its streams."""
  assert listening.recognizer is not None
  with tempfile.TemporaryDirectory() as folder:
    clips = _clips(listening.trained.prepared, chosen, Path(folder))
    for clip in clips:
      if clip.spoken is None:
        wave_S = waveform.read_flac(clip.utterance.wave_flac)
        waveform.write(clip.path, wave_S, waveform.RATE_HZ)
    sounds = iter(
      speech.make(listening, [clip.spoken for clip in clips if clip.spoken is not None])
    )
    made = [None if clip.spoken is None else next(sounds) for clip in clips]
    silent = [sound.fault if sound is not None and sound.silent else None for sound in made]
    wavs = [WavFile(clip.path, clip.chosen.language) for clip in clips]
    heard = speech.by_recognizer(listening, wavs, silent)
  rule = listening.recognizer.rule
  return [_line(clip, transcript, rule) for clip, transcript in zip(clips, heard, strict=True)]


def _clips(prepared: Prepared, chosen: Sequence[Chosen], folder: Path) -> list[Clip]:
  """Returns the WAVs of recordings, none of them written yet, to lie in a folder."""
  clips: list[Clip] = []
  for recording in chosen:
    entry = prepared.entries(recording.task, recording.split)[recording.number]
    said = entry.utterances[recording.role]
    path = folder / f"{len(clips)}.wav"
    clips.append(Clip(recording, entry.id, said, voice_scores.AS_RECORDED, path, None))
    for stream in recording.streams:
      path, tokenizer = folder / f"{len(clips)}.wav", prepared.tokenizers[stream]
      voice = speech.voice_for(tokenizer, recording.task.corpus, said)
      ids = entry.streams[f"{recording.role}.{stream}"]
      spoken = Spoken(ids, stream, voice, path, recording.language, said.text, None, None)
      clips.append(Clip(recording, entry.id, said, voice_scores.system_of(stream), path, spoken))
  return clips


def _line(clip: Clip, transcript: Measurement, rule: str) -> Answer:
  recording = clip.chosen
  said = Said(
    voice_scores.SPEECH, "speech", "words", clip.utterance.text, None, heard_by=rule,
    independent=transcript.value, independent_fault=transcript.fault, language=recording.language,
    voice=recording.voice,
  )  # fmt: skip
  task = f"{recording.task.corpus.name}-{recording.role}"
  return Answer(
    clip.system, task, recording.split, clip.id, recording.language, recording.voice, (said,)
  )
