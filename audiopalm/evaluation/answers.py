"""What the model answers to a trial: how likely it finds the references, and what it says."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from audiopalm import layouts
from audiopalm.evaluation import likelihoods, lines, sound, speech, suites, trials
from audiopalm.inference import prompting, sampling
from audiopalm.inference.trained import Trained


def answer(
  trained: Trained,
  trial: trials.Trial,
  folder: Path,
  listener: speech.Listener,
  system: str = lines.MODEL,
) -> list[lines.Line]:
  """Returns one line per example of the trial, in its order, and one per example left out."""
  sums = likelihoods.of_examples(trained, [one.grid for one in trial.examples])
  said, complete = [()] * len(trial.examples), [True] * len(trial.examples)
  evaluation = trained.experiment.evaluation
  search = sampling.chosen(evaluation.beams, evaluation.length_penalty)
  if trial.decoded:
    found = prompting.continuations(
      trained,
      trial.task,
      [prompting.Prompt(one.streams, one.tag) for one in trial.examples],
      sampling=search,
      max_rows=most_rows(trained, trial),
      key=jax.random.key(0),
      fill=True,
    )
    complete = [one.complete for one in found]
    said = outputs(listener, trial, [one.streams for one in found], folder, system)
  answered = [
    lines.Line(
      system, trial.task.name, trial.split, one.entry.id, one.language, one.voice,
      said=tuple(said[number]), complete=complete[number], likelihood=sums[number],
      new_words=one.new_words, zero_shot=one.zero_shot,
      decoding=str(search) if trial.decoded else None,
    )
    for number, one in enumerate(trial.examples)
  ]  # fmt: skip
  return answered + [
    lines.Line(system, trial.task.name, trial.split, id, "", None, said=(), left_out=True)
    for id in trial.too_long
  ]


def outputs(
  listener: speech.Listener,
  trial: trials.Trial,
  streams: Sequence[Any],
  folder: Path,
  system: str,
) -> list[tuple[lines.Said, ...]]:
  """Returns what was said of every output of the task, by example, from the predicted ids.

  Outputs that `streams` does not name are left out.
  """
  columns = []
  for role, stream in trial.task.outputs:
    address = f"{role}.{stream}"
    tokenizer = listener.trained.prepared.tokenizers[stream]
    measure = suites.measure(trial.task, role)
    if not all(address in one for one in streams):
      continue
    if tokenizer.spec.modality == "text":
      columns.append(
        [
          lines.Said(
            address,
            "text",
            measure,
            one.entry.utterances[role].text,
            tokenizer.decode(ids[address]),
            language=one.languages[role],
          )
          for one, ids in zip(trial.examples, streams, strict=True)
        ]
      )
    else:
      ids = [one[address] for one in streams]
      columns.append(_heard(listener, trial, role, stream, ids, measure, folder, system))
  return list(zip(*columns, strict=True)) or [()] * len(trial.examples)


def most_rows(trained: Trained, trial: trials.Trial) -> int:
  """Returns how many rows are decoded at most for an output of the trial: `prompting.room`."""
  layout = prompting.asked_layout(trained.experiment, trial.task)
  space = trained.prepared.space
  longest = max(
    (
      len(one.grid) - len(layouts.prompt(layout, one.streams, one.tag, space))
      for one in trial.examples
    ),
    default=0,
  )
  return prompting.room(trained, longest)


def voice_for(tokenizer: Any, corpus: Any, reference: Any) -> str | None:
  """Returns the voice that ids are spoken in: the reference's, or the corpus's if that is new."""
  if reference.speaker in tokenizer.voices:
    return reference.speaker
  return prompting.voice_of(tokenizer, corpus, reference.language)


def _heard(listener, trial, role, stream, ids, measure, folder, system) -> list[lines.Said]:
  tokenizer = listener.trained.prepared.tokenizers[stream]
  address = f"{role}.{stream}"
  place = folder / "waves" / system / trial.split / trial.task.name
  spoken = []
  for one, said in zip(trial.examples, ids, strict=True):
    reference = one.entry.utterances[role]
    voice = voice_for(tokenizer, trial.task.corpus, reference)
    path = place / f"{one.entry.id.replace('/', '-')}-{role}.wav"
    spoken.append(
      sound.Spoken(
        said, stream, voice, path, reference.language, reference.text, reference.wave_flac, None
      )
    )
  heard = speech.listen(listener, spoken)
  heard_by = listener.recognizer and listener.recognizer.rule
  measured_by = {meter.score: meter.rule for meter in listener.meters}
  return [
    lines.Said(
      address, "speech", measure, one.entry.utterances[role].text, listened.transcript,
      listened.mcd, str(said.path.relative_to(folder)), listened.fault, heard_by,
      listened.measured, measured_by, one.languages[role],
      listened.independent, listened.independent_fault, said.voice,
    )
    for one, said, listened in zip(trial.examples, spoken, heard, strict=True)
  ]  # fmt: skip
