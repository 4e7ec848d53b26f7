"""Generated speech as it is heard: written as WAV, read back, transcribed by the same model."""

import dataclasses
from collections.abc import Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

import jax
import numpy as np

from audiopalm import layouts
from audiopalm.audio import waveform
from audiopalm.data import files
from audiopalm.errors import AudioError
from audiopalm.inference import prompting
from audiopalm.inference.sampling import Sampling
from audiopalm.metrics import speech, warping
from audiopalm.types import Task, Utterance

AT_ONCE = 64  # waves whose frame distances lie in memory together


@dataclasses.dataclass(frozen=True, eq=False)
class Spoken:
  """One speech output: ids of `stream`, who says them, where to write the WAV, what it should say.

  `reference` is the recording it is compared with, as FLAC.
  """

  ids: np.ndarray
  stream: str
  voice: str | None
  path: Path
  language: str
  text: str
  reference: bytes | None


@dataclasses.dataclass(frozen=True, eq=False)
class Heard:
  """What came back from a written WAV: its transcript (None: no task of the run transcribes).

  `mcd` is its distance in dB to the reference recording; `fault` what kept it from being read: then
  it counts as saying nothing.
  """

  transcript: str | None
  mcd: float | None
  fault: str | None


def transcribing_task(experiment: Any, prepared: Any, language: str) -> Task | None:
  """Returns the first task that transcribes speech in this language, None without one."""
  for task in experiment.tasks:
    if len(task.inputs) != 1 or len(task.outputs) != 1 or language not in task.corpus.languages:
      continue
    (role, heard), (said_role, said) = task.inputs[0], task.outputs[0]
    modalities = [prepared.tokenizers[name].spec.modality for name in (heard, said)]
    if role == said_role and modalities == ["speech", "text"]:
      return task
  return None


@dataclasses.dataclass(frozen=True, eq=False)
class _Sound:
  """A WAV read back: its ids for the transcribing task, and each frame's distance to each other's.

  Both are None where the wave could not be read, the costs also without a reference.
  """

  ids: np.ndarray | None
  cost_TT: np.ndarray | None
  fault: str | None = None


def listen(generator: prompting.Generator, spoken: Sequence[Spoken]) -> list[Heard]:
  """Returns what is heard of each output, after writing all of them.

  Sound is made, written, read and encoded again by a pool of threads (numpy's transforms run
  outside the interpreter's lock); transcripts are decoded greedily, all of a task together.
  """
  tasks = {
    language: transcribing_task(generator.experiment, generator.prepared, language)
    for language in {one.language for one in spoken}
  }
  sounds: list[_Sound] = []
  distances: list[float | None] = []
  with futures.ThreadPoolExecutor() as pool:
    for start in range(0, len(spoken), AT_ONCE):
      some = spoken[start : start + AT_ONCE]
      made = list(pool.map(lambda one: _sound(generator.prepared, one, tasks[one.language]), some))
      distances += _mean_costs([one.cost_TT for one in made])
      sounds += [dataclasses.replace(one, cost_TT=None) for one in made]
  transcripts: dict[int, str] = {}
  for task in {task.name: task for task in tasks.values() if task is not None}.values():
    numbers = [
      number
      for number, (one, sound) in enumerate(zip(spoken, sounds, strict=True))
      if tasks[one.language] is task and sound.ids is not None
    ]
    said = _transcribe(
      generator,
      task,
      [spoken[number] for number in numbers],
      [sounds[number] for number in numbers],
    )
    transcripts.update(zip(numbers, said, strict=True))
  return [
    Heard(transcripts.get(number, "") if tasks[one.language] else None, mcd, sound.fault)
    for number, (one, sound, mcd) in enumerate(zip(spoken, sounds, distances, strict=True))
  ]


def _sound(prepared: Any, one: Spoken, task: Task | None) -> _Sound:
  """Returns one output, written and read back."""
  wave_S = prepared.tokenizers[one.stream].decode(one.ids, voice=one.voice)
  with files.replacing(one.path) as part:
    waveform.write(part, wave_S, waveform.RATE_HZ)
  try:
    wave_S = waveform.read(one.path)
  except AudioError as error:
    return _Sound(None, None, str(error))
  ids = fault = None
  if task is not None:
    utterance = Utterance(wave_S, waveform.RATE_HZ, "", one.language, "")
    ids = prepared.tokenizers[task.inputs[0][1]].encode(utterance)
    if not len(ids):
      ids, fault = None, f"{one.path}: too short to give a single id of {task.inputs[0][1]}."
  return _Sound(ids, None if one.reference is None else _costs(one.reference, wave_S), fault)


def _costs(reference: bytes, wave_S: np.ndarray) -> np.ndarray:
  reference_S, rate_hz = waveform.from_flac(reference)
  reference_S = waveform.resample(reference_S, rate_hz, waveform.RATE_HZ)
  return speech.distances_db(
    speech.mel_cepstra(reference_S, waveform.RATE_HZ), speech.mel_cepstra(wave_S, waveform.RATE_HZ)
  )


def _mean_costs(costs: Sequence[np.ndarray | None]) -> list[float | None]:
  """Returns the mel-cepstral distance of each pair, None where there is no pair."""
  found = iter(warping.mean_costs([cost_TT for cost_TT in costs if cost_TT is not None]))
  return [None if cost_TT is None else next(found) for cost_TT in costs]


def _transcribe(
  generator: prompting.Generator, task: Task, spoken: Sequence[Spoken], sounds: Sequence[_Sound]
) -> list[str]:
  role, stream = task.inputs[0]
  prompts = [
    prompting.Prompt({f"{role}.{stream}": sound.ids}, layouts.tag_of(task, {role: one.language}))
    for one, sound in zip(spoken, sounds, strict=True)
  ]
  role, stream = task.outputs[0]
  tokenizer = generator.prepared.tokenizers[stream]
  longest = max((_text_rows(tokenizer, one) for one in spoken), default=0)
  answers = prompting.continuations(
    generator,
    task,
    prompts,
    sampling=Sampling(),
    max_rows=prompting.room(generator, longest),
    key=jax.random.key(0),
  )
  return [tokenizer.decode(answer.streams[f"{role}.{stream}"]) for answer in answers]


def _text_rows(tokenizer: Any, one: Spoken) -> int:
  return len(tokenizer.encode(Utterance(None, waveform.RATE_HZ, one.text, one.language, "")))
