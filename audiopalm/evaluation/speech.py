"""Generated speech as it is heard: written as WAV, read back, transcribed by the run itself, and
judged by other listeners."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import jax

from audiopalm import layouts
from audiopalm.audio import waveform
from audiopalm.data.cache import EntryUtterance
from audiopalm.data.corpora import Corpus
from audiopalm.data.executors import Local
from audiopalm.evaluation import listeners, sound
from audiopalm.evaluation.lines import Said
from audiopalm.evaluation.listeners import Listener, Measurement, WavFile
from audiopalm.evaluation.sound import Sound, Spoken
from audiopalm.evaluation.transcripts import Kept
from audiopalm.inference import prompting
from audiopalm.inference.sampling import Sampling
from audiopalm.inference.trained import Trained
from audiopalm.tokenizers.base import Fitted
from audiopalm.types import Task, Utterance

AT_ONCE = 16  # waves a worker makes at one time


@dataclasses.dataclass(frozen=True, eq=False)
class Listening:
  """Who hears what was spoken, the workers that make sound, and the folder that it lies in.

  The run's own transcribing task always hears it, and a `recognizer` beside it, whose transcripts
  are `kept`. `meters` measure it besides.
  """

  trained: Trained
  folder: Path
  executor: Local
  recognizer: Listener | None = None
  meters: Sequence[Listener] = ()
  kept: Kept = dataclasses.field(default_factory=Kept)


def voice_for(tokenizer: Fitted, corpus: Corpus, reference: EntryUtterance) -> str | None:
  """Returns the voice that ids are spoken in: the reference's, or the corpus's if that is new."""
  if reference.speaker in tokenizer.voices:
    return reference.speaker
  return prompting.voice_of(tokenizer, corpus, reference.language)


def transcribing_task(trained: Trained, language: str) -> Task | None:
  """Returns the first task that transcribes speech in this language, None without one."""
  streams = trained.prepared.space.streams
  for task in trained.experiment.tasks:
    if len(task.inputs) != 1 or len(task.outputs) != 1 or language not in task.corpus.languages:
      continue
    (role, heard), (said_role, said) = task.inputs[0], task.outputs[0]
    modalities = (streams[heard].modality, streams[said].modality)
    if role == said_role and modalities == ("speech", "text"):
      return task
  return None


def listen(listening: Listening, spoken: Sequence[Spoken], said: Sequence[Said]) -> list[Said]:
  """Returns each output with its WAV, which is written first, and what every listener heard."""
  sounds, transcripts = _by_the_run(listening, spoken)
  said = [
    dataclasses.replace(
      output, hypothesis=transcript, mcd=audio.mcd, fault=audio.fault, voice=source.voice,
      wave=str(source.path.relative_to(listening.folder)),
    )
    for output, source, audio, transcript in zip(said, spoken, sounds, transcripts, strict=True)
  ]  # fmt: skip
  if listening.recognizer is not None:
    wavs = [WavFile(source.path, source.language) for source in spoken]
    silent = [audio.fault if audio.silent else None for audio in sounds]
    rule, heard = listening.recognizer.rule, by_recognizer(listening, wavs, silent)
    said = [
      dataclasses.replace(
        output, heard_by=rule, independent=heard_in.value, independent_fault=heard_in.fault
      )
      for output, heard_in in zip(said, heard, strict=True)
    ]
  for meter in listening.meters:
    values = _measured(listening, meter, spoken)
    said = [
      dataclasses.replace(
        output,
        measured=output.measured | ({meter.score: values[number]} if number in values else {}),
        measured_by=output.measured_by | {meter.score: meter.rule},
      )
      for number, output in enumerate(said)
    ]
  return said


def _by_the_run(
  listening: Listening, spoken: Sequence[Spoken]
) -> tuple[list[Sound], list[str | None]]:
  """Returns the sound of each output and the run's own transcript, all of a task decoded together.

  "" where the sound gives nothing to transcribe, None where no task transcribes its language.
  """
  languages = {source.language for source in spoken}
  tasks = {language: transcribing_task(listening.trained, language) for language in languages}
  spoken = [
    source if (task := tasks[source.language]) is None
    else dataclasses.replace(source, heard_as=task.inputs[0][1])
    for source in spoken
  ]  # fmt: skip
  sounds = make(listening, spoken)
  transcripts = [None if tasks[source.language] is None else "" for source in spoken]
  for task in {task.name: task for task in tasks.values() if task is not None}.values():
    numbers = [
      number
      for number, (source, audio) in enumerate(zip(spoken, sounds, strict=True))
      if tasks[source.language] is task and audio.ids is not None
    ]
    heard = [(spoken[number], sounds[number]) for number in numbers]
    for number, text in zip(numbers, _transcribe(listening.trained, task, heard), strict=True):
      transcripts[number] = text
  return sounds, transcripts


def by_recognizer(
  listening: Listening, wavs: Sequence[WavFile], silent: Sequence[str | None]
) -> list[Measurement]:
  """Returns what the recognizer hears in each WAV, "" where `silent` says why it is unreadable."""
  assert listening.recognizer is not None
  audible = [wav for wav, fault in zip(wavs, silent, strict=True) if fault is None]
  heard = iter(listeners.hear(listening.recognizer, audible, listening.executor, listening.kept))
  return [next(heard) if fault is None else Measurement("", fault) for fault in silent]


def make(listening: Listening, spoken: Sequence[Spoken]) -> list[Sound]:
  """Returns the sound of each output, written by the workers of `listening`."""
  write = functools.partial(sound.make, listening.trained.prepared.tokenizers)
  jobs = [spoken[start : start + AT_ONCE] for start in range(0, len(spoken), AT_ONCE)]
  return [audio for sounds in listening.executor.map(write, jobs) for audio in sounds]


def _measured(
  listening: Listening, meter: Listener, spoken: Sequence[Spoken]
) -> dict[int, float | None]:
  """Returns what a meter measures of the outputs, by number, without those it cannot compare."""
  comparable = [
    number
    for number, source in enumerate(spoken)
    if source.reference is not None or meter.score != "similarity"
  ]
  asked = [number for number in comparable if len(spoken[number].ids)]
  sources = [spoken[number] for number in asked]
  wavs = [WavFile(source.path, source.language, source.reference) for source in sources]
  measurements = listeners.hear(meter, wavs, listening.executor)
  values = [measurement.value for measurement in measurements]
  return dict.fromkeys(comparable) | dict(zip(asked, values, strict=True))


def _transcribe(trained: Trained, task: Task, heard: Sequence[tuple[Spoken, Sound]]) -> list[str]:
  """Returns the run's own transcripts, decoded greedily, all together."""
  role, stream = task.inputs[0]
  prompts = [
    prompting.Prompt({f"{role}.{stream}": audio.ids}, layouts.tag_of(task, {role: source.language}))
    for source, audio in heard
  ]
  role, stream = task.outputs[0]
  tokenizer = trained.prepared.tokenizers[stream]
  right = [
    Utterance(None, waveform.RATE_HZ, source.text, source.language, "") for source, _ in heard
  ]
  longest = max((len(tokenizer.encode(utterance)) for utterance in right), default=0)
  continuations = prompting.continuations(
    trained,
    task,
    prompts,
    sampling=Sampling(),
    max_rows=prompting.room(trained, longest),
    key=jax.random.key(0),
    fill=True,
  )
  return [
    tokenizer.decode(continuation.streams[f"{role}.{stream}"]) for continuation in continuations
  ]
