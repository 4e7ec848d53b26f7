"""Data whose batch rows have several examples, packed: their settings, index and feed."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

import jax
import numpy as np

from audiopalm import layouts, sharding
from audiopalm.batch import PackedBatch
from audiopalm.data import feeds, rows
from audiopalm.data.cache import Entries
from audiopalm.data.examples import Examples
from audiopalm.data.feeds import PADDING, RowPlace
from audiopalm.data.prepared import Prepared
from audiopalm.errors import ConfigError, DataError
from audiopalm.layouts.cells import Part
from audiopalm.tokens.space import TokenSpace
from audiopalm.types import HOLE, Grid, Task


@dataclasses.dataclass(frozen=True)
class Packed:
  """Examples of tasks as grids of tokens, several of them in one batch row.

  A step has `batch_rows` rows of `row_length`, for any number of devices and micro-batches.
  `too_long` is the treatment of a record longer than a batch row: "error", "split" into several
  rows (only for tasks without inputs), or "drop".
  """

  row_length: int = 512
  batch_rows: int = 16
  too_long: rows.TooLong = "error"

  keeps_waves: ClassVar[bool] = False
  answers: ClassVar[bool] = True

  def __post_init__(self):
    feeds.check_count("data.row_length", self.row_length)
    feeds.check_count("data.batch_rows", self.batch_rows)
    if self.too_long not in get_args(rows.TooLong):
      raise ConfigError(
        f"data.too_long must be one of {', '.join(get_args(rows.TooLong))}, not {self.too_long!r}."
      )

  @property
  def length(self) -> int:
    return self.row_length

  @property
  def prepared_by(self) -> tuple[int | str, ...]:
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
          "length of one of them. Set too_long='drop', or remove the paraphrases."
        )

  def check_mesh(self, mesh: jax.sharding.Mesh) -> None:
    sharding.check_row_length(mesh, self.row_length)

  def shapes(self, space: TokenSpace, tasks: Sequence[Task]) -> PackedBatch:
    row = self.batch_rows, self.row_length
    grid = *row, space.columns
    integers = [jax.ShapeDtypeStruct(row, np.int32) for _ in range(3)]
    return PackedBatch(
      jax.ShapeDtypeStruct(grid, np.int32),
      jax.ShapeDtypeStruct(grid, np.float32),
      *integers,
      jax.ShapeDtypeStruct((self.batch_rows,), np.int32),
    )

  def layouts(self, rule: layouts.Rule, tasks: Sequence[Task]) -> dict[str, Part]:
    return {task.name: rule.layout_of(task) for task in tasks}

  def index(self, prepared: Prepared) -> None:
    """Writes missing and outdated row indexes; raises DataError for a task without records."""
    for task in prepared.tasks:
      entries = prepared.entries(task, "train")
      if not len(entries):
        faults = entries.quarantined
        raise DataError(
          f"Task {task.name!r} has no records left: all {len(faults)} training records of corpus "
          f"{task.corpus.name!r} were left out. The first: "
          f"{faults[0]['reason'] if faults else 'the corpus has none.'}"
        )
      for split in task.corpus.splits:
        path = rows.path_of(prepared.rows_dir, task, split, self.row_length)
        made_from = prepared.rows_made_from(task)
        if rows.is_current(path, made_from):
          continue
        source = examples_of(prepared, task, split)
        segments = rows.segments(source, row_length=self.row_length, too_long=self.too_long)
        if split == "train":
          self._check_left(source, segments)
        rows.save(rows.build(source, segments, self.row_length), path, made_from)

  def _check_left(self, source: Examples, segments: rows.Segments) -> None:
    """Raises DataError if no records are left to train on."""
    task = source.task
    if len(segments):
      return
    if segments.dropped:
      raise DataError(
        f"Task {task.name!r} has no records left: all {segments.dropped} are longer than "
        f"row_length={self.row_length} and too_long is 'drop'. Raise row_length."
      )
    raise DataError(
      f"Task {task.name!r} has no records left: {segments.lacking} of {len(source.entries)} "
      f"training records of corpus {task.corpus.name!r} lack one of "
      f"{', '.join(layouts.stream_names(source.layout))}; the others have unseen words. A record "
      "without a pair or a translation has no target, and a translation as text only has no "
      "speech: remove the task, use another corpus, or let it speak the source, tts(corpus, "
      "role='source')."
    )

  def check_index(self, prepared: Prepared) -> None:
    """Raises DataError or TokenSpaceError unless every task has an index of its records."""
    for task in prepared.tasks:
      for split in task.corpus.splits:
        records_N, entries = prepared.rows(task, split).records, prepared.entries(task, split)
        if len(records_N) and records_N.max() >= len(entries):
          raise DataError(
            f"The row index of task {task.name!r}, split {split!r}, names record {records_N.max()} "
            f"of {len(entries)}. Delete {prepared.rows_dir} and run `audiopalm prepare` again."
          )

  def feed(self, prepared: Prepared, tasks: Sequence[Task], split: str) -> feeds.Feed:
    return PackedFeed(prepared, tasks, split)

  def summary(self, prepared: Prepared, task: Task, split: str) -> dict[str, float]:
    entries, index = prepared.entries(task, split), prepared.rows(task, split)
    return {
      "hours": _seconds(prepared, task, split, entries) / 3600,
      "records": len(entries),
      "examples": len(index.records),
      "tokens": round(index.tokens_per_row * len(index)),
      "rows": len(index),
      "efficiency": index.efficiency,
      **{name: getattr(index.segments, name) for name in rows.COUNTS},
    }


def examples_of(prepared: Prepared, task: Task, split: str) -> Examples:
  """Returns the entries of a split as examples of a task."""
  layout, entries = prepared.layouts[task.name], prepared.entries(task, split)
  return Examples(task, layout, prepared.space, entries)


def _seconds(prepared: Prepared, task: Task, split: str, entries: Entries) -> float:
  """Returns the seconds of speech in the roles of a task, over records that it can use."""
  streams = prepared.space.streams
  spoken = {role for role, name in task.sides if streams[name].modality == "speech"}
  having_N = examples_of(prepared, task, split).having()
  if having_N.all():
    return sum(entries.seconds.get(role, 0.0) for role in spoken)
  seconds = (entries[int(number)].seconds for number in np.flatnonzero(having_N))
  return sum(seconds_of[role] for seconds_of in seconds for role in spoken)


class PackedFeed:
  """Reads the packed rows of a split of some tasks; see `feeds.Feed`."""

  def __init__(self, prepared: Prepared, tasks: Sequence[Task], split: str):
    self._prepared, self._tasks, self._split = prepared, tuple(tasks), split
    self._indexes = [prepared.rows(task, split) for task in tasks]
    self.rows = [len(index) for index in self._indexes]

  def per_row(self, unit: Literal["examples", "tokens"]) -> list[float]:
    return [getattr(index, f"{unit}_per_row") for index in self._indexes]

  def batch(self, places: Sequence[RowPlace]) -> PackedBatch:
    grids, tasks = [self.grids(place) for place in places], [place.task for place in places]
    return assemble(grids, tasks, self._prepared.data.row_length, self._prepared.space.columns)

  def records(self, place: RowPlace) -> list[int]:
    return self._indexes[place.task][place.row].records_N.tolist()

  def grids(self, place: RowPlace) -> list[Grid]:
    """Returns the examples of one row."""
    if place.row == PADDING:
      return []
    segments = self._indexes[place.task][place.row]
    source = examples_of(self._prepared, self._tasks[place.task], self._split)
    return list(rows.realized(source, segments, seed=place.seed, epoch=place.epoch))


def assemble(
  packed_rows: Sequence[Sequence[Grid]], tasks: Sequence[int], row_length: int, columns: int
) -> PackedBatch:
  """Returns the batch whose row b holds the grids of packed_rows[b] in turn, then padding."""
  tokens_BLK = np.full((len(packed_rows), row_length, columns), HOLE, np.int32)
  weights_BLK = np.zeros((len(packed_rows), row_length, columns), np.float32)
  segments_BL, positions_BL, visible_BL = np.zeros((3, len(packed_rows), row_length), np.int32)
  counting_L = np.arange(row_length, dtype=np.int32)
  for b, grids in enumerate(packed_rows):
    start = 0
    for segment, grid in enumerate(grids, 1):
      span = slice(start, start + len(grid))
      tokens_BLK[b, span] = grid.tokens_LK
      weights_BLK[b, span] = grid.weights_LK
      segments_BL[b, span] = segment
      positions_BL[b, span] = counting_L[: len(grid)]
      visible_BL[b, span] = grid.visible_L
      start += len(grid)
  task_B = np.asarray(tasks, np.int32)
  return PackedBatch(tokens_BLK, weights_BLK, segments_BL, positions_BL, visible_BL, task_B)
