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

  Codebook levels that the layout leaves out are HOLE.
  """

  tag: str
  streams: dict[str, np.ndarray]
  complete: bool


@dataclasses.dataclass(frozen=True, eq=False)
class _Reading:
  """One block found on a grid from row `top` on."""

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
  grid.
  """
  placement = placing.place(layout, space)
  tokens_LK = _as_grid(tokens_LK, space)
  readings = read_blocks(placement.blocks, tokens_LK)
  last = readings[-1]
  if not last.is_whole or len(readings) < len(placement.blocks):
    complete = False
  elif last.bottom < len(tokens_LK):
    raise LayoutError(
      f"The grid goes on after its stop: it should end at row {last.bottom} but has "
      f"{len(tokens_LK)} rows. Cut it there."
    )
  else:
    complete = True
  frames = _frames(placement.blocks, readings)
  tag = ""
  streams: dict[str, np.ndarray] = {}
  for reading in readings:
    if reading.placed.block.tags:
      tag = _tag(reading, placement, tokens_LK)
    else:
      _collect(reading, tokens_LK, frames, streams)
  return Recovered(tag, streams, complete)


def read_blocks(blocks: tuple[placing.PlacedBlock, ...], tokens_LK: np.ndarray) -> list[_Reading]:
  """Returns the blocks found one after another until the grid ends, at least one."""
  readings, top = [], 0
  for placed in blocks:
    if top >= len(tokens_LK):
      break
    readings.append(_read(placed, tokens_LK, top))
    top = readings[-1].bottom
  return readings


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


def _read(placed: placing.PlacedBlock, tokens_LK: np.ndarray, top: int) -> _Reading:
  """Returns the block that starts at row `top`, each of its cells checked."""
  block = placed.block
  window = tokens_LK[top:]
  lead = placed.columns[block.lead]
  valid = _valid(lead, window[:, block.lead])
  run = len(valid) if valid.all() else int(valid.argmin())
  is_open = run == len(window)
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
  """Returns how many frames of each stream are on the grid in all the columns they take."""
  known: dict[str, int] = {}
  usable = [reading.usable_rows for reading in readings]
  for reading in readings:
    for column in reading.placed.block.columns:
      needed = -(-reading.cell_rows // column.frame_rows)
      expected = known.setdefault(column.name, needed)
      if needed > expected or (needed < expected and not reading.is_open):
        raise LayoutError(
          f"The stream {column.name!r} has {expected} frames in one place of the grid and {needed} "
          f"in another (row {reading.top} on). This is no grid of the layout."
        )
  frames = {column.name: 0 for placed in blocks[len(readings) :] for column in placed.block.columns}
  changed = True
  while changed:
    changed = False
    for number, reading in enumerate(readings):
      columns = reading.placed.block.columns
      for column in columns:
        most = usable[number] // column.frame_rows
        if most < frames.get(column.name, most + 1):
          frames[column.name], changed = most, True
      rows = min(frames[column.name] * column.frame_rows for column in columns)
      usable[number] = rows - rows % reading.placed.block.period
  for placed in blocks:
    for column in placed.block.columns:
      if not frames.get(column.name):
        what = "the tag" if column.name == cells.TAG else f"a whole frame of {column.name!r}"
        raise LayoutError(f"The grid breaks off before it holds {what}. Let it run longer.")
  return frames


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
  if row and row % placed.block.period == 0 and placed.block.end:
    return f"more of {name} or {placed.block.end_name(k)!r}"
  return f"an id of {name}"


def _not_a_hole(top: int, k: int, cells_L: np.ndarray) -> str:
  row = int((cells_L != HOLE).argmax())
  return f"Row {top + row}, column {k}: expected a hole (-1), found id {cells_L[row]}."
