"""Recordings of a run's voices for an independent recognizer: chosen, made, heard."""

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

# Recordings whose sound lies on the disk together, and between two progress messages.
RECORDINGS_PER_BATCH = 8


@dataclasses.dataclass(frozen=True)
class Recording:
  """A record's recording: its number in the split's entries, and the role that is spoken."""

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
  """Returns `count` recordings (None: all) of every voice that is heard or spoken in the tasks.

  From the test split and, of voices that are not in it, from held-out voices; in the languages that
  the recognizer knows. ConfigError where it knows none of them.
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
          # Targets of held-out voices are in a voice that is heard in training.
          recordings.append(
            Recording(task, split, role, streams, number, utterance.language, utterance.speaker)
          )
      if split == scoring.SEEN:
        seen |= {(recording.language, recording.voice) for recording in recordings}
      chosen += recordings
  if unknown and not chosen:
    raise ConfigError(
      "--recordings are to be heard, but the tasks asked have none in languages that --asr knows: "
      f"they speak {', '.join(sorted(unknown))}. Name other tasks (--tasks), or --recordings 0."
    )
  if count is None:
    return chosen
  voices = [f"{recording.language} {recording.voice}" for recording in chosen]
  return [chosen[number] for number in trials.draw(voices, count)]


def hear(listening: Listening, chosen: Sequence[Recording], say: Callable[[str], None]) -> None:
  """Writes the answers of recordings as they are and through units, heard by the recognizer.

  What was heard before, also by an evaluation that was killed, is taken from `listening.cache`.
  """
  assert listening.recognizer is not None
  by_file: dict[tuple[str, str, str], list[Answer]] = {}
  done = 0
  seconds = collections.deque[float](maxlen=8)  # of the last batches: what is cached takes no time
  for start in range(0, len(chosen), RECORDINGS_PER_BATCH):
    started_s = time.perf_counter()
    for answer in _heard(listening, chosen[start : start + RECORDINGS_PER_BATCH]):
      by_file.setdefault((answer.system, answer.split, answer.task), []).append(answer)
    batch_size = min(RECORDINGS_PER_BATCH, len(chosen) - start)
    done += batch_size
    seconds.append((time.perf_counter() - started_s) / batch_size)
    each_s = sum(seconds) / len(seconds)
    left_min = each_s * (len(chosen) - done) / 60
    say(
      f"recordings, as they are and through units: {done} of {len(chosen)}, {each_s:.1f} s each, "
      f"{left_min:.0f} min left"
    )
  folder = listening.folder / saved.RECORDINGS
  for path in folder.glob("*.jsonl"):
    outputs = answers.read(path)[0].outputs
    if any(output.heard_by != listening.recognizer.rule for output in outputs):
      path.unlink()  # by another recognizer: one voice is not scored by two
  for (system, split, name), written in by_file.items():
    answers.write(folder / f"{system}-{split}-{name}.jsonl", written)


def _spoken(kinds: Sequence[TaskKind]) -> list[tuple[Task, str, tuple[str, ...]]]:
  """Returns, for each corpus and role, a task that reads its entries, the role and its streams."""
  spoken: dict[tuple[Corpus, str], tuple[Task, dict[str, None]]] = {}
  for kind in kinds:
    for role, stream in kind.task.sides:
      if kind.modalities[stream] == "speech":
        _, streams = spoken.setdefault((kind.task.corpus, role), (kind.task, {}))
        streams[stream] = None
  return [(task, role, tuple(streams)) for (_, role), (task, streams) in spoken.items()]


def _heard(listening: Listening, chosen: Sequence[Recording]) -> list[Answer]:
  """Returns an answer for each recording as it is, and one through each of its streams."""
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
    made = [next(sounds) if isinstance(wav, Spoken) else None for wav in wavs]
    heard = speech.by_recognizer(listening, wavs, made)
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
