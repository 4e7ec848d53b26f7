"""Which row of which task each step of a run is given, over all changes of its settings.

A run is a sequence of stretches, in each of which batch_rows, the weights of the tasks and the seed
stay the same. The tasks are mixed in one endless order of rows; a stretch takes it up where the one
before stopped, so with other batch_rows it goes on in the same order. With other weights or another
seed a new order begins, in which every task goes on where it was:

    batch_rows 2, weights a 1, b 1    step 0:  a0 b0    step 1:  a1 b1
    batch_rows 4                      step 2:  a2 b2 a3 b3
    weights a 1, b 3                  step 3:  b4 b5 a4 b6

So no row of a task is read twice within an epoch, or left out. What a step is given follows from
the schedule alone; it is kept in every checkpoint.
"""

import dataclasses
import functools
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import grain


@dataclasses.dataclass(frozen=True)
class Stretch:
  """Steps under one setting, the first of them `step`, counted from 0.

  `row` is the number of its first row in the mixed order. `weights` are parts of all rows by task,
  in the order of the mixture; `starts` the rows of each task that were read before the mixed order
  began (0 of those that are not there).
  """

  step: int
  row: int
  batch_rows: int
  seed: int
  weights: Mapping[str, float]
  starts: Mapping[str, int] = dataclasses.field(default_factory=dict)

  def rows_at(self, step: int) -> list[tuple[str, int]]:
    """Returns (task, how many of its rows come before) for each row of the batch of a step."""
    first = self.first_row(step)
    return [self._at(row) for row in range(first, first + self.batch_rows)]

  def counts(self, step: int) -> dict[str, int]:
    """Returns how many rows of each task all steps before `step` were given, from step 0 on."""
    counts, row = dict(self.starts), self.first_row(step)
    missing = {task for task, weight in self.weights.items() if weight}
    while missing:  # the next row of a task says how many came before it
      task, number = self._at(row)
      if task in missing:
        missing.remove(task)
        counts[task] = number
      row += 1
    return counts

  def goes_on_as(self, other: "Stretch") -> bool:
    """Returns whether the mixed order of `other` is this one."""
    return (
      self.seed == other.seed
      and list(self.weights) == list(other.weights)
      # Equal but for what another machine's power function makes of them.
      and all(math.isclose(self.weights[task], other.weights[task]) for task in self.weights)
    )

  def first_row(self, step: int) -> int:
    """Returns the number of the first row of a step in the mixed order."""
    return self.row + (step - self.step) * self.batch_rows

  def _at(self, row: int) -> tuple[str, int]:
    task, number = self._mixed[row]
    return task, self.starts.get(task, 0) + number

  @functools.cached_property
  def _mixed(self) -> grain.MapDataset:
    weights = {task: weight for task, weight in self.weights.items() if weight}
    endless = grain.MapDataset.range(sys.maxsize)
    orders = [endless.map(functools.partial(_numbered, task)) for task in weights]
    return grain.MapDataset.mix(orders, list(weights.values()))


Schedule = tuple[Stretch, ...]


def at(schedule: Schedule, step: int) -> Stretch:
  """Returns the stretch that a step belongs to."""
  return next(stretch for stretch in reversed(schedule) if stretch.step <= step)


def resumed(schedule: Schedule, step: int, asked: Stretch) -> Schedule:
  """Returns the schedule that `schedule` has up to `step`, and from there on what `asked` asks for:
  its batch_rows, seed and weights."""
  before = tuple(stretch for stretch in schedule if stretch.step < step)
  if not before:
    return (dataclasses.replace(asked, step=0, row=0, starts={}),)
  last = before[-1]
  if not last.goes_on_as(asked):
    return (*before, dataclasses.replace(asked, step=step, row=0, starts=last.counts(step)))
  if last.batch_rows != asked.batch_rows:
    changes = {"step": step, "row": last.first_row(step), "batch_rows": asked.batch_rows}
    return (*before, dataclasses.replace(last, **changes))
  return before


def to_json(schedule: Schedule) -> list[dict[str, Any]]:
  """Returns what a checkpoint keeps; `from_json` gives back an equal schedule."""
  return [dataclasses.asdict(stretch) for stretch in schedule]


def from_json(value: Sequence[Mapping[str, Any]]) -> Schedule:
  return tuple(Stretch(**fields) for fields in value)


def _numbered(task: str, number: int) -> tuple[str, int]:
  return task, number
