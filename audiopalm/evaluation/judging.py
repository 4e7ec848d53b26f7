"""Log-likelihoods of both sides of pairs, under a task without inputs."""

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
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

PAIRS_PER_JOB = 64


@dataclasses.dataclass(frozen=True)
class PairFile:
  """The pairs of a manifest, and the task that judges them."""

  path: Path
  pairs: tuple[Pair, ...]
  task: Task


def read(
  trained: Trained, paths: Sequence[str | os.PathLike], task_name: str | None
) -> list[PairFile]:
  """Returns the pairs of each manifest with the task to judge them by.

  That is the task called `task_name`, or the first that fits the manifest if None. Raises
  ConfigError for two files of the same name, and for a task with inputs or several outputs.
  """
  names = [Path(path).stem for path in paths]
  doubles = [name for name in names if names.count(name) > 1]
  if doubles:
    raise ConfigError(f"Two files of pairs have the name {doubles[0]!r}. Rename one.")
  named = None if task_name is None else prompting.find_task(trained, task_name)
  if named is not None and not _judges(named):
    raise ConfigError(
      f"Pairs are judged by a task without inputs and with one output, but {named.name!r} maps "
      f"{suites.streams(named.inputs)} to {suites.streams(named.outputs)}. Such tasks of this "
      f"run: {_known(trained)}."
    )
  files = []
  for path in map(Path, paths):
    read = pairs.read(path)
    files.append(PairFile(path, read, named or _find_task(trained, read, path)))
  return files


def judge(
  trained: Trained, files: Sequence[PairFile], executor: Local, say: Callable[[str], None]
) -> dict[str, list[Judged]]:
  """Returns {file name without its ending: judged pairs}."""
  judged = {}
  for file in files:
    say(f"{file.path.stem} by {file.task.name}: {len(file.pairs)} pairs")
    judged[file.path.stem] = _judge(trained, file, executor)
  return judged


def _find_task(trained: Trained, file_pairs: Sequence[Pair], path: Path) -> Task:
  """Returns the first task that can judge the pairs of a manifest: without inputs, with one output
  of their modality, and a corpus of their languages. Raises ConfigError if there is none."""
  modality = pairs.modality(file_pairs)
  languages = {pair.language for pair in file_pairs}
  for task in trained.experiment.tasks:
    if (
      _judges(task)
      and trained.prepared.space.streams[task.outputs[0][1]].modality == modality
      and languages <= set(task.corpus.languages)
    ):
      return task
  raise ConfigError(
    f"{path} holds {'recordings' if modality == 'speech' else 'texts'} in "
    f"{', '.join(sorted(languages))}, and no task of this run without inputs and with one output "
    f"can judge them. Such tasks: {_known(trained)}. Omit the file, or train such a task."
  )


def _judge(trained: Trained, file: PairFile, executor: Local) -> list[Judged]:
  """Returns the judged pairs of a file, in order; audio paths are relative to the file.

  A side is scored as the output of the task, including the stop token, after the tag of its
  language.
  """
  task = file.task
  ((role, stream),) = task.outputs
  layout, space = prompting.asked_layout(trained.experiment.layout, task), trained.prepared.space
  languages = {pair.language for pair in file.pairs}
  tags = {language: layouts.tag_of(task, {role: language}) for language in languages}
  encode = functools.partial(pairs.encode, trained.prepared.tokenizers[stream], file.path.parent)
  starts = range(0, len(file.pairs), PAIRS_PER_JOB)
  jobs = [file.pairs[start : start + PAIRS_PER_JOB] for start in starts]
  encoded = [ids for job in executor.map(encode, jobs) for ids in job]
  # Equal grids are scored once: rounding could differ between two copies and break a tie.
  grid_of, keys = {}, []
  for pair, sides in zip(file.pairs, encoded, strict=True):
    grids = [
      layouts.realize(layout, {f"{role}.{stream}": ids}, tags[pair.language], space)
      for ids in sides
    ]
    keys.append([grid.tokens_LK.tobytes() for grid in grids])
    if max(map(len, grids)) <= trained.experiment.data.row_length:
      grid_of |= zip(keys[-1], grids, strict=True)
  by_modality = likelihoods.of_examples(trained, list(grid_of.values()))
  sums = {key: sum(of.values(), Sums()) for key, of in zip(grid_of, by_modality, strict=True)}
  return [
    Judged(pair, task.name, tuple(sums[key] for key in both) if set(both) <= sums.keys() else None)
    for pair, both in zip(file.pairs, keys, strict=True)
  ]


def _judges(task: Task) -> bool:
  return not task.inputs and len(task.outputs) == 1


def _known(trained: Trained) -> str:
  return ", ".join(task.name for task in trained.experiment.tasks if _judges(task)) or "none"
