"""Generated speech: written as WAV, read back, transcribed by the run itself, and measured by
listeners."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from audiopalm import layouts
from audiopalm.audio import waveform
from audiopalm.data.cache import EntryUtterance
from audiopalm.data.corpora import Corpus
from audiopalm.data.executors import Local
from audiopalm.evaluation import listeners, sound
from audiopalm.evaluation.answers import Output
from audiopalm.evaluation.listeners import Listener, Measurement, TranscriptCache, WavFile
from audiopalm.evaluation.sound import Sound, Spoken
from audiopalm.inference import prompting
from audiopalm.inference.prompting import Continuation, Prompt
from audiopalm.inference.sampling import Beams, Sampling
from audiopalm.inference.trained import Trained
from audiopalm.tokenizers.base import Fitted
from audiopalm.types import Task, Utterance

WAVES_PER_JOB = 16


@dataclasses.dataclass(frozen=True, eq=False)
class Listening:
  """The listeners of speech outputs, the workers that write and measure them, and their folder.

  The run's own transcribing task always transcribes them; so does `recognizer`, if any, whose
  transcripts are cached. `meters` measure them.
  """

  trained: Trained
  folder: Path
  executor: Local
  recognizer: Listener | None = None
  meters: Sequence[Listener] = ()
  cache: TranscriptCache = dataclasses.field(default_factory=TranscriptCache)


def decode(
  trained: Trained,
  task: Task,
  prompts: Sequence[Prompt],
  search: Sampling | Beams,
  longest_rows: int,
) -> list[Continuation]:
  """Returns the model's continuation of each prompt; the longest reference has `longest_rows`."""
  max_rows, key = prompting.room(trained, longest_rows), jax.random.key(0)
  return prompting.continuations(
    trained, task, prompts, sampling=search, max_rows=max_rows, key=key, fill=True
  )


def voice_for(tokenizer: Fitted, corpus: Corpus, reference: EntryUtterance) -> str | None:
  """Returns the voice to decode ids in: the reference's if the tokenizer has it, else a default."""
  if reference.speaker in tokenizer.voices:
    return reference.speaker
  return prompting.voice_of(tokenizer, corpus, reference.language)


def transcribing_task(trained: Trained, language: str) -> Task | None:
  """Returns the first task that transcribes speech in this language, None if there is none."""
  streams = trained.prepared.space.streams
  for task in trained.experiment.tasks:
    sides = (*task.inputs, *task.outputs)
    modalities = [streams[stream].modality for _, stream in sides]
    transcribes = len(task.inputs) == 1 and modalities == ["speech", "text"]
    if transcribes and sides[0][0] == sides[1][0] and language in task.corpus.languages:
      return task
  return None


def listen(
  listening: Listening, spoken: Sequence[Spoken], outputs: Sequence[Output]
) -> list[Output]:
  """Writes the WAV of each output; returns the outputs with the results of all listeners."""
  sounds, transcripts = _by_the_run(listening, spoken, outputs)
  recognizer = listening.recognizer
  independent = [Measurement(None)] * len(spoken)
  if recognizer is not None:
    independent = by_recognizer(listening, spoken, sounds)
  measured = _measured(listening, spoken)
  return [
    dataclasses.replace(
      output, hypothesis=transcripts[n], mcd=sounds[n].mcd, fault=sounds[n].fault,
      voice=spoken[n].voice, wave=str(spoken[n].path.relative_to(listening.folder)),
      heard_by=None if recognizer is None else recognizer.rule,
      independent=independent[n].value, independent_fault=independent[n].fault,
      measured=measured[n], measured_by={meter.score: meter.rule for meter in listening.meters},
    )
    for n, output in enumerate(outputs)
  ]  # fmt: skip


def by_recognizer(
  listening: Listening, wavs: Sequence[WavFile], sounds: Sequence[Sound | None]
) -> list[Measurement]:
  """Returns the recognizer's transcript of each WAV, "" if the WAV could not be read back."""
  assert listening.recognizer is not None
  faults = [sound.fault if sound is not None and sound.silent else None for sound in sounds]
  audible = [wav for wav, fault in zip(wavs, faults, strict=True) if fault is None]
  heard = iter(listeners.hear(listening.recognizer, audible, listening.executor, listening.cache))
  return [next(heard) if fault is None else Measurement("", fault) for fault in faults]


def make(listening: Listening, spoken: Sequence[Spoken]) -> list[Sound]:
  """Returns the sound of each output, written by the workers of `listening.executor`."""
  write = functools.partial(sound.make, listening.trained.prepared.tokenizers)
  starts = range(0, len(spoken), WAVES_PER_JOB)
  jobs = [spoken[start : start + WAVES_PER_JOB] for start in starts]
  return [wav for wavs in listening.executor.map(write, jobs) for wav in wavs]


def _by_the_run(
  listening: Listening, spoken: Sequence[Spoken], outputs: Sequence[Output]
) -> tuple[list[Sound], list[str | None]]:
  """Returns the sound of each output and the run's own transcript of it.

  A transcript is "" if the sound has no ids, None if no task transcribes its language.
  """
  trained = listening.trained
  languages = {source.language for source in spoken}
  tasks = {language: transcribing_task(trained, language) for language in languages}
  streams = {language: task and task.inputs[0][1] for language, task in tasks.items()}
  sounds = make(
    listening,
    [dataclasses.replace(source, heard_as=streams[source.language]) for source in spoken],
  )
  transcripts = [None if tasks[source.language] is None else "" for source in spoken]
  for task in {task.name: task for task in tasks.values() if task is not None}.values():
    numbers = [
      number
      for number, source in enumerate(spoken)
      if tasks[source.language] is task and sounds[number].ids is not None
    ]
    heard = [(sounds[number].ids, outputs[number]) for number in numbers]
    for number, text in zip(numbers, _transcribe(trained, task, heard), strict=True):
      transcripts[number] = text
  return sounds, transcripts


def _measured(
  listening: Listening, spoken: Sequence[Spoken]
) -> list[dict[listeners.Score, float | None]]:
  """Returns {score: value} of each output by the meters: None for silence; without a reference
  there is no "similarity"."""
  measured: list[dict[listeners.Score, float | None]] = [{} for _ in spoken]
  for meter in listening.meters:
    audible = []
    for source, values in zip(spoken, measured, strict=True):
      if source.reference is not None or meter.score != "similarity":
        values[meter.score] = None
        audible += [(source, values)] if len(source.ids) else []
    measurements = listeners.hear(meter, [source for source, _ in audible], listening.executor)
    for (_, values), measurement in zip(audible, measurements, strict=True):
      values[meter.score] = measurement.value
  return measured


def _transcribe(
  trained: Trained, task: Task, heard: Sequence[tuple[np.ndarray, Output]]
) -> list[str]:
  """Returns the run's own transcript of each (ids, output), decoded greedily in one batch."""
  (role, speech), (_, text) = task.inputs[0], task.outputs[0]
  tokenizer = trained.prepared.tokenizers[text]
  prompts, longest = [], 0
  for ids, output in heard:
    prompts.append(Prompt({f"{role}.{speech}": ids}, layouts.tag_of(task, {role: output.language})))
    right = Utterance(None, waveform.RATE_HZ, output.reference, output.language, "")
    longest = max(longest, len(tokenizer.encode(right)))
  transcripts = decode(trained, task, prompts, Sampling(), longest)
  return [tokenizer.decode(transcript.streams[f"{role}.{text}"]) for transcript in transcripts]
