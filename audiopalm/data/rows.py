"""Which examples share which row: a small index of record numbers, no tokens.

An index belongs to a layout (by the manifest's hash), a task, a split, a row length and a streams
cache; it says so itself, and is refused or rebuilt where one of them differs.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from audiopalm import layouts
from audiopalm.data import examples, files
from audiopalm.data.cache import Entries
from audiopalm.errors import DataError, TokenSpaceError
from audiopalm.tokens.space import TokenSpace
from audiopalm.types import Grid, Task

LEFT_OUT = -1  # the length of an entry that a task does not train on
COLUMNS = ("records_N", "starts_N", "lengths_N")
COUNTS = ("dropped", "cut", "lacking")  # of records that are not, or not whole, in the rows
SAMPLE = 256  # examples that are realized to count the tokens of a mean row


@dataclasses.dataclass(frozen=True, eq=False)
class Segments:
  """N examples of a task, each of which fits a row.

  `records_N` are numbers of entries; `starts_N` is WHOLE, or where a piece starts
  (`examples.piece`); `lengths_N` are grid rows, at most. `dropped` and `cut` count records longer
  than a row, `lacking` those without a stream of the task in a role that records may lack.
  """

  records_N: np.ndarray
  starts_N: np.ndarray
  lengths_N: np.ndarray
  dropped: int = 0
  cut: int = 0
  lacking: int = 0

  def __len__(self) -> int:
    return len(self.records_N)

  def __getitem__(self, chosen: Any) -> "Segments":
    return dataclasses.replace(
      self,
      records_N=self.records_N[chosen],
      starts_N=self.starts_N[chosen],
      lengths_N=self.lengths_N[chosen],
    )


@dataclasses.dataclass(frozen=True, eq=False)
class RowIndex:
  """R rows: row r holds the segments offsets_R[r] to offsets_R[r + 1].

  `tokens_per_row` are cells that are not holes in a mean row, `examples_per_row` segments;
  `efficiency` is the filled part of all rows.
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
    """Numbers of the entries the examples were made from, in the order of the rows."""
    return self.segments.records_N

  def __getitem__(self, row: int) -> Segments:
    return self.segments[self.offsets_R[row] : self.offsets_R[row + 1]]


def segments(
  task: Task,
  layout: Any,
  space: TokenSpace,
  entries: Entries,
  *,
  row_length: int,
  too_long: Literal["error", "split", "drop"],
) -> Segments:
  """Returns the examples of a task that are trained on, in the order of the entries: those without
  any of its unseen words and not of its unseen pairs.

  A record longer than `row_length` is a DataError naming it ("error"), left out and counted
  ("drop"), or cut into pieces and counted ("split", for tasks without inputs only).
  """
  lengths_N = lengths(task, layout, space, entries)
  kept = np.flatnonzero(lengths_N != LEFT_OUT)
  lacking = len(entries) - len(kept)
  if task.unseen_pairs:
    unseen_N = np.isin(pairs(task, entries), task.unseen_pairs)
    lengths_N[unseen_N], kept = LEFT_OUT, kept[~unseen_N[kept]]
  if task.unseen_words:
    unseen = [examples.has_unseen_word(task, entries[int(number)]) for number in kept]
    lengths_N[kept[unseen]] = LEFT_OUT
  long_N = lengths_N > row_length
  if too_long == "error" and long_N.any():
    number = int(np.argmax(long_N))
    raise DataError(
      f"Record {entries[number].id} is longer than a row: as an example of task {task.name!r} it "
      f"takes {lengths_N[number]} rows of the grid, row_length is {row_length}; so are "
      f"{int(long_N.sum()) - 1} others (the longest takes {lengths_N.max()}). Raise row_length, or "
      "set too_long=drop, or too_long=split where a task has no inputs."
    )
  if too_long == "split" and long_N.any():
    cut = _cut(task, layout, space, entries, lengths_N, row_length)
    return dataclasses.replace(cut, lacking=lacking)
  kept = np.flatnonzero(~long_N & (lengths_N != LEFT_OUT))
  starts_N = np.full(len(kept), examples.WHOLE)
  return Segments(kept, starts_N, lengths_N[kept], dropped=int(long_N.sum()), lacking=lacking)


def having(task: Task, layout: Any, entries: Entries) -> np.ndarray:
  """Returns bool [N]: which entries have all streams of the task.

  DataError where one lacks a stream in a role that all records of its corpus have.
  """
  having_N = np.ones(len(entries), bool)
  for name in layouts.stream_names(layout) if len(entries) else ():
    there_N = entries.lengths[name] >= 0
    if not there_N.all() and name.split(".")[0] not in task.corpus.optional_roles:
      raise DataError(
        f"Task {task.name!r} needs the stream {name!r}, which record "
        f"{entries[int(np.argmin(there_N))].id} does not have. A corpus of text alone has no "
        "speech streams: give the task another corpus."
      )
    having_N &= there_N
  return having_N


def pairs(task: Task, entries: Entries) -> np.ndarray:
  """Returns str [N]: the languages of each entry, "de-fr", those of `task.from_to`."""
  first_N, last_N = (entries.languages[role] for role in task.from_to)
  return np.char.add(np.char.add(first_N, "-"), last_N)


def lengths(task: Task, layout: Any, space: TokenSpace, entries: Entries) -> np.ndarray:
  """Returns int64 [N]: the most grid rows each entry takes, whatever is drawn.

  It follows from the lengths of its streams alone, but where a layout cuts between words: these
  are read then, and tell how long any choice of words can be. LEFT_OUT for an entry that has not
  all streams (see `having`).
  """
  lengths_N = np.full(len(entries), LEFT_OUT, np.int64)
  having_N = having(task, layout, entries)
  if not having_N.any():
    return lengths_N
  names = layouts.stream_names(layout)
  roles = list(entries.languages)
  codes_NR = np.stack([entries.languages[role] for role in roles], axis=1)
  for codes in np.unique(codes_NR[having_N], axis=0):
    chosen = np.flatnonzero((codes_NR == codes).all(axis=1) & having_N)
    known = {role: str(code) for role, code in zip(roles, codes, strict=True) if code}
    frames = {name: entries.lengths[name][chosen] for name in names}
    tags = [layouts.tag_of(task, known, number) for number in range(len(layouts.templates(task)))]
    if layout.word_streams():
      each = range(len(chosen))
      lengths_N[chosen] = [
        _most_rows(layout, {name: int(frames[name][n]) for name in names}, tags, space, entry)
        for n, entry in zip(each, (entries[int(number)] for number in chosen), strict=True)
      ]
    else:
      most = [layouts.rows(layout, frames, tag, space) for tag in tags]
      lengths_N[chosen] = np.max(most, axis=0)
  return lengths_N


def _most_rows(layout: Any, frames: dict[str, int], tags: list[str], space: Any, entry: Any) -> int:
  ends = examples.word_ends(layout, space, entry)
  return max(layouts.rows(layout, frames, tag, space, word_ends=ends) for tag in tags)


def pack(lengths_N: np.ndarray, row_length: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
  """Returns (offsets_R, order_N): row r holds order_N[offsets_R[r] : offsets_R[r + 1]].

  Best-fit decreasing: the longest first, each into the fullest row that still takes it (Johnson et
  al. 1974: at most 11/9 of the rows that are needed). Segments of equal length are shuffled, so no
  row holds only neighbours. Linear in the segments: free space is at most a row, so the fullest
  fitting row is the lowest bit of a mask.
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


def build(
  task: Task, layout: Any, space: TokenSpace, entries: Entries, chosen: Segments, row_length: int
) -> RowIndex:
  """Returns the index of segments packed into rows."""
  offsets_R, order_N = pack(chosen.lengths_N, row_length)
  rows = max(1, len(offsets_R) - 1)
  cells = int(chosen.lengths_N.sum())
  tokens, filled = mean_cell(task, layout, space, entries, chosen) if cells else (0.0, 0.0)
  return RowIndex(
    chosen[order_N],
    offsets_R,
    cells * tokens / rows,
    len(chosen) / rows,
    cells * filled / rows / row_length,
  )


def path_of(folder: Path, task: Task, split: str, row_length: int) -> Path:
  return folder / f"{task.name}-{split}-{row_length}.npz"


def save(index: RowIndex, path: Path, made_from: Mapping[str, Any]) -> None:
  """Writes an index. `made_from`, the manifest's hash in it, is what `load` must be told again."""
  scalars = {
    field.name: getattr(index, field.name)
    for field in dataclasses.fields(index)
    if field.name not in ("segments", "offsets_R")
  }
  scalars |= {name: getattr(index.segments, name) for name in COUNTS}
  with files.replacing(path) as part, open(part, "wb") as file:
    np.savez(
      file,
      meta=np.array(json.dumps({"made_from": dict(made_from), "scalars": scalars})),
      offsets_R=index.offsets_R,
      **{name: getattr(index.segments, name) for name in COLUMNS},
    )


def load(path: Path, made_from: Mapping[str, Any]) -> RowIndex:
  """Returns the index `save` wrote; TokenSpaceError if it was made from other settings, DataError
  if it is missing or damaged."""
  if not path.is_file():
    raise DataError(f"{path}: no such row index. Run `audiopalm prepare` for this workdir.")
  try:
    with np.load(path) as arrays:
      meta = json.loads(str(arrays["meta"]))
      offsets_R, columns = arrays["offsets_R"], {name: arrays[name] for name in COLUMNS}
    found, scalars = meta["made_from"], meta["scalars"]
  except Exception as error:  # numpy has no error of its own for a file that it cannot read
    raise DataError(
      f"{path}: expected a row index, but it is damaged ({error}). Run `audiopalm prepare` for "
      "this workdir."
    ) from error
  if found != made_from:
    changed = [k for k in made_from if found.get(k) != made_from[k]]
    raise TokenSpaceError(
      f"{path} was made from another {changed[0]}: expected {made_from[changed[0]]!r}, found "
      f"{found.get(changed[0])!r}. Run `audiopalm prepare` for this workdir."
    )
  counts = {name: scalars.pop(name, 0) for name in COUNTS}
  return RowIndex(Segments(**columns, **counts), offsets_R, **scalars)


def is_current(path: Path, made_from: Mapping[str, Any]) -> bool:
  """Returns whether `path` holds an index that `load` gives for `made_from`."""
  try:
    load(path, made_from)
  except (DataError, TokenSpaceError):
    return False  # absent, made from something else, or damaged
  return True


def _cut(task, layout, space, entries, lengths_N: np.ndarray, row_length: int) -> Segments:
  """Returns segments in which records longer than a row are cut into pieces."""
  if layout.arranges:
    raise DataError(
      f"too_long=split cannot cut records of task {task.name!r}: how long a grid of its layout is "
      "follows from each record or epoch, so where to cut is not known. Raise row_length, or set "
      "too_long=drop."
    )
  if task.inputs:
    raise DataError(
      f"too_long=split cannot cut records of task {task.name!r}: an output would lose its input. "
      f"{int((lengths_N > row_length).sum())} of its records are longer than row_length="
      f"{row_length}. Raise row_length, or set too_long=drop."
    )
  pieces: list[tuple[int, int, int]] = []
  cut = 0
  for number, length in enumerate(lengths_N.tolist()):
    if length == LEFT_OUT:
      continue
    if length <= row_length:
      pieces.append((number, examples.WHOLE, length))
      continue
    cut += 1
    prompt = examples.prompt_rows(examples.example(task, layout, space, entries[number], seed=0))
    room = row_length - prompt
    if room < 1:
      raise DataError(
        f"row_length={row_length} has no room beside the {prompt} rows of the tag of task "
        f"{task.name!r}. Raise row_length."
      )
    for start in range(0, length - prompt, room):
      pieces.append((number, start, prompt + min(room, length - prompt - start)))
  records_N, starts_N, cut_lengths_N = np.array(pieces).T
  return Segments(records_N, starts_N, cut_lengths_N, cut=cut)


def mean_cell(
  task: Task, layout: Any, space: TokenSpace, entries: Entries, chosen: Segments
) -> tuple[float, float]:
  """Returns (tokens of a mean grid row, part of the grid rows counted that there are).

  Tokens are 1 for one column, at most K for K of them. More rows are counted than there are only
  where a layout arranges its records. Both are 0 where nothing was chosen, as in a split that holds
  no voices out.
  """
  # Rounded down: weights of tasks, and with them the batches of a run, depend on this sample.
  sample = (
    np.unique(np.linspace(0, len(chosen) - 1, SAMPLE).astype(int)) if len(chosen) else slice(0)
  )
  made = list(realized(task, layout, space, entries, chosen[sample]))
  there = sum(map(len, made))
  counted = int(chosen[sample].lengths_N.sum()) if layout.arranges else there
  tokens = sum(map(examples.count_tokens, made)) / max(1, counted)
  return tokens, there / max(1, counted)


def realized(
  task: Task,
  layout: Any,
  space: TokenSpace,
  entries: Entries,
  chosen: Segments,
  *,
  seed: int = 0,
  epoch: int = 0,
) -> Iterator[Grid]:
  """Yields the grids of segments."""
  columns = (chosen.records_N, chosen.starts_N, chosen.lengths_N)
  for number, start, length in zip(*(column.tolist() for column in columns), strict=True):
    grid = examples.example(task, layout, space, entries[number], seed, epoch)
    yield examples.piece(grid, start, length)
