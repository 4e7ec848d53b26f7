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
  grammar: cells.Grammar
  given_blocks: int  # blocks before the first predicted one
  whole: tuple[cells.Piece, ...]  # each block once, whole
  arranges: bool  # whether that is not what an example is
  tag_arrays: dict[str, np.ndarray]
  tags_by_ids: dict[tuple[int, ...], str]

  def arranged(self, section: cells.Section) -> bool:
    """Returns whether what lies in the blocks of a section follows from the record."""
    return section.part is not None and section.part.arranges


@functools.lru_cache(maxsize=1024)
def place(layout: cells.Part, space: TokenSpace) -> Placement:
  """Returns the layout's blocks with the ids `space` gives them."""
  grammar = cells.resolve(layout, space.streams)
  blocks = tuple(_place_block(block, space) for block in grammar.blocks)
  tags = {tag: space.tag_ids(tag) for placed in blocks for tag in placed.block.tags}
  return Placement(
    blocks=blocks,
    grammar=grammar,
    given_blocks=sum(placed.block.given for placed in blocks),
    whole=tuple(map(cells.Piece, range(len(blocks)))),
    arranges=layout.arranges,
    tag_arrays={tag: np.asarray(ids, np.int32) for tag, ids in tags.items()},
    tags_by_ids={ids: tag for tag, ids in tags.items()},
  )


def _place_block(block: cells.Block, space: TokenSpace) -> PlacedBlock:
  columns = []
  for k, column in enumerate(block.columns):
    if column.spec is None:
      ranges = [(space.special(block.mark, k), 1)]
    else:
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
  *,
  word_ends: cells.WordEnds | None = None,
  pieces: Sequence[cells.Piece] | None = None,
) -> Grid:
  """Returns the grid of one example. Inverse: `recover`.

  `streams` maps "role.stream" to ids local to their codebook, [T] or [T, Q]; names the layout does
  not use are ignored. `tag` is one of the layout's tag strings ('' where it has no Tag). Columns
  the layout leaves free are holes. Where the layout draws what lies where (`Interleave`, `Infill`),
  it draws by `key`, whole numbers, and by nothing else; `word_ends` says where the words are at
  which it may cut. `pieces`, as `recover` finds them, are written instead of any drawn.
  """
  placement = place(layout, space)
  if pieces is None:
    pieces = _arranged(placement, streams, word_ends or {}, key)
  else:
    _check_pieces(placement, pieces)
  return _write(placement, pieces, streams, tag, space)


def prompt(
  layout: cells.Part,
  streams: Mapping[str, np.ndarray],
  tag: str,
  space: TokenSpace,
  *,
  holes: Sequence[tuple[int, int]] | None = None,
) -> Grid:
  """Returns the rows of `realize` before the first predicted part, from given streams alone.

  `holes` are for a layout with `Infill`: the (start, stop) frames of its stream that are to be
  predicted anew; (T, T) behind all T of them asks for more. None asks for all of that stream, of
  which nothing is seen then.
  """
  placement = place(layout, space)
  given = [s for s in placement.grammar.sections if s.start < placement.given_blocks]
  if holes is not None and not any(map(placement.arranged, given)):
    raise LayoutError(f"{layout} fills no holes, but holes={list(holes)} came. Leave them out.")
  return _write(placement, asked_pieces(placement, streams, holes), streams, tag, space)


def begin(
  layout: cells.Part,
  streams: Mapping[str, np.ndarray],
  begun: Mapping[str, np.ndarray],
  tag: str,
  space: TokenSpace,
) -> Grid:
  """Returns the rows of `prompt` and the beginning of the answer, for an answer on one column.

  `begun` holds streams of the first predicted part in their order. Of an `Interleave` they are its
  first spans, and an empty one asks for what follows: {"source.text": ids, "source.units": []} is
  text, to be continued in speech.
  """
  placement = place(layout, space)
  asked = asked_pieces(placement, streams, None)
  following = asked[-1].block + 1
  section = next(s for s in placement.grammar.sections if s.start <= following < s.stop)
  if placement.arranged(section):
    local = section.part.begun(begun)
    more = [cells.Piece(section.start + piece.block, piece.frames) for piece in local]
  else:
    more = [cells.Piece(number) for number in range(following, section.stop)]
  grid = _write(placement, [*asked, *more], {**streams, **begun}, tag, space)
  rows = len(grid) - bool(placement.blocks[more[-1].block].block.end)
  return Grid(grid.tokens_LK[:rows], grid.weights_LK[:rows], grid.visible_L[:rows])


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
    _cells(entry, streams, placement, "", None) if entry.column.given else None
    for entry in placed.columns
  ]
  count = _common_rows(placed, bodies)
  tokens_LK = np.full((count + placed.block.extra_rows, space.columns), HOLE, np.int32)
  _put(tokens_LK, placed, bodies, count)
  return tokens_LK


def rows(
  layout: cells.Part,
  lengths: Mapping[str, Any],
  tag: str,
  space: TokenSpace,
  *,
  word_ends: cells.WordEnds | None = None,
) -> Any:
  """Returns len(realize(...)) from the streams' lengths; arrays of lengths give an array.

  Where the layout draws what lies where, it is the most rows that any key gives. `word_ends` of one
  record, whose lengths are then numbers, make that bound a tight one.
  """
  placement = place(layout, space)
  total = 0
  for section in placement.grammar.sections:
    blocks = placement.blocks[section.start : section.stop]
    counts = [_counted(placed, lengths, placement, tag) for placed in blocks]
    if placement.arranged(section):
      resolved = [placed.block for placed in blocks]
      total = total + section.part.most_rows(resolved, lengths, word_ends)
    else:
      for placed, count in zip(blocks, counts, strict=True):
        total = total + count + placed.block.extra_rows
  return total


def _counted(
  placed: PlacedBlock, lengths: Mapping[str, Any], placement: Placement, tag: str
) -> Any:
  """Returns the rows of a whole block before its delays and end, its streams checked."""
  counts = []
  for column in placed.block.columns:
    if placed.block.mark:
      frames = 1
    elif column.name == cells.TAG:
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
  return first


def _arranged(
  placement: Placement,
  streams: Mapping[str, np.ndarray],
  word_ends: cells.WordEnds,
  key: Sequence[int] | None,
) -> Sequence[cells.Piece]:
  """Returns the pieces of one example: each block once, but where a part arranges its own."""
  if not placement.arranges:
    return placement.whole
  pieces = []
  for number, section in enumerate(placement.grammar.sections):
    if not placement.arranged(section):
      pieces += map(cells.Piece, range(section.start, section.stop))
      continue
    if key is None and section.part.draws:
      raise LayoutError(
        f"{section.part} draws what lies where, but no key came. Pass key=(seed, record, epoch), "
        "whole numbers, or the pieces that recover found."
      )
    for placed in placement.blocks[section.start : section.stop]:
      for column in () if placed.block.mark else placed.block.columns:
        if column.name not in streams:
          raise LayoutError(_missing(column, streams))
        _checked(column, streams[column.name])
    random = np.random.default_rng((*(key or ()), number))
    local = section.part.pieces(streams, word_ends, random)
    pieces += [cells.Piece(section.start + piece.block, piece.frames) for piece in local]
  return pieces


def asked_pieces(
  placement: Placement,
  streams: Mapping[str, np.ndarray],
  holes: Sequence[tuple[int, int]] | None,
) -> list[cells.Piece]:
  """Returns the pieces before the first predicted block; see `prompt`."""
  pieces = []
  for section in placement.grammar.sections:
    if section.start >= placement.given_blocks:
      break
    if placement.arranged(section):
      local = section.part.asked(streams, holes)
      pieces += [cells.Piece(section.start + piece.block, piece.frames) for piece in local]
    else:
      stop = min(section.stop, placement.given_blocks)
      pieces += map(cells.Piece, range(section.start, stop))
  return pieces


def _check_pieces(placement: Placement, pieces: Sequence[cells.Piece]) -> None:
  """Raises LayoutError unless the layout can write these pieces, all of them, in this order."""
  may_come, end = placement.grammar.first, len(placement.blocks)
  for block in (*(piece.block for piece in pieces), end):
    if block not in may_come:
      raise LayoutError(
        f"The pieces are not those of one example of this layout: block {block} comes where "
        f"{' or '.join(map(str, may_come))} may. Pass those of a complete `recover`."
      )
    may_come = placement.grammar.follows[block] if block < end else ()


def _write(
  placement: Placement,
  pieces: Sequence[cells.Piece],
  streams: Mapping[str, np.ndarray],
  tag: str,
  space: TokenSpace,
) -> Grid:
  """Returns the grid of these pieces."""
  bodies, counts, total = [], [], 0
  for number, frames in pieces:
    placed = placement.blocks[number]
    body = [_cells(entry, streams, placement, tag, frames) for entry in placed.columns]
    count = len(body[0]) if len(body) == 1 else _common_rows(placed, body)
    bodies.append(body)
    counts.append(count)
    total += count + placed.block.extra_rows
  tokens_LK = np.empty((total, space.columns), np.int32)
  tokens_LK.fill(HOLE)
  weights_LK = np.zeros((total, space.columns), np.float32)
  visible_L = np.zeros(total, np.int32)
  top = 0
  for piece, body, count in zip(pieces, bodies, counts, strict=True):
    placed = placement.blocks[piece.block]
    block = placed.block
    _put(tokens_LK[top:], placed, body, count)
    if any(column.has_weight for column in block.columns):
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
  """Writes 1 where a cell of the block has a weight: a copy of the cell above has none."""
  for k, entry in enumerate(placed.columns):
    column = entry.column
    if column.has_weight:
      weights_LK[column.delay : column.delay + count : column.repeat, k] = 1
      if placed.block.end and not placed.block.end_given:
        weights_LK[column.delay + count, k] = 1


def _cells(
  entry: PlacedColumn,
  streams: Mapping[str, np.ndarray],
  placement: Placement,
  tag: str,
  frames: slice | np.ndarray | None,
) -> np.ndarray:
  """Returns the column's cells from top to bottom, checked, before delay and end."""
  column = entry.column
  if column.spec is None:
    return entry.starts
  if column.name == cells.TAG:
    return _tag_array(placement, tag)
  if column.name not in streams:
    raise LayoutError(_missing(column, streams))
  ids = _checked(column, streams[column.name])
  if frames is not None:
    ids = ids[frames]
    assert len(ids), f"a piece of {column.name!r} without frames"
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
