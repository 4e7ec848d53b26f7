"""Examples packed into batch rows: which share a row, and the grids of a batch side by side."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import jax
import numpy as np

from audiopalm import layouts, sharding
from audiopalm.batch import PackedBatch
from audiopalm.data import feeds, spread
from audiopalm.data import rows as row_indexes
from audiopalm.data.feeds import RowPlace
from audiopalm.data.prepared import Prepared
from audiopalm.errors import ConfigError, DataError
from audiopalm.tokens.space import TokenSpace
from audiopalm.types import HOLE, Grid, Task

TOO_LONG = ("error", "split", "drop")


@dataclasses.dataclass(frozen=True)
class Packed:
  """Examples of tasks as grids of tokens, several of them in one batch row.

  `batch_rows` rows of `row_length` make one step, however many devices and micro-batches share
  them. `too_long` says what becomes of a record longer than a batch row: an error, several rows
  ("split", for tasks without inputs only) or nothing ("drop").
  """

  row_length: int = 512
  batch_rows: int = 16
  too_long: Literal["error", "split", "drop"] = "error"

  def __post_init__(self):
    feeds.check_count("data.row_length", self.row_length)
    feeds.check_count("data.batch_rows", self.batch_rows)
    if self.too_long not in TOO_LONG:
      raise ConfigError(
        f"data.too_long must be one of {', '.join(TOO_LONG)}, not {self.too_long!r}."
      )

  @property
  def length(self) -> int:
    return self.row_length

  @property
  def prepared_by(self) -> tuple[Any, ...]:
    return self.row_length, self.too_long

  def check(self, tasks: Sequence[Task], streams: Sequence[str]) -> None:
    for task in tasks:
      if not task.outputs:
        raise ConfigError(
          f"Task {task.name!r} has no outputs. Give at least one (role, stream) pair."
        )
      feeds.check_streams(task, streams)
      if task.paraphrases and self.too_long == "split":
        raise ConfigError(
          f"Task {task.name!r} has paraphrases, and too_long='split' would cut its records by the "
          "length of one of them. Set too_long='drop', or leave the paraphrases out."
        )

  def check_mesh(self, mesh: jax.sharding.Mesh) -> None:
    sharding.check_row_length(mesh, self.row_length)

  def shapes(self, space: TokenSpace, tasks: Sequence[Task]) -> PackedBatch:
    rows = self.batch_rows, self.row_length
    grid = *rows, space.columns
    integers = [jax.ShapeDtypeStruct(rows, np.int32) for _ in range(3)]
    return PackedBatch(
      jax.ShapeDtypeStruct(grid, np.int32),
      jax.ShapeDtypeStruct(grid, np.float32),
      *integers,
      jax.ShapeDtypeStruct((self.batch_rows,), np.int32),
    )

  def layouts(self, rule: Any, tasks: Sequence[Task]) -> dict[str, Any]:
    return {task.name: rule.layout_of(task) for task in tasks}

  @property
  def keeps_waves(self) -> bool:
    return False

  def index(self, prepared: Prepared) -> None:
    index(prepared)

  def check_index(self, prepared: Prepared) -> None:
    check_index(prepared)

  def feed(self, prepared: Prepared, tasks: Sequence[Task], split: str) -> feeds.Feed:
    return PackedFeed(prepared, tasks, split)

  def summary(self, prepared: Prepared, task: Task, split: str) -> dict[str, Any]:
    return summary(prepared, task, split)

  @property
  def answers(self) -> bool:
    return True


class PackedFeed:
  """Reads the packed rows of a split of some tasks; see `feeds.Feed`."""

  def __init__(self, prepared: Prepared, tasks: Sequence[Task], split: str):
    self._prepared, self._tasks, self._split = prepared, tuple(tasks), split
    self._indexes = [prepared.rows(task, split) for task in tasks]
    self.rows = [len(index) for index in self._indexes]

  def per_row(self, unit: Literal["examples", "tokens"]) -> list[float]:
    return [getattr(index, f"{unit}_per_row") for index in self._indexes]

  def batch(self, places: Sequence[RowPlace]) -> PackedBatch:
    return self._assembled([self.grids(place) for place in places], [p.task for p in places])

  def records(self, place: RowPlace) -> list[int]:
    return self._indexes[place.task][place.row].records_N.tolist()

  def held_out(
    self, task: int, rows: int, batch_rows: int, mine: slice | None
  ) -> list[PackedBatch]:
    """Returns batches of rows of a split; the last one is filled up with rows of padding. Grids are
    drawn at seed 0, epoch 0."""
    count = self.rows[task]
    chosen = spread.evenly(count, rows)
    here = slice(0, batch_rows) if mine is None else mine
    each = here.stop - here.start
    batches = []
    for start in range(0, len(chosen), batch_rows):
      read = chosen[start : start + batch_rows][here]
      grids = [self.grids(RowPlace(task, int(row), 0, 0)) for row in read]
      grids += [[]] * (each - len(grids))
      batches.append(self._assembled(grids, [task] * each))
    return batches

  def grids(self, place: RowPlace) -> list[Grid]:
    """Returns the examples of one row."""
    task = self._tasks[place.task]
    chosen = self._indexes[place.task][place.row]
    layout, entries = self._prepared.layouts[task.name], self._prepared.entries(task, self._split)
    made_from = (task, layout, self._prepared.space, entries, chosen)
    return list(row_indexes.realized(*made_from, seed=place.seed, epoch=place.epoch))

  def _assembled(self, rows: Sequence[Sequence[Grid]], tasks: Sequence[int]) -> PackedBatch:
    return assemble(rows, tasks, self._prepared.data.row_length, self._prepared.space.columns)


def assemble(
  rows: Sequence[Sequence[Grid]], tasks: Sequence[int], row_length: int, columns: int
) -> PackedBatch:
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
  return PackedBatch(tokens_BLK, weights_BLK, segments_BL, positions_BL, visible_BL, task_B)


def index(prepared: Prepared) -> None:
  """Writes the row indexes that are not there, after checking that every task has records."""
  for task in prepared.tasks:
    entries = prepared.entries(task, "train")
    if not len(entries):
      raise DataError(
        f"Task {task.name!r} has no records left: all {len(entries.quarantined)} training records "
        f"of corpus {task.corpus.name!r} were left out. The first: {_first_fault(entries)}"
      )
    for split in task.corpus.splits:
      _index_split(prepared, task, split)


def _index_split(prepared: Prepared, task: Any, split: str) -> None:
  row_length, too_long = prepared.data.row_length, prepared.data.too_long
  path = row_indexes.path_of(prepared.rows_dir, task, split, row_length)
  made_from = prepared.rows_made_from(task)
  if row_indexes.is_current(path, made_from):
    return
  made_of = (task, prepared.layouts[task.name], prepared.space, prepared.entries(task, split))
  chosen = row_indexes.segments(*made_of, row_length=row_length, too_long=too_long)
  if split == "train" and not len(chosen):
    if not chosen.dropped:
      names = ", ".join(layouts.stream_names(made_of[1]))
      raise DataError(
        f"Task {task.name!r} has no records left: {chosen.lacking} of {len(made_of[3])} training "
        f"records of corpus {task.corpus.name!r} lack one of {names}; the others hold unseen "
        "words. A record without a pair or a translation has no target, and a translation in "
        "words alone no speech: leave the task out, give it another corpus, or let it speak the "
        "source, tts(corpus, role='source')."
      )
    raise DataError(
      f"Task {task.name!r} has no records left: all {chosen.dropped} are longer than row_length="
      f"{row_length} and too_long is 'drop'. Raise row_length."
    )
  built = row_indexes.build(*made_of, chosen, row_length)
  row_indexes.save(built, path, made_from)


def check_index(prepared: Prepared) -> None:
  """Raises DataError or TokenSpaceError unless every task has an index of the records there are."""
  for task in prepared.tasks:
    for split in task.corpus.splits:
      records_N, entries = prepared.rows(task, split).records, prepared.entries(task, split)
      if len(records_N) and records_N.max() >= len(entries):
        raise DataError(
          f"The row index of task {task.name!r}, split {split!r}, names record {records_N.max()} "
          f"of {len(entries)}. Delete {prepared.rows_dir} and run `audiopalm prepare` again."
        )


def summary(prepared: Prepared, task: Task, split: str) -> dict[str, Any]:
  """Returns what `prepare` reports of a task in a split."""
  entries, index = prepared.entries(task, split), prepared.rows(task, split)
  return {
    "hours": _seconds(task, prepared, split) / 3600,
    "records": len(entries),
    "examples": len(index.records),
    "tokens": round(index.tokens_per_row * len(index)),
    "rows": len(index),
    "efficiency": index.efficiency,
    "dropped": index.segments.dropped,
    "cut": index.segments.cut,
    "lacking": index.segments.lacking,
  }


def _seconds(task: Task, prepared: Prepared, split: str) -> float:
  """Returns how long the roles a task hears or speaks last, in records that it can use."""
  modality = {name: tokenizer.spec.modality for name, tokenizer in prepared.tokenizers.items()}
  spoken = {role for role, name in task.sides if modality[name] == "speech"}
  entries = prepared.entries(task, split)
  having_N = row_indexes.having(task, prepared.layouts[task.name], entries)
  if having_N.all():
    return sum(entries.seconds.get(role, 0.0) for role in spoken)
  each = (entries[int(number)].seconds for number in np.flatnonzero(having_N))
  return sum(seconds[role] for seconds in each for role in spoken)


def _first_fault(entries: Any) -> str:
  return entries.quarantined[0]["reason"] if entries.quarantined else "the corpus holds none."
