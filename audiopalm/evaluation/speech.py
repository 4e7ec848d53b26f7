"""Generated speech as it is heard: written as WAV, read back, transcribed by the run itself and by
a recognizer that is not its own."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from audiopalm import layouts
from audiopalm.audio import waveform
from audiopalm.data.executors import Local
from audiopalm.evaluation import meters, recognizers, sound
from audiopalm.evaluation.meters import Meter
from audiopalm.evaluation.recognizers import Recognizer, Recording
from audiopalm.evaluation.sound import Sound, Spoken
from audiopalm.evaluation.transcripts import Kept
from audiopalm.inference import prompting
from audiopalm.inference.sampling import Sampling
from audiopalm.inference.trained import Trained
from audiopalm.types import Task, Utterance

JOB = 16  # waves a worker makes at one time


@dataclasses.dataclass(frozen=True, eq=False)
class Listener:
  """Who hears what was spoken, and the workers that make sound.

  The run's own transcribing task always does, and a `recognizer` beside it, whose transcripts are
  `kept`. `meters` measure it besides.
  """

  trained: Trained
  executor: Local
  recognizer: Recognizer | None = None
  meters: tuple[Meter, ...] = ()
  kept: Kept = dataclasses.field(default_factory=Kept)


@dataclasses.dataclass(frozen=True, eq=False)
class Heard:
  """What came back from a written WAV: the run's transcript, None where it hears no such language.

  `mcd` is its distance in dB to the reference recording; `fault` what kept it from being read or
  transcribed: then it counts as saying nothing. `independent` and `independent_fault` are the same
  by the listener's recognizer, None without one. `measured` are the readings of meters by score,
  None where one shows nothing.
  """

  transcript: str | None
  mcd: float | None
  fault: str | None
  measured: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
  independent: str | None = None
  independent_fault: str | None = None


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


def listen(listener: Listener, spoken: Sequence[Spoken]) -> list[Heard]:
  """Returns what is heard of each output, after writing all of them."""
  sounds, heard = _by_the_run(listener, spoken)
  if listener.recognizer is not None:
    heard = _by_another(listener, spoken, sounds, heard)
  measured: list[dict[str, float | None]] = [{} for _ in heard]
  for meter in listener.meters:
    compared = meter.score == "similarity"
    asked = [n for n, one in enumerate(spoken) if one.reference is not None or not compared]
    for number in asked:
      measured[number][meter.score] = None
    asked = [number for number in asked if len(spoken[number].ids)]
    recordings = [meters.Recording(spoken[n].path, spoken[n].reference) for n in asked]
    readings = meters.read(meter, recordings, listener.executor)
    for number, reading in zip(asked, readings, strict=True):
      measured[number][meter.score] = reading.value
  return [
    dataclasses.replace(one, measured=readings)
    for one, readings in zip(heard, measured, strict=True)
  ]


def _by_another(
  listener: Listener, spoken: Sequence[Spoken], sounds: Sequence[Sound], heard: Sequence[Heard]
) -> list[Heard]:
  """Returns what was heard with the transcripts of the listener's recognizer beside it."""
  numbers = [number for number, one in enumerate(sounds) if not one.silent]
  recordings = [Recording(spoken[number].path, spoken[number].language) for number in numbers]
  said = recognizers.transcribe(listener.recognizer, recordings, listener.executor, listener.kept)
  transcripts = [recognizers.Transcript("", one.fault) for one in sounds]
  for number, one in zip(numbers, said, strict=True):
    transcripts[number] = one
  return [
    dataclasses.replace(one, independent=by.text, independent_fault=by.fault)
    for one, by in zip(heard, transcripts, strict=True)
  ]


def _by_the_run(listener: Listener, spoken: Sequence[Spoken]) -> tuple[list[Sound], list[Heard]]:
  """Returns each WAV and what the run itself hears: decoded greedily, all of a task together."""
  trained = listener.trained
  tasks = {
    language: transcribing_task(trained.experiment, trained.prepared, language)
    for language in {one.language for one in spoken}
  }
  spoken = [
    dataclasses.replace(one, heard_as=task.inputs[0][1])
    if (task := tasks[one.language]) is not None
    else one
    for one in spoken
  ]
  sounds = made(listener, spoken)
  transcripts: dict[int, str] = {}
  for task in {task.name: task for task in tasks.values() if task is not None}.values():
    numbers = [
      number
      for number, (one, heard) in enumerate(zip(spoken, sounds, strict=True))
      if tasks[one.language] is task and heard.ids is not None
    ]
    said = _transcribe(
      trained,
      task,
      [spoken[number] for number in numbers],
      [sounds[number] for number in numbers],
    )
    transcripts.update(zip(numbers, said, strict=True))
  return sounds, [
    Heard(transcripts.get(number, "") if tasks[one.language] else None, heard.mcd, heard.fault)
    for number, (one, heard) in enumerate(zip(spoken, sounds, strict=True))
  ]


def made(listener: Listener, spoken: Sequence[Spoken]) -> list[Sound]:
  """Returns the sound of each output, written by the listener's workers."""
  jobs = [
    sound.Job(listener.trained.prepared.tokenizers, spoken[start : start + JOB])
    for start in range(0, len(spoken), JOB)
  ]
  return [one for made in listener.executor.map(sound.make, jobs) for one in made]


def _transcribe(
  trained: Trained, task: Task, spoken: Sequence[Spoken], sounds: Sequence[Sound]
) -> list[str]:
  role, stream = task.inputs[0]
  prompts = [
    prompting.Prompt({f"{role}.{stream}": heard.ids}, layouts.tag_of(task, {role: one.language}))
    for one, heard in zip(spoken, sounds, strict=True)
  ]
  role, stream = task.outputs[0]
  tokenizer = trained.prepared.tokenizers[stream]
  longest = max((_text_rows(tokenizer, one) for one in spoken), default=0)
  answers = prompting.continuations(
    trained,
    task,
    prompts,
    sampling=Sampling(),
    max_rows=prompting.room(trained, longest),
    key=jax.random.key(0),
    fill=True,
  )
  return [tokenizer.decode(answer.streams[f"{role}.{stream}"]) for answer in answers]


def _text_rows(tokenizer: Any, one: Spoken) -> int:
  return len(tokenizer.encode(Utterance(None, waveform.RATE_HZ, one.text, one.language, "")))
