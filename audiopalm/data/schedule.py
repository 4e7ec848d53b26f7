"""The rows of each task that each step of a run uses, over all changes of the run's settings.

A run is a sequence of stretches, in each of which batch_rows, task weights and seed are constant.
Tasks are mixed in one endless order of rows. If only batch_rows changes, the next stretch continues
this order where the previous one ended. If weights or seed change, a new order begins, in which
every task continues where it stopped:

    batch_rows 2, weights a 1, b 1    step 0:  a0 b0    step 1:  a1 b1
    batch_rows 4                      step 2:  a2 b2 a3 b3
    weights a 1, b 3                  step 3:  b4 b5 a4 b6

So unless the seed changes, each row of a task is used once per epoch. The rows of a step follow
from the schedule alone, which is saved in every checkpoint.
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
  """Steps with the same settings, from `step` on, counted from 0.

  `row` is the index of its first row in the mixed order. `weights` are fractions of the rows by
  task, in the order of the mixture; `starts` are the rows of each task that were used before the
  mixed order began (0 for other tasks).
  """

  step: int
  row: int
  batch_rows: int
  seed: int
  weights: Mapping[str, float]
  starts: Mapping[str, int] = dataclasses.field(default_factory=dict)

  def rows_at(self, step: int) -> list[tuple[str, int]]:
    """Returns (task, number of its earlier rows) for each row of the batch of a step."""
    first = self.first_row(step)
    return [self._at(row) for row in range(first, first + self.batch_rows)]

  def counts(self, step: int) -> dict[str, int]:
    """Returns the number of rows of each task in all steps from 0 to `step` - 1."""
    counts, row = dict(self.starts), self.first_row(step)
    missing = {task for task, weight in self.weights.items() if weight}
    while missing:  # the next row of a task has the number of its earlier rows
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
      # The power function of another machine may round differently.
      and all(math.isclose(self.weights[task], other.weights[task]) for task in self.weights)
    )

  def first_row(self, step: int) -> int:
    """Returns the index of the first row of a step in the mixed order."""
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
  """Returns the stretch that contains a step."""
  return next(stretch for stretch in reversed(schedule) if stretch.step <= step)


def resumed(schedule: Schedule, step: int, following: Stretch) -> Schedule:
  """Returns `schedule` up to `step`, continued with the batch_rows, seed and weights of
  `following`."""
  earlier = tuple(stretch for stretch in schedule if stretch.step < step)
  if not earlier:
    return (dataclasses.replace(following, step=0, row=0, starts={}),)
  last = earlier[-1]
  if not last.goes_on_as(following):
    return (*earlier, dataclasses.replace(following, step=step, row=0, starts=last.counts(step)))
  if last.batch_rows != following.batch_rows:
    changes = {"step": step, "row": last.first_row(step), "batch_rows": following.batch_rows}
    return (*earlier, dataclasses.replace(last, **changes))
  return earlier


def to_json(schedule: Schedule) -> list[dict[str, Any]]:
  """Returns a schedule as JSON values; `from_json` returns an equal schedule."""
  return [dataclasses.asdict(stretch) for stretch in schedule]


def from_json(value: Sequence[Mapping[str, Any]]) -> Schedule:
  return tuple(Stretch(**fields) for fields in value)


def _numbered(task: str, number: int) -> tuple[str, int]:
  return task, number
