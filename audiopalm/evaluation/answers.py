"""What a model answers to a trial: how likely it finds the right answers, and what it says."""

from collections.abc import Mapping, Sequence

import jax
import numpy as np

from audiopalm.evaluation import likelihoods, lines, speech
from audiopalm.evaluation.lines import Answer, Said
from audiopalm.evaluation.sound import Spoken
from audiopalm.evaluation.speech import Listening
from audiopalm.evaluation.trials import Trial
from audiopalm.inference import prompting
from audiopalm.inference.sampling import Beams, Sampling
from audiopalm.inference.trained import Trained


def answer(
  trained: Trained,
  trial: Trial,
  listening: Listening,
  search: Sampling | Beams,
  system: str = lines.MODEL,
) -> list[Answer]:
  """Returns the answer to each question of the trial, in its order, then a line per record left
  out."""
  questions = trial.questions
  sums = likelihoods.of_examples(trained, [question.grid for question in questions])
  said, complete = [()] * len(questions), [True] * len(questions)
  if trial.decoded:
    longest = max((question.answer_rows for question in questions), default=0)
    continuations = prompting.continuations(
      trained,
      trial.task,
      [prompting.Prompt(question.streams, question.tag) for question in questions],
      sampling=search,
      max_rows=prompting.room(trained, longest),
      key=jax.random.key(0),
      fill=True,
    )
    complete = [continuation.complete for continuation in continuations]
    streams = [continuation.streams for continuation in continuations]
    said = outputs(listening, trial, streams, system)
  answers = [
    Answer(
      system, trial.task.name, trial.split, question.entry.id, question.language, question.voice,
      said=tuple(said[number]), complete=complete[number], likelihood=sums[number],
      new_words=question.new_words, zero_shot=question.zero_shot,
      decoding=str(search) if trial.decoded else None,
    )
    for number, question in enumerate(questions)
  ]  # fmt: skip
  return answers + [
    Answer(system, trial.task.name, trial.split, id, "", None, said=(), left_out=True)
    for id in trial.too_long
  ]


def outputs(
  listening: Listening, trial: Trial, streams: Sequence[Mapping[str, np.ndarray]], system: str
) -> list[tuple[Said, ...]]:
  """Returns what was said of every output of the task, by question, from the predicted ids.

  Outputs that `streams` does not name are left out.
  """
  columns = []
  for role, stream in trial.task.outputs:
    address = f"{role}.{stream}"
    if not all(address in by_address for by_address in streams):
      continue
    ids = [by_address[address] for by_address in streams]
    tokenizer = listening.trained.prepared.tokenizers[stream]
    modality, measure = trial.kind.modalities[stream], trial.kind.measure(role)
    said = [
      Said(
        address, modality, measure, question.entry.utterances[role].text,
        tokenizer.decode(ids_T) if modality == "text" else None, language=question.languages[role],
      )
      for question, ids_T in zip(trial.questions, ids, strict=True)
    ]  # fmt: skip
    if modality == "speech":
      said = _heard(listening, trial, role, stream, ids, said, system)
    columns.append(said)
  return list(zip(*columns, strict=True)) or [()] * len(trial.questions)


def _heard(
  listening: Listening,
  trial: Trial,
  role: str,
  stream: str,
  ids: Sequence[np.ndarray],
  said: Sequence[Said],
  system: str,
) -> list[Said]:
  """Returns a spoken output of all questions as it is heard, once it lies in WAV files."""
  tokenizer = listening.trained.prepared.tokenizers[stream]
  folder = listening.folder / "waves" / system / trial.split / trial.task.name
  spoken = []
  for question, ids_T in zip(trial.questions, ids, strict=True):
    reference = question.entry.utterances[role]
    spoken.append(
      Spoken(
        ids_T, stream, speech.voice_for(tokenizer, trial.task.corpus, reference),
        folder / f"{question.entry.id.replace('/', '-')}-{role}.wav", reference.language,
        reference.text, reference.wave_flac, None,
      )
    )  # fmt: skip
  return speech.listen(listening, spoken, said)
