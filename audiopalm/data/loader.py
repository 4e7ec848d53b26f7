"""Batches of packed rows: each a pure function of (mixture, seed, step).

Nothing is remembered between batches, so a run resumes at any step without reading what came
before, and any number of hosts makes the same global batches.
"""

import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import grain
import numpy as np

from audiopalm.batch import Batch
from audiopalm.data import rows
from audiopalm.data.prepared import Prepared
from audiopalm.errors import DataError
from audiopalm.types import HOLE, Grid, Task


class Place(NamedTuple):
  """One row of one epoch: number of the task in the mixture, number of the row in its index."""

  task: int
  row: int
  epoch: int


class Loader:
  """The training batches of an experiment: `batch_at(step)`, or `batches(from_step)` read ahead.

  A batch has `batch_rows` rows over all processes; this one reads those in `mine`, None for all, of
  which `first_row` is the first.
  """

  def __init__(
    self,
    prepared: Prepared,
    experiment: Any,
    batch_rows: int | None = None,
    split: str = "train",
    *,
    mine: slice | None = None,
  ):
    rows = experiment.batch_rows if batch_rows is None else batch_rows
    self.tasks = tuple(task for task, _ in experiment.mixture.tasks)
    self._prepared, self._split, self._seed = prepared, split, experiment.seed
    self._indexes = [prepared.rows(task, split) for task in self.tasks]
    for task, index in zip(self.tasks, self._indexes, strict=True):
      if not len(index):
        raise DataError(f"Task {task.name!r} has no rows in split {split!r}. Leave it out.")
    unit = "tokens_per_row" if experiment.mixture.unit == "tokens" else "examples_per_row"
    self.weights = experiment.mixture.weights([getattr(index, unit) for index in self._indexes])
    taken = [number for number, weight in enumerate(self.weights) if weight]
    places = grain.MapDataset.mix(
      [self._places(number) for number in taken], [self.weights[number] for number in taken]
    )
    chosen = slice(None) if mine is None else mine
    self.first_row = chosen.start or 0
    self._places_at = places.batch(rows, batch_fn=list)
    self._batches = self._places_at.map(lambda batch: self._batch(batch[chosen]))

  def batch_at(self, step: int) -> Batch:
    """Returns this process's rows of the batch of a step, as numpy arrays."""
    return self._batches[step]

  def places_at(self, step: int) -> list[Place]:
    """Returns where the rows of the batch of a step come from, those of all processes."""
    return self._places_at[step]

  def grids(self, place: Place) -> list[Grid]:
    """Returns the examples of one row."""
    return _grids(self._prepared, self.tasks[place.task], self._split, place, self._seed)

  def batches(self, from_step: int = 0, read_ahead: int = 4) -> Iterator[Batch]:
    """Yields batch_at(from_step), the next one, ... without end, made ahead by threads."""
    options = grain.ReadOptions(num_threads=min(4, read_ahead), prefetch_buffer_size=read_ahead)
    return iter(self._batches.slice(slice(from_step, None)).to_iter_dataset(options))

  def seen(self, rows: int) -> dict[str, dict[str, float]]:
    """Returns by task the rows, examples, tokens and epochs in the first `rows` rows."""
    counts = {}
    for task, index, weight in zip(self.tasks, self._indexes, self.weights, strict=True):
      mine = rows * weight
      counts[task.name] = {
        "rows": mine,
        "examples": mine * index.examples_per_row,
        "tokens": mine * index.tokens_per_row,
        "epochs": mine / len(index),
      }
    return counts

  def _places(self, number: int) -> grain.MapDataset:
    """Returns the endless places of a task: each row once an epoch, in an order of its own."""
    rows = len(self._indexes[number])
    seed = zlib.crc32(f"{self._seed} {self.tasks[number].name}".encode())
    shuffled = grain.MapDataset.range(rows).shuffle(seed=seed).repeat()
    return shuffled.map_with_index(lambda at, row: Place(number, row, at // rows))

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
  chosen = np.unique(np.linspace(0, len(index) - 1, min(rows, len(index))).round().astype(int))
  here = slice(0, batch_rows) if mine is None else mine
  each = here.stop - here.start
  batches = []
  for start in range(0, len(chosen), batch_rows):
    read = chosen[start : start + batch_rows][here]
    grids = [_grids(prepared, task, split, Place(number, int(row), 0), 0) for row in read]
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


def _grids(prepared: Prepared, task: Task, split: str, place: Place, seed: int) -> list[Grid]:
  """Returns the examples of one row."""
  chosen = prepared.rows(task, split)[place.row]
  layout, entries = prepared.layouts[task.name], prepared.entries(task, split)
  grids = rows.realized(task, layout, prepared.space, entries, chosen, seed=seed, epoch=place.epoch)
  return list(grids)
