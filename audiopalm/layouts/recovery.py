"""From a grid back to streams: `recover` uses only cells and layout, no record and no lengths."""

import dataclasses

import numpy as np

from audiopalm.errors import LayoutError
from audiopalm.layouts import cells, placing
from audiopalm.tokens.space import TokenSpace
from audiopalm.types import HOLE


@dataclasses.dataclass(frozen=True, eq=False)
class Recovered:
  """The contents of a grid: its tag, its streams as `realize` takes them, and whether it is
  complete.

  Codebook levels that are not in the layout are HOLE. `pieces` are the blocks from top to bottom
  with the frames of these streams that they hold, as slices.
  """

  tag: str
  streams: dict[str, np.ndarray]
  complete: bool
  pieces: tuple[cells.Piece, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class _Reading:
  """One block found on a grid, from row `top` to row `bottom`; `number` is that of the layout."""

  number: int
  block: cells.Block
  top: int
  bottom: int
  cell_rows: int  # R of the block; the rows so far if it is open
  usable_rows: int  # rows of whole frames with every column on the grid
  is_open: bool  # the grid ends before the lead column does, so R is unknown
  is_whole: bool  # the block's last row is on the grid


def recover(layout: cells.Part, tokens_LK: np.ndarray, space: TokenSpace) -> Recovered:
  """Returns tag and streams from the grid alone. Inverse of `realize`.

  A grid that is cut off gives a prefix of each stream, of equal lengths for coupled streams, and
  `complete=False`; it is a LayoutError if a stream would be empty. Any other grid that the layout
  cannot produce is a LayoutError. A complete result realizes to exactly this grid, with its
  `pieces` if the layout draws them.

  `Interleave` gives the spans of a stream one after another, and either stream may be empty.
  `Infill` gives its stream in order, with as much of each span as is on the grid.
  """
  placement = placing.place(layout, space)
  tokens_LK = _as_grid(tokens_LK, placement.columns)
  readings = read_blocks(placement, tokens_LK)
  last = readings[-1]
  complete = last.is_whole and len(placement.blocks) in placement.grammar.follows[last.number]
  if complete and last.bottom < len(tokens_LK):
    raise LayoutError(
      f"The grid goes on after its stop: it should end at row {last.bottom} but has "
      f"{len(tokens_LK)} rows. Cut it there."
    )
  frames = _frames_of_whole(placement.blocks, readings)
  streams: dict[str, np.ndarray] = {}
  for reading in readings:
    for name in dict.fromkeys(column.name for column in _whole(reading.block)):
      ids = _ids(reading, name, frames[name], tokens_LK)
      # Earlier blocks may hold other levels of the stream.
      streams[name] = np.where(ids == HOLE, streams.get(name, ids), ids)
  tag = ""
  if placement.tags_by_ids:
    ids = tuple(streams.pop(cells.TAG).tolist())
    if ids not in placement.tags_by_ids:
      known = ", ".join(map(repr, placement.tags_by_ids.values()))
      raise LayoutError(f"The tag of {len(ids)} text ids is none of the layout. Known: {known}.")
    tag = placement.tags_by_ids[ids]
  slices: dict[int, slice] = {}
  for section in placement.grammar.sections:
    if section.part:
      inside = [reading for reading in readings if section.start <= reading.number < section.stop]
      joined, own_slices = _join(section, placement.blocks, inside, complete, tokens_LK)
      streams |= joined
      slices |= own_slices
  pieces = tuple(
    cells.Piece(reading.number, slices.get(reading.top))
    for reading in readings
    if not reading.block.part or reading.block.mark or reading.top in slices
  )
  return Recovered(tag, streams, complete, pieces)


def _as_grid(tokens_LK: np.ndarray, columns: int) -> np.ndarray:
  tokens_LK = np.asarray(tokens_LK)
  shape, dtype = tokens_LK.shape, tokens_LK.dtype
  if len(shape) != 2 or shape[1] != columns or dtype.kind not in "iu":
    raise LayoutError(
      f"A grid of this token space is integers of shape [L, {columns}]; {dtype} of shape "
      f"{list(shape)} came. Was it made with another space?"
    )
  if not len(tokens_LK):
    raise LayoutError("The grid is empty. It should hold at least the tag or a given stream.")
  return tokens_LK.astype(np.int64)


def read_blocks(placement: placing.Placement, tokens_LK: np.ndarray) -> list[_Reading]:
  """Returns the blocks found one after another until the grid ends, at least one."""
  readings, top = [], 0
  may_come = placement.grammar.first
  while top < len(tokens_LK) and min(may_come) < len(placement.blocks):
    number = _next_block(placement.blocks, may_come, tokens_LK, top)
    readings.append(_read(number, placement.blocks[number], tokens_LK, top))
    top = readings[-1].bottom
    may_come = placement.grammar.follows[number]
  return readings


def _next_block(
  blocks: tuple[cells.Block, ...], may_come: tuple[int, ...], tokens_LK: np.ndarray, top: int
) -> int:
  """Returns which of the possible next blocks begins at row `top`."""
  if len(may_come) == 1:
    return may_come[0]
  for number in may_come:
    lead = blocks[number].lead
    if _valid(blocks[number].columns[lead], tokens_LK[top : top + 1, lead])[0]:
      return number
  expected = " or ".join(_expected(blocks[number], blocks[number].lead, 0) for number in may_come)
  raise _fault(tokens_LK, top, 0, expected)


def _read(number: int, block: cells.Block, tokens_LK: np.ndarray, top: int) -> _Reading:
  """Returns the block that starts at row `top`, each of its cells checked."""
  window_LK = tokens_LK[top : top + 1] if block.mark else tokens_LK[top:]
  valid_L = _valid(block.columns[block.lead], window_LK[:, block.lead])
  run = len(valid_L) if valid_L.all() else int(valid_L.argmin())
  is_open = run == len(window_LK) and not block.mark
  if not is_open and (run == 0 or run % block.period):
    raise _fault(tokens_LK, top + run, block.lead, _expected(block, block.lead, run))
  height = len(window_LK) if is_open else min(run + block.extra_rows, len(window_LK))
  for k in range(tokens_LK.shape[1]):
    _check_column(block, k, tokens_LK, top, height, run)
  usable_rows = min(max(0, min(run, len(window_LK) - rows)) for rows in block.delays)
  return _Reading(
    number=number,
    block=block,
    top=top,
    bottom=top + height,
    cell_rows=run,
    usable_rows=usable_rows - usable_rows % block.period,
    is_open=is_open,
    is_whole=not is_open and height == run + block.extra_rows,
  )


def _check_column(
  block: cells.Block, k: int, tokens_LK: np.ndarray, top: int, height: int, run: int
) -> None:
  """Raises LayoutError unless the column is holes, `run` cells of its stream, its end, then
  holes."""
  cells_L = tokens_LK[top : top + height, k]
  good_L = cells_L == HOLE
  first = after = height
  if k < len(block.columns):
    column = block.columns[k]
    first, after = column.delay, column.delay + run
    body = cells_L[first:after]
    rows = np.arange(len(body))
    copies = body == body[rows - rows % column.repeat]
    good_L[first:after] = _valid(column, body) & copies
    good_L[after : after + 1] = cells_L[after : after + 1] == column.end_id
  if good_L.all():
    return
  row = int(good_L.argmin())
  if first <= row < after:
    expected = _expected(block, k, row - first)
  elif row == after and block.end:
    expected = f"{block.end_name(k)!r} (id {column.end_id})"
  else:
    expected = "a hole (-1)"
  raise _fault(tokens_LK, top + row, k, expected)


def _valid(column: cells.Column, cells_L: np.ndarray) -> np.ndarray:
  """Returns for each cell, counted from the column's first, whether it is an id of the expected
  codebook."""
  due_L = np.arange(len(cells_L)) // column.repeat % len(column.levels)
  ends = column.starts + column.sizes.astype(np.int64)
  return (cells_L >= column.starts[due_L]) & (cells_L < ends[due_L])


def _expected(block: cells.Block, k: int, row: int) -> str:
  column = block.columns[k]
  if block.mark:
    return f"{block.mark!r} (id {column.starts[0]})"
  name = "a tag" if column.name == cells.TAG else repr(column.name)
  if row and row % block.period == 0 and block.end:
    return f"more of {name} or {block.end_name(k)!r}"
  return f"an id of {name}"


def _fault(tokens_LK: np.ndarray, row: int, k: int, expected: str) -> LayoutError:
  return LayoutError(
    f"Row {row}, column {k}: expected {expected}, found id {tokens_LK[row, k]}. This is no grid "
    "of the layout."
  )


def _frames_of_whole(blocks: tuple[cells.Block, ...], readings: list[_Reading]) -> dict[str, int]:
  """Returns how many frames of each stream are on the grid in all of their columns, for blocks that
  hold their streams whole."""
  frames: dict[str, int] = {}
  for reading in readings:
    for column in _whole(reading.block):
      needed = -(-reading.cell_rows // column.frame_rows)
      expected = frames.setdefault(column.name, needed)
      if needed > expected or (needed < expected and not reading.is_open):
        raise LayoutError(
          f"The stream {column.name!r} has {expected} frames in one place of the grid and {needed} "
          f"in another (row {reading.top} on). This is no grid of the layout."
        )
  read = {reading.number for reading in readings}
  for number, block in enumerate(blocks):
    if number not in read:
      frames |= {column.name: 0 for column in _whole(block)}
  before = None
  while frames != before:  # fewer frames of one stream limit the streams beside it
    before = dict(frames)
    for reading in readings:
      columns = _whole(reading.block)
      rows = min([reading.usable_rows, *(frames[c.name] * c.frame_rows for c in columns)])
      rows -= rows % reading.block.period
      frames |= {column.name: rows // column.frame_rows for column in columns}
  for name, count in frames.items():
    if not count:
      raise LayoutError(_broken_off(name))
  return frames


def _whole(block: cells.Block) -> tuple[cells.Column, ...]:
  """Returns the columns of a block that hold the whole of a stream or of the tag."""
  return () if block.part else block.streams


def _join(
  section: cells.Section,
  blocks: tuple[cells.Block, ...],
  readings: list[_Reading],
  complete: bool,
  tokens_LK: np.ndarray,
) -> tuple[dict[str, np.ndarray], dict[int, slice]]:
  """Returns (streams, {row of a piece: frames of its stream}) of a part that holds its streams in
  pieces."""
  chunks: dict[str, list[np.ndarray]] = {}
  for block in blocks[section.start : section.stop]:
    for column in block.streams:
      codebooks = column.spec.codebooks
      chunks[column.name] = [np.zeros((0, codebooks) if codebooks > 1 else 0, np.int32)]
  slices: dict[int, slice] = {}
  places = section.part.places([reading.number - section.start for reading in readings], complete)
  for _, reading in sorted(zip(places, readings, strict=True), key=lambda pair: pair[0]):
    count = reading.usable_rows // reading.block.period
    if count and not reading.block.mark:
      name = reading.block.columns[0].name
      start = sum(map(len, chunks[name]))
      slices[reading.top] = slice(start, start + count)
      chunks[name].append(_ids(reading, name, count, tokens_LK))
  if not slices:
    raise LayoutError(_broken_off(*chunks))
  return {name: np.concatenate(ids) for name, ids in chunks.items()}, slices


def _ids(reading: _Reading, name: str, frames: int, tokens_LK: np.ndarray) -> np.ndarray:
  """Returns the first frames of a stream in a block, as ids local to their codebooks; HOLE at
  levels of other blocks."""
  columns = [(k, c) for k, c in enumerate(reading.block.columns) if c.name == name]
  ids_TQ = np.full((frames, columns[0][1].spec.codebooks), HOLE, np.int32)
  for k, column in columns:
    top = reading.top + column.delay
    body = tokens_LK[top : top + frames * column.frame_rows : column.repeat, k]
    ids_TQ[:, column.levels] = body.reshape(frames, -1) - column.starts
  return ids_TQ[:, 0] if ids_TQ.shape[1] == 1 else ids_TQ


def _broken_off(*names: str) -> str:
  what = "the tag" if names == (cells.TAG,) else f"a whole frame of {' or '.join(map(repr, names))}"
  return f"The grid ends before it holds {what}. Decode more rows."
