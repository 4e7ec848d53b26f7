"""Transcribes recordings of each voice, as recorded and through units, by another recognizer."""

import collections
import dataclasses
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from audiopalm.audio import waveform
from audiopalm.data.cache import Entry
from audiopalm.data.corpora import Corpus
from audiopalm.data.prepared import Prepared
from audiopalm.errors import ConfigError
from audiopalm.evaluation import answers, saved, scoring, speech, trials
from audiopalm.evaluation.answers import Answer, Output
from audiopalm.evaluation.listeners import Listener, WavFile
from audiopalm.evaluation.sound import Spoken
from audiopalm.evaluation.speech import Listening
from audiopalm.evaluation.suites import TaskKind
from audiopalm.types import Task

# Recordings whose WAVs are on disk at the same time; a progress message follows each batch.
RECORDINGS_PER_BATCH = 8


@dataclasses.dataclass(frozen=True)
class Recording:
  """A recording of one role of a record, whose index in the entries of the split is `number`."""

  task: Task
  split: str
  role: str
  streams: tuple[str, ...]
  number: int
  language: str
  voice: str


def choose(
  prepared: Prepared, kinds: Sequence[TaskKind], recognizer: Listener, count: int | None
) -> list[Recording]:
  """Returns `count` recordings (None: all) of each voice in the speech sides of the tasks.

  They are of the test split and, for voices absent from it, of the held-out voices, in languages
  that the recognizer supports. Raises ConfigError if it supports none of the tasks' languages.
  """
  chosen: list[Recording] = []
  unknown, seen = set(), set()
  for task, role, streams in _spoken(kinds):
    for split in (scoring.SEEN, scoring.HELD_OUT):
      if split not in task.corpus.splits:
        continue
      recordings = []
      for number, entry in enumerate(prepared.entries(task, split)):
        utterance = entry.utterances.get(role)
        if utterance is None or utterance.wave_flac is None:
          continue
        if not recognizer.hears(utterance.language):
          unknown.add(utterance.language)
        elif split == scoring.SEEN or (utterance.language, utterance.speaker) not in seen:
          # Targets of the held-out split are in voices of the training split.
          recordings.append(
            Recording(task, split, role, streams, number, utterance.language, utterance.speaker)
          )
      if split == scoring.SEEN:
        seen |= {(recording.language, recording.voice) for recording in recordings}
      chosen += recordings
  if unknown and not chosen:
    raise ConfigError(
      "--recordings needs recordings in a language that --asr supports, but the tasks have only "
      f"{', '.join(sorted(unknown))}. Choose other tasks (--tasks), or set --recordings 0."
    )
  if count is None:
    return chosen
  voices = [f"{recording.language} {recording.voice}" for recording in chosen]
  return [chosen[number] for number in trials.draw(voices, count)]


def hear(listening: Listening, chosen: Sequence[Recording], say: Callable[[str], None]) -> None:
  """Transcribes recordings, as recorded and through units, and writes the answers.

  Transcripts in `listening.cache`, also those of an interrupted evaluation, are reused.
  """
  assert listening.recognizer is not None
  by_file: dict[tuple[str, str, str], list[Answer]] = {}
  done = 0
  seconds = collections.deque[float](maxlen=8)  # per recording, of recent batches (cached: ~0 s)
  for start in range(0, len(chosen), RECORDINGS_PER_BATCH):
    started_s = time.perf_counter()
    for answer in _heard(listening, chosen[start : start + RECORDINGS_PER_BATCH]):
      by_file.setdefault((answer.system, answer.split, answer.task), []).append(answer)
    batch_size = min(RECORDINGS_PER_BATCH, len(chosen) - start)
    done += batch_size
    seconds.append((time.perf_counter() - started_s) / batch_size)
    recording_s = sum(seconds) / len(seconds)
    left_min = recording_s * (len(chosen) - done) / 60
    say(
      f"recordings, as recorded and through units: {done} of {len(chosen)}, "
      f"{recording_s:.1f} s each, {left_min:.0f} min left"
    )
  folder = listening.folder / saved.RECORDINGS
  for path in folder.glob("*.jsonl"):
    outputs = answers.read(path)[0].outputs
    if any(output.heard_by != listening.recognizer.rule for output in outputs):
      path.unlink()  # from another recognizer, which is not comparable
  for (system, split, name), written in by_file.items():
    answers.write(folder / f"{system}-{split}-{name}.jsonl", written)


def _spoken(kinds: Sequence[TaskKind]) -> list[tuple[Task, str, tuple[str, ...]]]:
  """Returns a (task, role, speech streams) for each corpus and role of the tasks."""
  spoken: dict[tuple[Corpus, str], tuple[Task, dict[str, None]]] = {}
  for kind in kinds:
    for role, stream in kind.task.sides:
      if kind.modalities[stream] == "speech":
        _, streams = spoken.setdefault((kind.task.corpus, role), (kind.task, {}))
        streams[stream] = None
  return [(task, role, tuple(streams)) for (_, role), (task, streams) in spoken.items()]


def _heard(listening: Listening, chosen: Sequence[Recording]) -> list[Answer]:
  """Returns an answer for each recording, and one for its resynthesis from each stream."""
  assert listening.recognizer is not None
  prepared = listening.trained.prepared
  with tempfile.TemporaryDirectory() as folder:
    clips: list[tuple[Recording, Entry, str, WavFile]] = []

    def path() -> Path:
      return Path(folder) / f"{len(clips)}.wav"

    for recording in chosen:
      entry = prepared.entries(recording.task, recording.split)[recording.number]
      utterance = entry.utterances[recording.role]
      wav = WavFile(path(), recording.language)
      waveform.write(wav.path, waveform.read_flac(utterance.wave_flac), waveform.RATE_HZ)
      clips.append((recording, entry, scoring.AS_RECORDED, wav))
      for stream in recording.streams:
        voice = speech.voice_for(prepared.tokenizers[stream], recording.task.corpus, utterance)
        ids = utterance.streams[stream]
        wav = Spoken(path(), recording.language, ids=ids, stream=stream, voice=voice)
        clips.append((recording, entry, f"through_{stream}", wav))
    wavs = [wav for *_, wav in clips]
    sounds = iter(speech.make(listening, [wav for wav in wavs if isinstance(wav, Spoken)]))
    waves = [next(sounds) if isinstance(wav, Spoken) else None for wav in wavs]
    heard = speech.by_recognizer(listening, wavs, waves)
  lines = []
  for (recording, entry, system, _), transcript in zip(clips, heard, strict=True):
    output = Output(
      scoring.SPEECH, "speech", "words", entry.utterances[recording.role].text, None,
      heard_by=listening.recognizer.rule, independent=transcript.value,
      independent_fault=transcript.fault, language=recording.language, voice=recording.voice,
    )  # fmt: skip
    name = f"{recording.task.corpus.name}-{recording.role}"
    where = (system, name, recording.split, entry.id, recording.language, recording.voice)
    lines.append(Answer(*where, (output,)))
  return lines
