"""How likely a model finds both sides of pairs, under a task without inputs."""

from collections.abc import Sequence
from pathlib import Path

from audiopalm import layouts
from audiopalm.data.executors import Local
from audiopalm.errors import ConfigError
from audiopalm.evaluation import likelihoods, pairs, suites
from audiopalm.evaluation.pairs import Judged, Pair
from audiopalm.inference import prompting
from audiopalm.inference.trained import Trained
from audiopalm.metrics.likelihood import Sums
from audiopalm.types import Task

JOB = 64  # pairs a worker encodes at one time


def find_task(trained: Trained, found: Sequence[Pair], path: Path) -> Task:
  """Returns the first task that can judge the pairs of a manifest: without inputs, with one output
  of their modality, over a corpus of their languages; ConfigError without one."""
  modality = pairs.modality(found)
  languages = {pair.language for pair in found}
  for task in trained.experiment.tasks:
    if (
      _judges(task)
      and suites.modality(task.outputs[0], trained.prepared) == modality
      and languages <= set(task.corpus.languages)
    ):
      return task
  raise ConfigError(
    f"{path} holds {'recordings' if modality == 'speech' else 'texts'} in "
    f"{', '.join(sorted(languages))}, and no task of this run without inputs and with one output "
    f"can judge them. Such tasks: {_known(trained)}. Leave the file out, or train such a task."
  )


def judge(
  trained: Trained, task: Task, found: Sequence[Pair], folder: Path, executor: Local
) -> list[Judged]:
  """Returns the likelihoods of pairs, in their order; paths of audio are relative to `folder`.

  A side is the output of the task, its stop included, after a tag of its language. ConfigError for
  a task that is given anything or predicts several streams, and for an unknown language.
  """
  if not _judges(task):
    raise ConfigError(
      f"Pairs are judged by a task without inputs and with one output, but {task.name!r} goes from "
      f"{suites.streams(task.inputs)} to {suites.streams(task.outputs)}. Such tasks of this run: "
      f"{_known(trained)}."
    )
  ((role, stream),) = task.outputs
  tokenizer = trained.prepared.tokenizers[stream]
  layout = prompting.asked_layout(trained.experiment, task)
  address, space = f"{role}.{stream}", trained.prepared.space
  tags = {
    language: layouts.tag_of(task, {role: language})
    for language in dict.fromkeys(pair.language for pair in found)
  }
  jobs = [
    pairs.Job(tokenizer, found[start : start + JOB], folder) for start in range(0, len(found), JOB)
  ]
  grids = [
    [layouts.realize(layout, {address: ids}, tags[pair.language], space) for ids in sides]
    for job, encoded in zip(jobs, executor.map(pairs.encode, jobs), strict=True)
    for pair, sides in zip(job.pairs, encoded, strict=True)
  ]
  keys = [[side.tokens_LK.tobytes() for side in sides] for sides in grids]
  # Grids of the same ids are asked once: their sums would differ in the last bits, and not tie.
  asked = {
    key: side
    for sides, both in zip(grids, keys, strict=True)
    if max(map(len, sides)) <= trained.experiment.data.row_length
    for side, key in zip(sides, both, strict=True)
  }
  found_sums = likelihoods.of_examples(trained, list(asked.values()))
  sums = {key: sum(one.values(), Sums()) for key, one in zip(asked, found_sums, strict=True)}
  return [
    Judged(pair, task.name, tuple(sums[key] for key in both) if set(both) <= sums.keys() else None)
    for pair, both in zip(found, keys, strict=True)
  ]


def _judges(task: Task) -> bool:
  return not task.inputs and len(task.outputs) == 1


def _known(trained: Trained) -> str:
  return ", ".join(one.name for one in trained.experiment.tasks if _judges(one)) or "none"
