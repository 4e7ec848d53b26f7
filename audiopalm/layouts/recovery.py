"""From a grid back to streams: `recover` sees cells and layout, no record and no lengths."""

import dataclasses

import numpy as np

from audiopalm.errors import LayoutError
from audiopalm.layouts import cells, placing
from audiopalm.tokens.space import TokenSpace
from audiopalm.types import HOLE


@dataclasses.dataclass(frozen=True, eq=False)
class Recovered:
  """What a grid says: its tag, its streams as `realize` takes them, whether it ends with its stop.

  Codebook levels that the layout leaves out are HOLE. `pieces` say which frames of these streams
  lie where, from top to bottom, as slices.
  """

  tag: str
  streams: dict[str, np.ndarray]
  complete: bool
  pieces: tuple[cells.Piece, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class _Reading:
  """One block found on a grid from row `top` on; `number` is that of the layout."""

  number: int
  placed: placing.PlacedBlock
  top: int
  cell_rows: int  # R of the block; the rows seen so far where it is open
  usable_rows: int  # rows, whole frames, of which every column is on the grid
  is_open: bool  # the grid ends before the lead column does, so R is unknown
  is_whole: bool  # the block's last row is on the grid
  bottom: int


def recover(layout: cells.Part, tokens_LK: np.ndarray, space: TokenSpace) -> Recovered:
  """Returns tag and streams from the grid alone. Inverse of `realize`.

  A grid that breaks off gives a prefix of each stream, the same length wherever the layout couples
  lengths, and `complete=False`; it is a LayoutError where some stream would be empty. Any other
  grid the layout cannot have made is a LayoutError. A complete result realizes to exactly this
  grid, given its `pieces` where the layout draws them.

  `Interleave` gives the spans of a stream one after another, and either stream may be empty.
  `Infill` gives its stream in order, with as much of each span as there is.
  """
  placement = placing.place(layout, space)
  tokens_LK = _as_grid(tokens_LK, space)
  readings = read_blocks(placement, tokens_LK)
  last = readings[-1]
  complete = last.is_whole and len(placement.blocks) in placement.grammar.follows[last.number]
  if complete and last.bottom < len(tokens_LK):
    raise LayoutError(
      f"The grid goes on after its stop: it should end at row {last.bottom} but has "
      f"{len(tokens_LK)} rows. Cut it there."
    )
  whole = [reading for reading in readings if not reading.placed.block.part]
  frames = _frames(placement.blocks, whole)
  tag = ""
  streams: dict[str, np.ndarray] = {}
  slices: dict[int, slice] = {}
  for reading in whole:
    if reading.placed.block.tags:
      tag = _tag(reading, placement, tokens_LK)
    elif not reading.placed.block.mark:
      _collect(reading, tokens_LK, frames, streams)
  for section in filter(placement.arranged, placement.grammar.sections):
    inside = [reading for reading in readings if section.start <= reading.number < section.stop]
    slices |= _join(section, placement, inside, complete, tokens_LK, streams)
  pieces = (
    cells.Piece(reading.number, slices.get(reading.top))
    for reading in readings
    if not reading.placed.block.part or reading.placed.block.mark or reading.top in slices
  )
  return Recovered(tag, streams, complete, tuple(pieces))


def read_blocks(placement: placing.Placement, tokens_LK: np.ndarray) -> list[_Reading]:
  """Returns the blocks found one after another until the grid ends, at least one."""
  readings, top = [], 0
  may_come = placement.grammar.first
  while top < len(tokens_LK) and min(may_come) < len(placement.blocks):
    number = _chosen(placement, may_come, tokens_LK, top)
    readings.append(_read(number, placement.blocks[number], tokens_LK, top))
    top = readings[-1].bottom
    may_come = placement.grammar.follows[number]
  return readings


def _chosen(
  placement: placing.Placement, may_come: tuple[int, ...], tokens_LK: np.ndarray, top: int
) -> int:
  """Returns which of the blocks that may come begins at row `top`."""
  if len(may_come) == 1:
    return may_come[0]
  leads = {number: placement.blocks[number] for number in may_come}
  for number, placed in leads.items():
    if _valid(placed.columns[placed.block.lead], tokens_LK[top : top + 1, placed.block.lead])[0]:
      return number
  wanted = " or ".join(_wanted(placed, placed.block.lead, 0) for placed in leads.values())
  raise LayoutError(
    f"Row {top}, column 0: expected {wanted}, found id {tokens_LK[top, 0]}. This is no grid of the "
    "layout."
  )


def _as_grid(tokens_LK: np.ndarray, space: TokenSpace) -> np.ndarray:
  tokens_LK = np.asarray(tokens_LK)
  if tokens_LK.ndim != 2 or tokens_LK.dtype.kind not in "iu":
    raise LayoutError(
      f"A grid is whole numbers of shape [L, {space.columns}]; {tokens_LK.dtype} of shape "
      f"{list(tokens_LK.shape)} came."
    )
  if tokens_LK.shape[1] != space.columns:
    raise LayoutError(
      f"The grid has {tokens_LK.shape[1]} columns but the token space has {space.columns}. Was it "
      "made with another space?"
    )
  if not len(tokens_LK):
    raise LayoutError("The grid is empty. It should hold at least the tag or a given stream.")
  return tokens_LK.astype(np.int64)


def _read(number: int, placed: placing.PlacedBlock, tokens_LK: np.ndarray, top: int) -> _Reading:
  """Returns the block that starts at row `top`, each of its cells checked."""
  block = placed.block
  window = tokens_LK[top : top + 1] if block.mark else tokens_LK[top:]
  lead = placed.columns[block.lead]
  valid = _valid(lead, window[:, block.lead])
  run = len(valid) if valid.all() else int(valid.argmin())
  is_open = run == len(window) and not block.mark
  if not is_open and (run == 0 or run % block.period):
    raise LayoutError(
      f"Row {top + run}, column {block.lead}: expected {_wanted(placed, block.lead, run)}, found "
      f"id {window[run, block.lead]}. This is no grid of the layout."
    )
  height = len(window) if is_open else min(run + block.extra_rows, len(window))
  for k in range(tokens_LK.shape[1]):
    if k < len(placed.columns):
      _check_column(placed, k, window[:height, k], top, run)
    elif (window[:height, k] != HOLE).any():
      raise LayoutError(_not_a_hole(top, k, window[:height, k]))
  usable = min(max(0, min(run, len(window) - rows)) for rows in block.delays)
  return _Reading(
    number=number,
    placed=placed,
    top=top,
    cell_rows=run,
    usable_rows=usable - usable % block.period,
    is_open=is_open,
    is_whole=not is_open and height == run + block.extra_rows,
    bottom=top + height,
  )


def _check_column(
  placed: placing.PlacedBlock, k: int, cells_L: np.ndarray, top: int, run: int
) -> None:
  """Raises LayoutError unless the column is holes, `run` cells of its stream, its end, holes."""
  entry = placed.columns[k]
  first = entry.column.delay
  if (cells_L[:first] != HOLE).any():
    raise LayoutError(_not_a_hole(top, k, cells_L[:first]))
  body = cells_L[first : first + run]
  valid = _valid(entry, body)
  if entry.column.repeat > 1:
    rows = np.arange(len(body))
    valid &= body == body[rows - rows % entry.column.repeat]
  after = cells_L[first + run :]
  if not valid.all():
    row = int(valid.argmin())
    raise LayoutError(
      f"Row {top + first + row}, column {k}: expected {_wanted(placed, k, row)}, found id "
      f"{body[row]}. This is no grid of the layout."
    )
  if len(after) and entry.end_id != HOLE:
    if after[0] != entry.end_id:
      raise LayoutError(
        f"Row {top + first + run}, column {k}: expected {placed.block.end_name(k)!r} "
        f"(id {entry.end_id}), found id {after[0]}. This is no grid of the layout."
      )
    after = after[1:]
  if (after != HOLE).any():
    raise LayoutError(_not_a_hole(top + len(cells_L) - len(after), k, after))


def _valid(entry: placing.PlacedColumn, cells_L: np.ndarray) -> np.ndarray:
  """Returns which cells, counted from the column's first, are ids of the codebook due there."""
  if len(entry.starts) == 1:
    starts, sizes = entry.starts[0], entry.sizes[0]
  else:
    due = (np.arange(len(cells_L)) // entry.column.repeat) % len(entry.starts)
    starts, sizes = entry.starts[due], entry.sizes[due]
  return (cells_L >= starts) & (cells_L < starts + sizes.astype(np.int64))


def _frames(blocks: tuple[placing.PlacedBlock, ...], readings: list[_Reading]) -> dict[str, int]:
  """Returns how many frames of each stream are on the grid in all the columns they take, for blocks
  that hold their streams whole."""
  known: dict[str, int] = {}
  usable = [reading.usable_rows for reading in readings]
  for reading in readings:
    for column in _whole(reading.placed.block):
      needed = -(-reading.cell_rows // column.frame_rows)
      expected = known.setdefault(column.name, needed)
      if needed > expected or (needed < expected and not reading.is_open):
        raise LayoutError(
          f"The stream {column.name!r} has {expected} frames in one place of the grid and {needed} "
          f"in another (row {reading.top} on). This is no grid of the layout."
        )
  read = {reading.number for reading in readings}
  unread = [placed.block for number, placed in enumerate(blocks) if number not in read]
  frames = {column.name: 0 for block in unread for column in _whole(block)}
  changed = True
  while changed:
    changed = False
    for number, reading in enumerate(readings):
      columns = _whole(reading.placed.block)
      for column in columns:
        most = usable[number] // column.frame_rows
        if most < frames.get(column.name, most + 1):
          frames[column.name], changed = most, True
      rows = min((frames[c.name] * c.frame_rows for c in columns), default=0)
      usable[number] = rows - rows % reading.placed.block.period
  for placed in blocks:
    for column in _whole(placed.block):
      if not frames.get(column.name):
        raise LayoutError(_broken_off(column.name))
  return frames


def _whole(block: cells.Block) -> tuple[cells.Column, ...]:
  """Returns the columns of a block that hold the whole of a stream or of the tag."""
  return () if block.mark or block.part else block.columns


def _join(
  section: cells.Section,
  placement: placing.Placement,
  readings: list[_Reading],
  complete: bool,
  tokens_LK: np.ndarray,
  streams: dict[str, np.ndarray],
) -> dict[int, slice]:
  """Writes the streams of a part that holds them in pieces into `streams`.

  Returns {row of a piece: which frames of its stream it holds}, of pieces that hold any.
  """
  blocks = [placed.block for placed in placement.blocks[section.start : section.stop]]
  found = {
    column.name: [_nothing(column)]
    for block in blocks
    for column in (() if block.mark else block.columns)
  }
  slices: dict[int, slice] = {}
  places = section.part.places([reading.number - section.start for reading in readings], complete)
  for _, reading in sorted(zip(places, readings, strict=True), key=lambda pair: pair[0]):
    block = reading.placed.block
    count = reading.usable_rows // block.period
    if count and not block.mark:
      (name,) = {column.name for column in block.columns}
      ids: dict[str, np.ndarray] = {}
      _collect(reading, tokens_LK, {name: count}, ids)
      start = sum(map(len, found[name]))
      slices[reading.top] = slice(start, start + count)
      found[name].append(ids[name])
  if not slices:
    raise LayoutError(_broken_off(*found))
  streams |= {name: np.concatenate(chunks) for name, chunks in found.items()}
  return slices


def _nothing(column: cells.Column) -> np.ndarray:
  codebooks = column.spec.codebooks
  return np.zeros((0,) if codebooks == 1 else (0, codebooks), np.int32)


def _broken_off(*names: str) -> str:
  what = "the tag" if names == (cells.TAG,) else f"a whole frame of {' or '.join(map(repr, names))}"
  return f"The grid breaks off before it holds {what}. Let it run longer."


def _tag(reading: _Reading, placement: placing.Placement, tokens_LK: np.ndarray) -> str:
  ids = tuple(tokens_LK[reading.top : reading.top + reading.cell_rows, 0].tolist())
  if ids not in placement.tags_by_ids:
    known = ", ".join(map(repr, placement.tags_by_ids.values()))
    raise LayoutError(
      f"The {len(ids)} text ids from row {reading.top} on are no tag of the layout. Known: {known}."
    )
  return placement.tags_by_ids[ids]


def _collect(
  reading: _Reading,
  tokens_LK: np.ndarray,
  frames: dict[str, int],
  streams: dict[str, np.ndarray],
) -> None:
  """Writes the block's streams, local to their codebooks, into `streams`."""
  block = reading.placed.block
  window = tokens_LK[reading.top : reading.bottom, : len(block.columns)]
  body_RK = cells.undelay(window[: reading.usable_rows + max(block.delays)], block.delays)
  for k, entry in enumerate(reading.placed.columns):
    column = entry.column
    count = frames[column.name]
    body_TQ = body_RK[: count * column.frame_rows : column.repeat, k].reshape(count, -1)
    ids_TQ = (body_TQ - entry.starts).astype(np.int32)
    if column.spec.codebooks == 1:
      streams[column.name] = ids_TQ[:, 0]
    else:
      shape = (count, column.spec.codebooks)
      streams.setdefault(column.name, np.full(shape, HOLE, np.int32))[:, entry.levels] = ids_TQ


def _wanted(placed: placing.PlacedBlock, k: int, row: int) -> str:
  column = placed.columns[k].column
  name = "a tag" if column.name == cells.TAG else repr(column.name)
  if placed.block.mark:
    return f"{name} (id {placed.columns[k].starts[0]})"
  if row and row % placed.block.period == 0 and placed.block.end:
    return f"more of {name} or {placed.block.end_name(k)!r}"
  return f"an id of {name}"


def _not_a_hole(top: int, k: int, cells_L: np.ndarray) -> str:
  row = int((cells_L != HOLE).argmax())
  return f"Row {top + row}, column {k}: expected a hole (-1), found id {cells_L[row]}."
