"""Batches of packed rows: each a pure function of (mixture, seed, step) and of their changes.

Nothing is remembered between batches, so a run resumes at any step without reading what came
before, and any number of hosts makes the same global batches.
"""

import copy
import functools
import sys
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import grain
import numpy as np

from audiopalm.batch import Batch
from audiopalm.data import rows, spread
from audiopalm.data import schedule as schedules
from audiopalm.data.prepared import Prepared
from audiopalm.errors import DataError
from audiopalm.types import HOLE, Grid, Task


class Place(NamedTuple):
  """One row of one epoch: number of the task in the mixture, number of the row in its index, and
  the seed that random layouts draw by."""

  task: int
  row: int
  epoch: int
  seed: int


class Loader:
  """The training batches of an experiment: `batch_at(step)`, or `batches(from_step)` read ahead.

  A batch has `batch_rows` rows over all processes; this one reads those in `mine`, None for all, of
  which `first_row` is the first. `schedule` says what became of a run that goes on, and was set
  otherwise before (`resumed`); with it a loader that reads all rows gives the batches of all steps.
  """

  def __init__(
    self,
    prepared: Prepared,
    experiment: Any,
    batch_rows: int | None = None,
    split: str = "train",
    *,
    mine: slice | None = None,
    schedule: schedules.Schedule | None = None,
  ):
    rows = experiment.batch_rows if batch_rows is None else batch_rows
    self.tasks = tuple(task for task, _ in experiment.mixture.tasks)
    self._prepared, self._split = prepared, split
    self._indexes = [prepared.rows(task, split) for task in self.tasks]
    for task, index in zip(self.tasks, self._indexes, strict=True):
      if not len(index):
        raise DataError(f"Task {task.name!r} has no rows in split {split!r}. Leave it out.")
    unit = "tokens_per_row" if experiment.mixture.unit == "tokens" else "examples_per_row"
    self.weights = experiment.mixture.weights([getattr(index, unit) for index in self._indexes])
    weights = {task.name: weight for task, weight in zip(self.tasks, self.weights, strict=True)}
    self._asked = schedules.Stretch(0, 0, rows, experiment.seed, weights)
    self.schedule = schedule or (self._asked,)
    self._numbers = {task.name: number for number, task in enumerate(self.tasks)}
    self._mine = mine
    self.first_row = 0 if mine is None else mine.start

  def resumed(self, schedule: schedules.Schedule | None, step: int) -> "Loader":
    """Returns the loader that goes on at a step where a run of this schedule stood (None: one that
    had this one's settings from the start), with this one's settings."""
    found = copy.copy(self)
    found.schedule = schedules.resumed(schedule or (self._asked,), step, self._asked)
    return found

  def batch_at(self, step: int) -> Batch:
    """Returns this process's rows of the batch of a step, as numpy arrays."""
    places = self.places_at(step)
    if self._mine is None:
      return self._batch(places)
    assert len(places) == self._asked.batch_rows, "rows are shared out by the batch_rows of now"
    return self._batch(places[self._mine])

  def places_at(self, step: int) -> list[Place]:
    """Returns where the rows of the batch of a step come from, those of all processes.

    DataError for a step that was given rows of a task which the experiment no longer has.
    """
    stretch = schedules.at(self.schedule, step)
    gone = [
      task for task, weight in stretch.weights.items() if weight and task not in self._numbers
    ]
    if gone:
      raise DataError(
        f"The batch of step {step + 1} has rows of task {gone[0]!r}, which the run has no longer: "
        f"it has {', '.join(self._numbers)}. Prepare the run with that task to see it."
      )
    return [
      self._place(self._numbers[task], number, stretch.seed)
      for task, number in stretch.rows_at(step)
    ]

  def grids(self, place: Place) -> list[Grid]:
    """Returns the examples of one row."""
    return _grids(self._prepared, self.tasks[place.task], self._split, place)

  def batches(self, from_step: int = 0, read_ahead: int = 4) -> Iterator[Batch]:
    """Yields batch_at(from_step), the next one, ... without end, made ahead by threads."""
    options = grain.ReadOptions(num_threads=min(4, read_ahead), prefetch_buffer_size=read_ahead)
    steps = grain.MapDataset.range(from_step, sys.maxsize)
    return iter(steps.map(self.batch_at).to_iter_dataset(options))

  def _place(self, task: int, number: int, seed: int) -> Place:
    rows = len(self._indexes[task])
    return Place(task, int(self._order(task, seed)[number]), number // rows, seed)

  @functools.cache  # noqa: B019  one Loader lives as long as its process
  def _order(self, task: int, seed: int) -> grain.MapDataset:
    """Returns the rows of a task without end: each once an epoch, in an order of its own."""
    own = zlib.crc32(f"{seed} {self.tasks[task].name}".encode())
    return grain.MapDataset.range(len(self._indexes[task])).shuffle(seed=own).repeat()

  def _batch(self, places: Sequence[Place]) -> Batch:
    return assemble(
      [self.grids(place) for place in places],
      [p.task for p in places],
      self._prepared.row_length,
      self._prepared.space.columns,
    )


def held_out(
  prepared: Prepared,
  task: Task,
  rows: int,
  *,
  batch_rows: int = 16,
  split: str = "validation",
  mine: slice | None = None,
) -> list[Batch]:
  """Returns at most `rows` rows of a split, evenly spread over its index, in batches of one shape.

  The last batch is filled up with rows of padding. Grids are drawn at seed 0, epoch 0. Of each
  batch this process reads the rows in `mine`, None for all.
  """
  index = prepared.rows(task, split)
  number = prepared.tasks.index(task)
  chosen = spread.evenly(len(index), rows)
  here = slice(0, batch_rows) if mine is None else mine
  each = here.stop - here.start
  batches = []
  for start in range(0, len(chosen), batch_rows):
    read = chosen[start : start + batch_rows][here]
    grids = [_grids(prepared, task, split, Place(number, int(row), 0, 0)) for row in read]
    grids += [[]] * (each - len(grids))
    batches.append(assemble(grids, [number] * each, prepared.row_length, prepared.space.columns))
  return batches


def assemble(
  rows: Sequence[Sequence[Grid]], tasks: Sequence[int], row_length: int, columns: int
) -> Batch:
  """Returns the batch whose row b holds the grids rows[b] one after another, then padding."""
  tokens_BLK = np.full((len(rows), row_length, columns), HOLE, np.int32)
  weights_BLK = np.zeros((len(rows), row_length, columns), np.float32)
  segments_BL, positions_BL, visible_BL = np.zeros((3, len(rows), row_length), np.int32)
  counting_L = np.arange(row_length, dtype=np.int32)
  for b, grids in enumerate(rows):
    start = 0
    for segment, grid in enumerate(grids, 1):
      here = slice(start, start + len(grid))
      tokens_BLK[b, here] = grid.tokens_LK
      weights_BLK[b, here] = grid.weights_LK
      segments_BL[b, here] = segment
      positions_BL[b, here] = counting_L[: len(grid)]
      visible_BL[b, here] = grid.visible_L
      start += len(grid)
  task_B = np.asarray(tasks, np.int32)
  return Batch(tokens_BLK, weights_BLK, segments_BL, positions_BL, visible_BL, task_B)


def _grids(prepared: Prepared, task: Task, split: str, place: Place) -> list[Grid]:
  """Returns the examples of one row."""
  chosen = prepared.rows(task, split)[place.row]
  layout, entries = prepared.layouts[task.name], prepared.entries(task, split)
  made_from = (task, layout, prepared.space, entries, chosen)
  return list(rows.realized(*made_from, seed=place.seed, epoch=place.epoch))
