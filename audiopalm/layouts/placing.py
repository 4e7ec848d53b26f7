"""From streams to a grid: `realize`, prompts, and the length of a grid without building it."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from audiopalm.errors import LayoutError
from audiopalm.layouts import cells
from audiopalm.tokens.space import TokenSpace
from audiopalm.types import HOLE, Grid


@dataclasses.dataclass(frozen=True, eq=False)
class Placement:
  """A layout in a token space, computed once for `realize`, `recover` and the plan."""

  grammar: cells.Grammar  # with the ids of its columns
  columns: int  # of the grid
  given_blocks: int  # blocks before the first predicted one
  whole: tuple[cells.Piece, ...]  # each block once, whole; () if a part arranges its own
  tag_ids: dict[str, np.ndarray]
  tags_by_ids: dict[tuple[int, ...], str]

  @property
  def blocks(self) -> tuple[cells.Block, ...]:
    return self.grammar.blocks


@functools.lru_cache(maxsize=1024)
def place(layout: cells.Part, space: TokenSpace) -> Placement:
  """Returns the blocks of a layout with their ids in `space`."""
  grammar = cells.resolve(layout, space.streams)
  blocks = tuple(_place_block(block, space) for block in grammar.blocks)
  tags = {tag: space.tag_ids(tag) for block in blocks for tag in block.tags}
  return Placement(
    grammar=dataclasses.replace(grammar, blocks=blocks),
    columns=space.columns,
    given_blocks=sum(block.given for block in blocks),
    whole=() if layout.arranges else tuple(map(cells.Piece, range(len(blocks)))),
    tag_ids={tag: np.asarray(ids, np.int32) for tag, ids in tags.items()},
    tags_by_ids={ids: tag for tag, ids in tags.items()},
  )


def _place_block(block: cells.Block, space: TokenSpace) -> cells.Block:
  columns = []
  for k, column in enumerate(block.columns):
    if block.mark:
      ranges = [(space.special(block.mark, k), 1)]
    else:
      ranges = [space.range_of(k, column.spec.name, level) for level in column.levels]
    starts, sizes = zip(*ranges, strict=True)
    ids = {"starts": np.asarray(starts, np.int32), "sizes": np.asarray(sizes, np.uint32)}
    end_id = space.special(block.end_name(k), k) if block.end else HOLE
    columns.append(dataclasses.replace(column, **ids, end_id=end_id))
  return dataclasses.replace(block, columns=tuple(columns))


def realize(
  layout: cells.Part,
  streams: cells.Streams,
  tag: str,
  space: TokenSpace,
  key: Sequence[int] | None = None,
  *,
  word_ends: cells.WordEnds | None = None,
  pieces: Sequence[cells.Piece] | None = None,
) -> Grid:
  """Returns the grid of one example. Inverse: `recover`.

  Streams that the layout does not use are ignored. `tag` is one of its tag strings ('' if it has no
  Tag). Columns that the layout does not use are holes. Layouts with a random order (`Interleave`,
  `Infill`) draw only from `key`, a sequence of integers; `word_ends` are the places at which they
  may cut. If `pieces` are given, as returned by `recover`, they are written instead.
  """
  placement = place(layout, space)
  if pieces is None:
    pieces = placement.whole or _arranged(placement, streams, word_ends or {}, key)
  else:
    _check_pieces(placement, pieces)
  return _write(placement, pieces, {**streams, **_ids_of_tag(placement, tag)})


def prompt(
  layout: cells.Part,
  streams: cells.Streams,
  tag: str,
  space: TokenSpace,
  *,
  holes: cells.Holes | None = None,
) -> Grid:
  """Returns the rows of `realize` before the first predicted part, from given streams alone.

  `holes` are for a layout with `Infill`: the (start, stop) frames of its stream to be replaced; (T,
  T) after all T frames asks for a continuation. None asks for the whole stream, none of which is
  shown.
  """
  placement = place(layout, space)
  given = [s for s in placement.grammar.sections if s.start < placement.given_blocks]
  if holes is not None and not any(section.part for section in given):
    raise LayoutError(f"{layout} fills no holes, but holes={list(holes)} came. Leave them out.")
  pieces = asked_pieces(placement, streams, holes)
  return _write(placement, pieces, {**streams, **_ids_of_tag(placement, tag)})


def begin(
  layout: cells.Part, streams: cells.Streams, begun: cells.Streams, tag: str, space: TokenSpace
) -> Grid:
  """Returns the rows of `prompt` and the beginning of the answer.

  `begun` holds streams of the first predicted part in their order. For an `Interleave` they are its
  first spans, and an empty one is the next to be predicted: {"source.text": ids, "source.units":
  []} is text that is to be continued in speech. Delayed columns are cut at the row where the first
  of them ends.
  """
  placement = place(layout, space)
  pieces = asked_pieces(placement, streams, None)
  first = pieces[-1].block + 1
  section = next(s for s in placement.grammar.sections if s.start <= first < s.stop)
  pieces += section.pieces(section.part.begun(begun) if section.part else None)
  grid = _write(placement, pieces, {**streams, **begun, **_ids_of_tag(placement, tag)})
  return grid.first(len(grid) - placement.blocks[pieces[-1].block].extra_rows)


def conditioning(layout: cells.Part, streams: cells.Streams, space: TokenSpace) -> np.ndarray:
  """Returns tokens_LK of the first predicted block with only its given columns filled.

  Row 0 is the first row after `prompt`. GIVEN cells of a plan are read from this grid. It has no
  rows if the predicted part has no given column.
  """
  placement = place(layout, space)
  block = placement.blocks[placement.given_blocks]
  bodies = {
    k: _cells(column, streams, None) for k, column in enumerate(block.columns) if column.given
  }
  rows = _body_rows(block, bodies) + block.extra_rows if bodies else 0
  tokens_LK = np.full((rows, placement.columns), HOLE, np.int32)
  _put(tokens_LK, block, bodies)
  return tokens_LK


def rows(
  layout: cells.Part,
  lengths: Mapping[str, cells.Count],
  tag: str,
  space: TokenSpace,
  *,
  word_ends: cells.WordEnds | None = None,
) -> cells.Count:
  """Returns len(realize(...)) from the streams' lengths; arrays of lengths give an array.

  For a layout with a random order this is the maximum over all keys. `word_ends` of one record,
  whose lengths are then numbers, make the bound tight.
  """
  placement = place(layout, space)
  tag_lengths = {name: len(ids) for name, ids in _ids_of_tag(placement, tag).items()}
  lengths = {**lengths, **tag_lengths}
  total = 0
  for section in placement.grammar.sections:
    blocks = placement.blocks[section.start : section.stop]
    counts = [_count_rows(block, lengths) for block in blocks]
    if section.part:
      total = total + section.part.most_rows(blocks, lengths, word_ends)
    else:
      total = total + sum(counts) + sum(block.extra_rows for block in blocks)
  return total


def _count_rows(block: cells.Block, lengths: Mapping[str, cells.Count]) -> cells.Count:
  """Returns the rows of a whole block without its delays and end, after checking its streams."""
  counts = []
  for column in block.streams:
    if column.name not in lengths:
      raise LayoutError(_missing(column, lengths))
    if np.any(np.less(lengths[column.name], 1)):
      raise LayoutError(_empty(column))
    counts.append((column.name, lengths[column.name] * column.frame_rows))
  if any(np.any(np.not_equal(count, counts[0][1])) for _, count in counts):
    raise LayoutError(_uneven(counts))
  return counts[0][1] if counts else 1


def _arranged(
  placement: Placement,
  streams: cells.Streams,
  word_ends: cells.WordEnds,
  key: Sequence[int] | None,
) -> list[cells.Piece]:
  """Returns the pieces of one example: each block once, unless a part arranges its own."""
  pieces = []
  for number, section in enumerate(placement.grammar.sections):
    part = section.part
    if part is None:
      pieces += section.pieces()
      continue
    if key is None and part.draws:
      raise LayoutError(
        f"{part} draws what lies where, but no key came. Pass key=(seed, record, epoch), whole "
        "numbers, or the pieces that recover found."
      )
    for block in placement.blocks[section.start : section.stop]:
      for column in block.streams:
        _checked(column, streams)
    random = np.random.default_rng((*(key or ()), number))
    pieces += section.pieces(part.pieces(streams, word_ends, random))
  return pieces


def asked_pieces(
  placement: Placement, streams: cells.Streams, holes: cells.Holes | None
) -> list[cells.Piece]:
  """Returns the pieces before the first predicted block; see `prompt`."""
  pieces = []
  for section in placement.grammar.sections:
    if section.start < placement.given_blocks:
      pieces += section.pieces(section.part.asked(streams, holes) if section.part else None)
  return pieces


def _check_pieces(placement: Placement, pieces: Sequence[cells.Piece]) -> None:
  """Raises LayoutError unless these pieces, in this order, are an example of the layout."""
  may_come, end = placement.grammar.first, len(placement.blocks)
  for block in (*(piece.block for piece in pieces), end):
    if block not in may_come:
      raise LayoutError(
        f"The pieces are not those of one example of this layout: block {block} comes where "
        f"{' or '.join(map(str, may_come))} may. Pass those of a complete `recover`."
      )
    may_come = placement.grammar.follows[block] if block < end else ()


def _write(placement: Placement, pieces: Sequence[cells.Piece], streams: cells.Streams) -> Grid:
  """Returns the grid of these pieces."""
  written, total, prompt_rows = [], 0, 0
  for number, frames in pieces:
    block = placement.blocks[number]
    bodies = {k: _cells(column, streams, frames) for k, column in enumerate(block.columns)}
    bottom = total + _body_rows(block, bodies) + block.extra_rows
    written.append((block, bodies, total, bottom))
    total = bottom
    if number < placement.given_blocks:
      prompt_rows = total
  tokens_LK = np.full((total, placement.columns), HOLE, np.int32)
  weights_LK = np.zeros((total, placement.columns), np.float32)
  visible_L = np.zeros(total, np.int32)
  for block, bodies, top, bottom in written:
    _put(tokens_LK[top:bottom], block, bodies)
    _weigh(weights_LK[top:bottom], block)
    if block.both_ways:
      visible_L[top : bottom - bool(block.end)] = block.both_ways
  return Grid(tokens_LK, weights_LK, visible_L, prompt_rows)


def _put(tokens_LK: np.ndarray, block: cells.Block, bodies: Mapping[int, np.ndarray]) -> None:
  """Writes columns of a block, each moved down by its delay and followed by its end."""
  for k, body in bodies.items():
    column = block.columns[k]
    after = column.delay + len(body)
    tokens_LK[column.delay : after, k] = body
    if block.end:
      tokens_LK[after, k] = column.end_id


def _weigh(weights_LK: np.ndarray, block: cells.Block) -> None:
  """Writes 1 at the cells of the block that have a weight; copies of the cell above have none."""
  count = len(weights_LK) - block.extra_rows
  for k, column in enumerate(block.columns):
    if column.has_weight:
      after = column.delay + count
      weights_LK[column.delay : after : column.repeat, k] = 1
      if block.end and not block.end_given:
        weights_LK[after, k] = 1


def _cells(
  column: cells.Column, streams: cells.Streams, frames: slice | np.ndarray | None
) -> np.ndarray:
  """Returns the column's cells from top to bottom, checked, before delay and end."""
  if column.spec is None:
    return column.starts
  ids = _checked(column, streams)
  if frames is not None:
    ids = ids[frames]
    assert len(ids), f"a piece of {column.name!r} without frames"
  # As unsigned integers negative ids are larger than all others, so one comparison finds both
  # errors.
  if ids.ndim == 1:
    outside = ids.view(np.uint32).max() >= column.sizes[0]
  else:
    ids = ids[:, column.levels]
    outside = (ids.view(np.uint32) >= column.sizes).any()
  if outside:
    raise LayoutError(
      f"Stream {column.name!r} holds ids {ids.min()} to {ids.max()}, but tokenizer "
      f'"{column.spec.name}" has sizes {column.spec.sizes}. Was it made by another tokenizer?'
    )
  return (ids + column.starts).reshape(-1).repeat(column.repeat)


def _checked(column: cells.Column, streams: cells.Streams) -> np.ndarray:
  """Returns the column's stream as int32 [T] or [T, Q], T >= 1."""
  if column.name not in streams:
    raise LayoutError(_missing(column, streams))
  ids, codebooks = np.asarray(streams[column.name]), column.spec.codebooks
  shape = "[T]" if codebooks == 1 else f"[T, {codebooks}]"
  if ids.size and ids.dtype != np.int32:
    if ids.dtype.kind not in "iu":
      raise LayoutError(
        f"Stream {column.name!r} holds {ids.dtype}, expected integers {shape}: ids local to "
        "their codebook."
      )
    # Clip instead of wrapping around, so that an id too large for int32 is still out of range.
    ids = ids.astype(np.int64).clip(-1, 2**31 - 1).astype(np.int32)
  if not ids.ndim or ids.shape[1:] != (() if codebooks == 1 else (codebooks,)):
    raise LayoutError(
      f"Stream {column.name!r} has shape {list(ids.shape)}, expected {shape} from tokenizer "
      f'"{column.spec.name}".'
    )
  if not len(ids):
    raise LayoutError(_empty(column))
  return ids


def _body_rows(block: cells.Block, bodies: Mapping[int, np.ndarray]) -> int:
  """Returns the number of rows of a block's columns, which must be equal."""
  counts = [(block.columns[k].name, len(body)) for k, body in bodies.items()]
  if len({count for _, count in counts}) > 1:
    raise LayoutError(_uneven(counts))
  return counts[0][1]


def _ids_of_tag(placement: Placement, tag: str) -> dict[str, np.ndarray]:
  """Returns {TAG: ids}, {} if the layout has no Tag."""
  if placement.tag_ids and tag not in placement.tag_ids:
    known = ", ".join(map(repr, placement.tag_ids))
    raise LayoutError(f"The layout cannot write the tag {tag!r}. Known tags: {known}.")
  return {cells.TAG: placement.tag_ids[tag]} if placement.tag_ids else {}


def _missing(column: cells.Column, streams: Iterable[str]) -> str:
  names = ", ".join(name for name in streams if name != cells.TAG)
  return (
    f"The layout needs the stream {column.name!r}; given were: {names or 'none'}. Name it in the "
    "task's inputs or outputs, or leave it out of the layout."
  )


def _empty(column: cells.Column) -> str:
  return (
    f"Empty {column.spec.name}: the stream {column.name!r} holds no ids, so there is nothing to "
    "place. Leave the record out."
  )


def _uneven(counts: Sequence[tuple[str, cells.Count]]) -> str:
  parts = ", ".join(f"{name!r} takes {count}" for name, count in dict(counts).items())
  return (
    f"Columns holds streams of different lengths in rows: {parts}. Streams side by side must have "
    "one length: cut the longer, or Repeat the one of the lower rate."
  )
