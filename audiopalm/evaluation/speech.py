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
from audiopalm.metrics import speech
from audiopalm.types import Task, Utterance


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


def listen(generator: prompting.Generator, spoken: Sequence[Spoken]) -> list[Heard]:
  """Returns what is heard of each output, after writing all of them.

  Sound is made, written, read and encoded again by a pool of threads (numpy's transforms run
  outside the interpreter's lock); transcripts are decoded greedily in one batch per transcribing
  task.
  """
  tasks = {
    language: transcribing_task(generator.experiment, generator.prepared, language)
    for language in {one.language for one in spoken}
  }
  for folder in {one.path.parent for one in spoken}:
    folder.mkdir(parents=True, exist_ok=True)
  with futures.ThreadPoolExecutor() as pool:
    said = list(pool.map(lambda one: _say(generator.prepared, one, tasks[one.language]), spoken))
  transcripts: dict[int, str] = {}
  for task in {task.name: task for task in tasks.values() if task is not None}.values():
    numbers = [
      number
      for number, (one, (ids, _, _)) in enumerate(zip(spoken, said, strict=True))
      if tasks[one.language] is task and ids is not None
    ]
    role, stream = task.inputs[0]
    prompts = [
      prompting.Prompt(
        {f"{role}.{stream}": said[number][0]},
        layouts.tag_of(task, {role: spoken[number].language}),
      )
      for number in numbers
    ]
    role, stream = task.outputs[0]
    tokenizer = generator.prepared.tokenizers[stream]
    longest = max((_text_rows(tokenizer, spoken[number]) for number in numbers), default=0)
    answers = prompting.continuations(
      generator,
      task,
      prompts,
      sampling=Sampling(),
      max_rows=prompting.room(generator, longest),
      key=jax.random.key(0),
    )
    for number, answer in zip(numbers, answers, strict=True):
      transcripts[number] = tokenizer.decode(answer.streams[f"{role}.{stream}"])
  return [
    Heard(transcripts.get(number, "") if tasks[one.language] else None, mcd, fault)
    for number, (one, (_, mcd, fault)) in enumerate(zip(spoken, said, strict=True))
  ]


def _text_rows(tokenizer: Any, one: Spoken) -> int:
  return len(tokenizer.encode(Utterance(None, waveform.RATE_HZ, one.text, one.language, "")))


def _say(
  prepared: Any, one: Spoken, task: Task | None
) -> tuple[np.ndarray | None, float | None, str | None]:
  """Returns (ids for the transcribing task, distance, fault) of one output, read back."""
  wave_S = prepared.tokenizers[one.stream].decode(one.ids, voice=one.voice)
  with files.replacing(one.path) as part:
    waveform.write(part, wave_S, waveform.RATE_HZ)
  try:
    wave_S = waveform.read(one.path)
  except AudioError as error:
    return None, None, str(error)
  mcd = None
  if one.reference is not None:
    reference_S, rate_hz = waveform.from_flac(one.reference)
    reference_S = waveform.resample(reference_S, rate_hz, waveform.RATE_HZ)
    mcd = speech.mel_cepstral_distance(reference_S, wave_S, waveform.RATE_HZ)
  if task is None:
    return None, mcd, None
  utterance = Utterance(wave_S, waveform.RATE_HZ, "", one.language, "")
  return prepared.tokenizers[task.inputs[0][1]].encode(utterance), mcd, None
