"""Row indexes: which examples share which row, as record numbers without tokens.

An index belongs to a layout (by the manifest's hash), a task, a split, a row length and a streams
cache. It stores these, and is rejected or rebuilt if one of them differs.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from audiopalm.data import examples, files
from audiopalm.data.examples import LEFT_OUT, WHOLE, Examples
from audiopalm.errors import DataError, TokenSpaceError
from audiopalm.types import Grid, Task

TooLong = Literal["error", "split", "drop"]

COLUMNS = ("records_N", "starts_N", "lengths_N")
COUNTS = ("dropped", "cut", "lacking")  # of records that are missing or incomplete in the rows
MEANS = ("tokens_per_row", "examples_per_row", "efficiency")
SAMPLE = 256  # examples that are realized to estimate the mean tokens of a row


@dataclasses.dataclass(frozen=True, eq=False)
class Segments:
  """N examples of a task, each of which fits a row.

  `records_N` are indices of entries; `starts_N` is WHOLE, or the start of a piece
  (`examples.piece`); `lengths_N` are upper bounds of grid rows. `dropped` and `cut` count records
  longer than a row, `lacking` those that lack a stream of the task in an optional role.
  """

  records_N: np.ndarray
  starts_N: np.ndarray
  lengths_N: np.ndarray
  dropped: int = 0
  cut: int = 0
  lacking: int = 0

  def __len__(self) -> int:
    return len(self.records_N)

  def __getitem__(self, numbers: np.ndarray | slice) -> Self:
    return dataclasses.replace(self, **{name: getattr(self, name)[numbers] for name in COLUMNS})


@dataclasses.dataclass(frozen=True, eq=False)
class RowIndex:
  """R rows: row r holds the segments offsets_R[r] to offsets_R[r + 1].

  `tokens_per_row` is the mean number of cells that are not holes, `examples_per_row` that of
  segments; `efficiency` is the filled fraction of all rows.
  """

  segments: Segments
  offsets_R: np.ndarray
  tokens_per_row: float
  examples_per_row: float
  efficiency: float

  def __len__(self) -> int:
    return len(self.offsets_R) - 1

  @property
  def records(self) -> np.ndarray:
    """The index of each example's entry, in the order of the rows."""
    return self.segments.records_N

  def __getitem__(self, row: int) -> Segments:
    return self.segments[self.offsets_R[row] : self.offsets_R[row + 1]]


def segments(source: Examples, *, row_length: int, too_long: TooLong) -> Segments:
  """Returns the training examples of a task, without its unseen words and unseen pairs, in the
  order of the entries.

  A record longer than `row_length` raises DataError ("error"), is left out and counted ("drop"), or
  is cut into pieces and counted ("split", only for tasks without inputs).
  """
  task, entries, lengths_N = source.task, source.entries, source.lengths()
  lacking = int((lengths_N == LEFT_OUT).sum())
  if task.unseen_pairs:
    lengths_N[np.isin(source.pairs(), task.unseen_pairs)] = LEFT_OUT
  if task.unseen_words:
    for number in np.flatnonzero(lengths_N != LEFT_OUT).tolist():
      if examples.has_unseen_word(task, entries[number]):
        lengths_N[number] = LEFT_OUT
  long_N = lengths_N > row_length
  if too_long == "error" and long_N.any():
    number = int(np.argmax(long_N))
    raise DataError(
      f"Record {entries[number].id} is longer than a row: as an example of task {task.name!r} it "
      f"takes {lengths_N[number]} rows of the grid, row_length is {row_length}; so are "
      f"{int(long_N.sum()) - 1} others (the longest takes {lengths_N.max()}). Raise row_length, or "
      "set too_long=drop, or too_long=split for a task without inputs."
    )
  if too_long == "split" and long_N.any():
    return _cut(source, lengths_N, row_length, lacking)
  kept = np.flatnonzero(~long_N & (lengths_N != LEFT_OUT))
  starts_N = np.full(len(kept), WHOLE)
  return Segments(kept, starts_N, lengths_N[kept], dropped=int(long_N.sum()), lacking=lacking)


def _cut(source: Examples, lengths_N: np.ndarray, row_length: int, lacking: int) -> Segments:
  """Returns segments in which records longer than a row are cut into pieces."""
  task, refused = source.task, f"too_long=split cannot cut records of task {source.task.name!r}: "
  if source.layout.arranges:
    raise DataError(
      f"{refused}the length of a grid of its layout depends on the record or epoch, so the cuts "
      "are not known. Raise row_length, or set too_long=drop."
    )
  if task.inputs:
    raise DataError(
      f"{refused}an output would lose its input. {int((lengths_N > row_length).sum())} of its "
      f"records are longer than row_length={row_length}. Raise row_length, or set too_long=drop."
    )
  pieces: list[tuple[int, int, int]] = []
  for number in np.flatnonzero(lengths_N != LEFT_OUT).tolist():
    length = int(lengths_N[number])
    if length <= row_length:
      pieces.append((number, WHOLE, length))
      continue
    prompt = source.grid(source.entries[number]).prompt_rows
    room = row_length - prompt
    if room < 1:
      raise DataError(
        f"row_length={row_length} has no room besides the {prompt} rows of the tag of task "
        f"{task.name!r}. Raise row_length."
      )
    for start in range(0, length - prompt, room):
      pieces.append((number, start, prompt + min(room, length - prompt - start)))
  return Segments(*np.array(pieces).T, cut=int((lengths_N > row_length).sum()), lacking=lacking)


def pack(lengths_N: np.ndarray, row_length: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
  """Returns (offsets_R, order_N): row r holds order_N[offsets_R[r] : offsets_R[r + 1]].

  Best-fit decreasing: the longest segment first, each into the fullest row with room for it
  (Johnson et al. 1974: about 11/9 of the optimal number of rows, or fewer). Segments of equal
  length are shuffled, so rows do not consist of neighbors. The time is linear in the segments: free
  space is at most a row, so the fullest row with room is the lowest set bit of a mask.
  """
  shuffled = np.random.default_rng(seed).permutation(len(lengths_N))
  by_length = shuffled[np.argsort(-lengths_N[shuffled], kind="stable")]
  open_rows: list[list[int]] = [[] for _ in range(row_length + 1)]  # by free space
  mask = 0  # bit f: a row with f free is open
  row_of = np.empty(len(lengths_N), np.int64)
  rows = 0
  for number, length in zip(by_length.tolist(), lengths_N[by_length].tolist(), strict=True):
    fitting = mask >> length
    if fitting:
      free = length + (fitting & -fitting).bit_length() - 1
      row = open_rows[free].pop()
      if not open_rows[free]:
        mask ^= 1 << free
    else:
      free, row = row_length, rows
      rows += 1
    row_of[number] = row
    if left := free - length:
      open_rows[left].append(row)
      mask |= 1 << left
  order_N = np.argsort(row_of, kind="stable")
  offsets_R = np.searchsorted(row_of[order_N], np.arange(rows + 1))
  return offsets_R, order_N


def build(source: Examples, chosen: Segments, row_length: int) -> RowIndex:
  """Returns the index of segments packed into rows."""
  offsets_R, order_N = pack(chosen.lengths_N, row_length)
  rows = max(1, len(offsets_R) - 1)
  cells = int(chosen.lengths_N.sum())
  tokens, filled = _mean_cell(source, chosen) if cells else (0.0, 0.0)
  return RowIndex(
    chosen[order_N],
    offsets_R,
    tokens_per_row=cells * tokens / rows,
    examples_per_row=len(chosen) / rows,
    efficiency=cells * filled / rows / row_length,
  )


def _mean_cell(source: Examples, chosen: Segments) -> tuple[float, float]:
  """Returns (mean tokens per counted grid row, share of the counted grid rows that exist).

  The mean is 1 for one column, at most K for K columns. The counted rows, `lengths_N`, exceed those
  that exist only if a layout arranges its records.
  """
  # Rounded down: weights of tasks, and with them the batches of a run, depend on this sample.
  sample = chosen[np.unique(np.linspace(0, len(chosen) - 1, SAMPLE).astype(int))]
  grids = list(realized(source, sample))
  rows = sum(map(len, grids))
  counted = int(sample.lengths_N.sum()) if source.layout.arranges else rows
  return sum(map(examples.count_tokens, grids)) / max(1, counted), rows / max(1, counted)


def realized(
  source: Examples, chosen: Segments, *, seed: int = 0, epoch: int = 0
) -> Iterator[Grid]:
  """Yields the grids of segments."""
  columns = (getattr(chosen, name).tolist() for name in COLUMNS)
  for number, start, length in zip(*columns, strict=True):
    grid = source.grid(source.entries[number], seed, epoch)
    yield examples.piece(grid, start, length)


def path_of(folder: Path, task: Task, split: str, row_length: int) -> Path:
  return folder / f"{task.name}-{split}-{row_length}.npz"


def save(index: RowIndex, path: Path, made_from: Mapping[str, Any]) -> None:
  """Writes an index and the settings `made_from`, which `load` compares with its own."""
  scalars = {name: getattr(index, name) for name in MEANS}
  scalars |= {name: getattr(index.segments, name) for name in COUNTS}
  with files.replacing(path) as part, open(part, "wb") as file:
    np.savez(
      file,
      meta=np.array(json.dumps({"made_from": dict(made_from), "scalars": scalars})),
      offsets_R=index.offsets_R,
      **{name: getattr(index.segments, name) for name in COLUMNS},
    )


def load(path: Path, made_from: Mapping[str, Any]) -> RowIndex:
  """Returns the index that `save` wrote. Raises TokenSpaceError if it was made from other settings,
  DataError if it is missing or damaged."""
  if not path.is_file():
    raise DataError(f"{path}: no such row index. Run `audiopalm prepare` for this workdir.")
  try:
    with np.load(path) as arrays:
      meta = json.loads(str(arrays["meta"]))
      offsets_R, columns = arrays["offsets_R"], [arrays[name] for name in COLUMNS]
    written, scalars = meta["made_from"], meta["scalars"]
  except Exception as error:  # numpy raises errors of many kinds for damaged files
    raise DataError(
      f"{path}: expected a row index, but it is damaged ({error}). Run `audiopalm prepare` for "
      "this workdir."
    ) from error
  if written != made_from:
    changed = next(name for name in made_from if written.get(name) != made_from[name])
    raise TokenSpaceError(
      f"{path} was made from another {changed}: expected {made_from[changed]!r}, found "
      f"{written.get(changed)!r}. Run `audiopalm prepare` for this workdir."
    )
  counts = [scalars.get(name, 0) for name in COUNTS]
  return RowIndex(Segments(*columns, *counts), offsets_R, *(scalars[name] for name in MEANS))


def is_current(path: Path, made_from: Mapping[str, Any]) -> bool:
  """Returns whether `load` succeeds for `made_from`."""
  try:
    load(path, made_from)
  except (DataError, TokenSpaceError):
    return False  # absent, made from something else, or damaged
  return True
