"""From streams to a grid: `realize`, its given beginning, and its length without making it."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from audiopalm.errors import LayoutError
from audiopalm.layouts import cells
from audiopalm.tokens.space import TokenSpace
from audiopalm.types import HOLE, Grid


@dataclasses.dataclass(frozen=True, eq=False)
class PlacedColumn:
  """A column with its ids: local id i < sizes[q] of levels[q] is i + starts[q] on the grid."""

  column: cells.Column
  levels: np.ndarray
  starts: np.ndarray
  sizes: np.ndarray
  end_id: int  # HOLE where the block has no end


@dataclasses.dataclass(frozen=True, eq=False)
class PlacedBlock:
  block: cells.Block
  columns: tuple[PlacedColumn, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Placement:
  """A layout in a token space: what `realize`, `recover` and the plan share, worked out once."""

  blocks: tuple[PlacedBlock, ...]
  given_blocks: int  # blocks before the first predicted one
  tag_arrays: dict[str, np.ndarray]
  tags_by_ids: dict[tuple[int, ...], str]


@functools.lru_cache(maxsize=1024)
def place(layout: cells.Part, space: TokenSpace) -> Placement:
  """Returns the layout's blocks with the ids `space` gives them."""
  blocks = tuple(_place_block(block, space) for block in cells.resolve(layout, space.streams))
  tags = {tag: space.tag_ids(tag) for placed in blocks for tag in placed.block.tags}
  return Placement(
    blocks=blocks,
    given_blocks=sum(placed.block.given for placed in blocks),
    tag_arrays={tag: np.asarray(ids, np.int32) for tag, ids in tags.items()},
    tags_by_ids={ids: tag for tag, ids in tags.items()},
  )


def _place_block(block: cells.Block, space: TokenSpace) -> PlacedBlock:
  columns = []
  for k, column in enumerate(block.columns):
    ranges = [space.range_of(k, column.spec.name, level) for level in column.levels]
    starts, sizes = zip(*ranges, strict=True)
    columns.append(
      PlacedColumn(
        column=column,
        levels=np.asarray(column.levels),
        starts=np.asarray(starts, np.int32),
        sizes=np.asarray(sizes, np.uint32),
        end_id=space.special(block.end_name(k), k) if block.end else HOLE,
      )
    )
  return PlacedBlock(block, tuple(columns))


def realize(
  layout: cells.Part,
  streams: Mapping[str, np.ndarray],
  tag: str,
  space: TokenSpace,
  key: Sequence[int] | None = None,
) -> Grid:
  """Returns the grid of one example. Inverse: `recover`.

  `streams` maps "role.stream" to ids local to their codebook, [T] or [T, Q]; names the layout does
  not use are ignored. `tag` is one of the layout's tag strings ('' where it has no Tag). Columns
  the layout leaves free are holes. `key` seeds layouts that draw at random; none of these parts
  does.
  """
  placement = place(layout, space)
  return _write(placement, placement.blocks, streams, tag, space)


def prompt(
  layout: cells.Part,
  streams: Mapping[str, np.ndarray],
  tag: str,
  space: TokenSpace,
  key: Sequence[int] | None = None,
) -> Grid:
  """Returns the rows of `realize` before the first predicted part, from given streams alone."""
  placement = place(layout, space)
  return _write(placement, placement.blocks[: placement.given_blocks], streams, tag, space)


def conditioning(
  layout: cells.Part, streams: Mapping[str, np.ndarray], space: TokenSpace
) -> np.ndarray:
  """Returns tokens_LK of the first predicted block with only its given columns filled.

  Row 0 is the first row after `prompt`. This is what a plan's GIVEN cells are read from; no rows
  where the predicted part has no given column.
  """
  placement = place(layout, space)
  placed = placement.blocks[placement.given_blocks]
  given = [entry for entry in placed.columns if entry.column.given]
  if not given:
    return np.full((0, space.columns), HOLE, np.int32)
  bodies = [
    _cells(entry, streams, placement, "") if entry.column.given else None
    for entry in placed.columns
  ]
  count = _common_rows(placed, bodies)
  tokens_LK = np.full((count + placed.block.extra_rows, space.columns), HOLE, np.int32)
  _put(tokens_LK, placed, bodies, count)
  return tokens_LK


def rows(layout: cells.Part, lengths: Mapping[str, Any], tag: str, space: TokenSpace) -> Any:
  """Returns len(realize(...)) from the streams' lengths; arrays of lengths give an array."""
  placement = place(layout, space)
  total = 0
  for placed in placement.blocks:
    counts = []
    for column in placed.block.columns:
      if column.name == cells.TAG:
        frames = len(_tag_array(placement, tag))
      elif column.name in lengths:
        frames = lengths[column.name]
      else:
        raise LayoutError(_missing(column, lengths))
      if np.any(np.less(frames, 1)):
        raise LayoutError(_empty(column))
      counts.append((column.name, frames * column.frame_rows))
    first = counts[0][1]
    if any(np.any(np.not_equal(count, first)) for _, count in counts[1:]):
      raise LayoutError(_uneven(counts))
    total = total + first + placed.block.extra_rows
  return total


def _write(
  placement: Placement,
  blocks: Sequence[PlacedBlock],
  streams: Mapping[str, np.ndarray],
  tag: str,
  space: TokenSpace,
) -> Grid:
  """Returns the grid of these blocks."""
  bodies, counts, total = [], [], 0
  for placed in blocks:
    body = [_cells(entry, streams, placement, tag) for entry in placed.columns]
    count = len(body[0]) if len(body) == 1 else _common_rows(placed, body)
    bodies.append(body)
    counts.append(count)
    total += count + placed.block.extra_rows
  tokens_LK = np.empty((total, space.columns), np.int32)
  tokens_LK.fill(HOLE)
  weights_LK = np.zeros((total, space.columns), np.float32)
  visible_L = np.zeros(total, np.int32)
  top = 0
  for placed, body, count in zip(blocks, bodies, counts, strict=True):
    block = placed.block
    _put(tokens_LK[top:], placed, body, count)
    if not block.given:
      _weigh(weights_LK[top:], placed, count)
    bottom = top + count + block.extra_rows
    if block.both_ways:
      visible_L[top : bottom - bool(block.end)] = block.both_ways
    top = bottom
  return Grid(tokens_LK, weights_LK, visible_L)


def _put(
  tokens_LK: np.ndarray, placed: PlacedBlock, bodies: Sequence[np.ndarray | None], count: int
) -> None:
  """Writes the block's cells, each column moved down by its delay and with its end; a column
  without a body stays all holes."""
  for k, (entry, body) in enumerate(zip(placed.columns, bodies, strict=True)):
    if body is not None:
      first = entry.column.delay
      tokens_LK[first : first + count, k] = body
      if placed.block.end:
        tokens_LK[first + count, k] = entry.end_id


def _weigh(weights_LK: np.ndarray, placed: PlacedBlock, count: int) -> None:
  """Writes 1 where a cell of the block is predicted: no given cell, no copy of the cell above."""
  for k, entry in enumerate(placed.columns):
    column = entry.column
    if not column.given:
      weights_LK[column.delay : column.delay + count : column.repeat, k] = 1
      if placed.block.end and not placed.block.end_given:
        weights_LK[column.delay + count, k] = 1


def _cells(
  entry: PlacedColumn, streams: Mapping[str, np.ndarray], placement: Placement, tag: str
) -> np.ndarray:
  """Returns the column's cells from top to bottom, checked, before delay and end."""
  column = entry.column
  if column.name == cells.TAG:
    return _tag_array(placement, tag)
  if column.name not in streams:
    raise LayoutError(_missing(column, streams))
  ids = _checked(column, streams[column.name])
  # As unsigned numbers the negative ids are the largest, so one comparison finds both.
  if ids.ndim == 1:
    outside = ids.view(np.uint32).max() >= entry.sizes[0]
  else:
    ids = ids[:, entry.levels]
    outside = (ids.view(np.uint32) >= entry.sizes).any()
  if outside:
    raise LayoutError(
      f"Stream {column.name!r} holds ids {ids.min()} to {ids.max()}, but tokenizer "
      f'"{column.spec.name}" has sizes {column.spec.sizes}. Was it made by another tokenizer?'
    )
  body = ids + entry.starts
  if body.ndim > 1:
    body = body.reshape(-1)
  return body if column.repeat == 1 else body.repeat(column.repeat)


def _checked(column: cells.Column, ids: Any) -> np.ndarray:
  """Returns the stream as int32 [T] or [T, Q], T >= 1."""
  ids = np.asarray(ids)
  codebooks = len(column.spec.sizes)
  if ids.size and ids.dtype != np.int32:
    if ids.dtype.kind not in "iu":
      raise LayoutError(
        f"Stream {column.name!r} holds {ids.dtype}, expected whole numbers {_shape(codebooks)}: "
        "ids local to their codebook."
      )
    # Clipped, not wrapped, so that an id too large for int32 is still found out of range.
    ids = ids.astype(np.int64).clip(-1, 2**31 - 1).astype(np.int32)
  if ids.ndim != (1 if codebooks == 1 else 2) or (codebooks > 1 and ids.shape[1] != codebooks):
    raise LayoutError(
      f"Stream {column.name!r} has shape {list(ids.shape)}, expected {_shape(codebooks)} from "
      f'tokenizer "{column.spec.name}".'
    )
  if not len(ids):
    raise LayoutError(_empty(column))
  return ids


def _shape(codebooks: int) -> str:
  return "[T]" if codebooks == 1 else f"[T, {codebooks}]"


def _common_rows(placed: PlacedBlock, bodies: Sequence[np.ndarray | None]) -> int:
  counts = [
    (entry.column.name, len(body))
    for entry, body in zip(placed.columns, bodies, strict=True)
    if body is not None
  ]
  if len({count for _, count in counts}) > 1:
    raise LayoutError(_uneven(counts))
  return counts[0][1]


def _tag_array(placement: Placement, tag: str) -> np.ndarray:
  if tag not in placement.tag_arrays:
    known = ", ".join(map(repr, placement.tag_arrays))
    raise LayoutError(f"The layout cannot write the tag {tag!r}. Known tags: {known}.")
  return placement.tag_arrays[tag]


def _missing(column: cells.Column, streams: Mapping[str, Any]) -> str:
  return (
    f"The layout needs the stream {column.name!r}; given were: {', '.join(streams) or 'none'}. "
    "Name it in the task's inputs or outputs, or leave it out of the layout."
  )


def _empty(column: cells.Column) -> str:
  return (
    f"Empty {column.spec.name}: the stream {column.name!r} holds no ids, so there is nothing to "
    "place. Leave the record out."
  )


def _uneven(counts: Sequence[tuple[str, Any]]) -> str:
  parts = ", ".join(f"{name!r} takes {count}" for name, count in dict(counts).items())
  return (
    f"Columns holds streams of different lengths in rows: {parts}. Streams side by side must have "
    "one length: cut the longer, or Repeat the one of the lower rate."
  )
