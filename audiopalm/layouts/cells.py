"""Geometry of layouts: blocks of cells, one after another down the grid.

A block is R rows of cells in some columns, each column moved down by its own delay. If the block
has an end, every column ends with an id of its own in its first free row: `stop`, or `sep` in
column 0.

    Columns of delays (0, 1), R = 3, ended by Stop      row 0:  a0  .
    S = the column's own stop                           row 1:  a1  b0
                                                        row 2:  a2  b1
                                                        row 3:  S   b2
                                                        row 4:  .   S

The column of delay 0 is the lead: the first of its cells that is not an id of the block marks the
end of the block. This is how `recovery` finds lengths from the grid alone and how `incremental`
knows when to stop.

A `Grammar` says which blocks may follow each block. Most have one successor. If there are several,
the first cell of the lead shows which one begins, so a grid can be read and decoded row by row.

    Interleave, ended by Stop        to_text -> text  -> to_speech or stop
                                     to_speech -> units -> to_text or stop
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from audiopalm.errors import LayoutError
from audiopalm.tokens.space import Specs
from audiopalm.types import HOLE, StreamSpec

TAG = ""  # the name of a tag's ids, instead of a "role.stream"
SPANS = "spans"  # what the plan of `Infill` counts; not a stream, whose names have a dot

Streams = Mapping[str, np.ndarray]  # "role.stream": ids local to their codebook, [T] or [T, Q]
# "role.stream": [W], the number of frames up to the end of each word
WordEnds = Mapping[str, np.ndarray]
Holes = Sequence[tuple[int, int]]  # (start, stop) of the frames to be replaced
Count = int | np.ndarray  # of one example, or of many


@dataclasses.dataclass(frozen=True)
class Column:
  """One stream down one column: levels[0], levels[1], ..., levels[0], ..., each `repeat` times.

  `given` cells are part of the prompt, all others are decoded. Decoded cells have a weight in the
  loss, unless `learned` says otherwise. In a token space (`placing.place`), local id i < sizes[q]
  of levels[q] is i + starts[q] on the grid, and `end_id` is the id that ends the column.
  """

  name: str  # "role.stream", TAG, or the special of a mark
  spec: StreamSpec | None  # None in a mark
  levels: tuple[int, ...]
  repeat: int = 1
  delay: int = 0
  given: bool = False
  learned: bool | None = None
  starts: np.ndarray | None = dataclasses.field(default=None, compare=False)
  sizes: np.ndarray | None = dataclasses.field(default=None, compare=False)
  end_id: int = HOLE  # HOLE if the block has no end

  @property
  def has_weight(self) -> bool:
    return not self.given if self.learned is None else self.learned

  @property
  def frame_rows(self) -> int:
    """The number of rows of one frame of the stream."""
    return len(self.levels) * self.repeat


@dataclasses.dataclass(frozen=True)
class Block:
  """Columns that begin in the same row and hold the same number of rows; see the drawing above.

  `end` is 'sep', 'stop', a special of its part, or '' (the next block's first id ends it).
  `end_given`: the end is not predicted. `both_ways` > 0 is a number shared by the rows that see
  each other. `tags` are the strings a tag block may hold. `mark` is the special of a block that is
  only one row of column 0. `part` > 0 numbers a part whose blocks hold pieces of one stream; 0 is a
  block that holds its streams whole. `counts`: a grid has as many blocks that count 'place' as
  blocks that count 'span'.
  """

  columns: tuple[Column, ...]
  end: str = ""
  end_given: bool = True
  both_ways: int = 0
  tags: tuple[str, ...] = ()
  mark: str = ""
  part: int = 0
  counts: Literal["", "place", "span"] = ""

  @functools.cached_property
  def given(self) -> bool:
    return all(column.given for column in self.columns)

  @functools.cached_property
  def delays(self) -> tuple[int, ...]:
    return tuple(column.delay for column in self.columns)

  @functools.cached_property
  def streams(self) -> tuple[Column, ...]:
    """The columns that hold a stream or a tag, none for a mark."""
    return () if self.mark else self.columns

  @functools.cached_property
  def period(self) -> int:
    """The number of rows after which every column starts a frame again."""
    return math.lcm(*(column.frame_rows for column in self.columns))

  @functools.cached_property
  def lead(self) -> int:
    """The lead: the first given column of delay 0, else the first column of delay 0."""
    ahead = [k for k, column in enumerate(self.columns) if column.delay == 0]
    if not ahead:
      raise LayoutError(
        f"Delays {self.delays} leave the first rows empty. Subtract {min(self.delays)} from each: "
        "the smallest must be 0."
      )
    return next((k for k in ahead if self.columns[k].given), ahead[0])

  @functools.cached_property
  def extra_rows(self) -> int:
    """Rows beyond R: the longest delay and the end."""
    return max(self.delays) + bool(self.end)

  def cells(self) -> set[tuple[int, str, int]]:
    """Returns the (column, stream, level) of every range the block writes."""
    return {
      (k, column.spec.name, level)
      for k, column in enumerate(self.streams)
      for level in column.levels
    }

  @property
  def opening(self) -> tuple[int, str, int]:
    """The (column, stream or special, level) of the lead's first cell."""
    lead = self.columns[self.lead]
    return self.lead, self.mark or lead.spec.name, lead.levels[0]

  def specials(self) -> list[tuple[int, str]]:
    """Returns the (column, name) of every special the block writes."""
    ends = [(k, self.end_name(k)) for k in range(len(self.columns)) if self.end]
    return [(0, self.mark), *ends] if self.mark else ends

  def end_name(self, column: int) -> str:
    """Returns the special that ends a column: `end`, but `stop` instead of `sep` in columns after
    0."""
    return "stop" if column and self.end == "sep" else self.end

  def with_columns(self, **changes: object) -> "Block":
    """Returns the block with these fields replaced in every column."""
    columns = tuple(dataclasses.replace(column, **changes) for column in self.columns)
    return dataclasses.replace(self, columns=columns)


def mark(name: str, *, given: bool = False, learned: bool | None = None, **fields: object) -> Block:
  """Returns the block of one row that holds a special in column 0."""
  column = Column(name, None, (0,), given=given, learned=learned)
  return Block((column,), mark=name, **fields)


class Piece(NamedTuple):
  """A block on the grid and the frames of its streams that it holds: a slice, or their numbers.

  None means all of them, also for a mark or a tag.
  """

  block: int
  frames: slice | np.ndarray | None = None


class Section(NamedTuple):
  """The blocks `start` to `stop` of a grammar, and the part that arranges them, if any."""

  part: "Part | None"
  start: int
  stop: int

  def pieces(self, of_part: Sequence[Piece] | None = None) -> list[Piece]:
    """Returns the pieces of a part, numbered as the grammar does; by default each block, whole."""
    if of_part is None:
      return [Piece(number) for number in range(self.start, self.stop)]
    return [Piece(self.start + number, frames) for number, frames in of_part]


@dataclasses.dataclass(frozen=True)
class Grammar:
  """Blocks and their possible successors.

  `follows[n]` are the numbers of the blocks that may follow block n; len(blocks) is the end of the
  grammar. `first` are those that may begin. Several successors of a block must differ in the first
  cell of their leads, all in column 0.
  """

  blocks: tuple[Block, ...]
  follows: tuple[tuple[int, ...], ...]
  first: tuple[int, ...] = (0,)
  sections: tuple[Section, ...] = ()

  @property
  def last(self) -> list[int]:
    """The blocks after which the grammar may end."""
    return [n for n, following in enumerate(self.follows) if len(self.blocks) in following]


def chain(*blocks: Block) -> Grammar:
  """Returns the grammar in which each block comes once, in this order."""
  return Grammar(blocks, tuple((n + 1,) for n in range(len(blocks))))


class Part:
  """Base class of the frozen dataclasses that a layout is made of; each defines its `blocks`.

  A part whose order of blocks depends on the record defines a `grammar` instead, has `arranges` set
  to True, and defines which part of a stream is where by `pieces`, `asked` and `most_rows`.
  """

  makes_given: ClassVar[bool] = False  # its contents are seen but not predicted
  # Whether the order of blocks depends on the record or a key (`arranges`), and whether on a key.
  arranges: ClassVar[bool] = False
  draws: ClassVar[bool] = False

  def __post_init__(self):
    for name in self.names:
      if not isinstance(name, str) or name.count(".") != 1 or not all(name.split(".")):
        raise LayoutError(
          f"{type(self).__name__}({name!r}) does not say whose stream it is. "
          'Name it "role.stream", such as "source.units".'
        )

  @property
  def names(self) -> tuple[str, ...]:
    """The "role.stream" names of this part, without those of the parts inside it."""
    return (self.stream,) if hasattr(self, "stream") else ()

  def blocks(self, specs: Specs) -> tuple[Block, ...]:
    """Returns the part as blocks."""
    raise LayoutError(f"{self} cannot stand here: it places no cells of its own.")

  def grammar(self, specs: Specs) -> Grammar:
    """Returns the part's blocks and their successors."""
    return chain(*self.blocks(specs))

  def pieces(
    self, streams: Streams, word_ends: WordEnds, random: np.random.Generator
  ) -> list[Piece]:
    """Returns the pieces of one example from top to bottom; only for a part that `arranges`."""
    raise self._lacks("pieces")

  def asked(self, streams: Streams, holes: Holes | None) -> list[Piece]:
    """Returns the given pieces of a prompt; only for a part that `arranges`."""
    raise self._lacks("asked")

  def begun(self, begun: Streams) -> list[Piece]:
    """Returns the pieces at the beginning of an answer; only for a part that `arranges`."""
    raise LayoutError(f"What {self} predicts cannot be begun: its prompt says all that is given.")

  def most_rows(
    self, blocks: Sequence[Block], lengths: Mapping[str, Count], word_ends: WordEnds | None
  ) -> Count:
    """Returns the most rows that the part can take, over all keys."""
    raise self._lacks("most_rows")

  def _lacks(self, method: str) -> LayoutError:
    return LayoutError(
      f"{type(self).__name__} says that it arranges its blocks, but does not define {method}(). "
      "Define it as Interleave and Infill do, or leave out `arranges`."
    )

  def places(self, visited: Sequence[int], whole: bool) -> list[int]:
    """Returns sort keys for the blocks found on a grid that give their order within their streams;
    LayoutError for blocks that cannot be in one example. `whole`: the grid was not cut off."""
    return list(range(len(visited)))

  def word_streams(self) -> tuple[str, ...]:
    """Returns the streams whose word ends `realize` needs."""
    return tuple(dict.fromkeys(name for part in children(self) for name in part.word_streams()))

  def tag_strings(self) -> tuple[str, ...]:
    """Returns every tag string the layout can write."""
    return tuple(string for part in children(self) for string in part.tag_strings())

  def cells(self, specs: Specs) -> frozenset[tuple[int, str, int]]:
    """Returns every (column, stream, codebook level) the layout writes."""
    return frozenset().union(*(block.cells() for block in resolve(self, specs).blocks))

  def specials(self, specs: Specs) -> tuple[tuple[int, str], ...]:
    """Returns the (column, name) of every special the layout writes, in the order of its blocks."""
    blocks = resolve(self, specs).blocks
    return tuple(dict.fromkeys(special for block in blocks for special in block.specials()))

  def describe(self) -> dict[str, Any]:
    """Returns the part as JSON, for the manifest."""
    fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
    return {"kind": type(self).__name__} | {name: _json(value) for name, value in fields.items()}


def _json(value: object) -> object:
  if isinstance(value, Part):
    return value.describe()
  return [_json(item) for item in value] if isinstance(value, tuple) else value


def children(part: Part) -> list[Part]:
  """Returns the parts directly inside a part."""
  values = [getattr(part, field.name) for field in dataclasses.fields(part)]
  flat = [item for value in values for item in (value if isinstance(value, tuple) else (value,))]
  return [item for item in flat if isinstance(item, Part)]


def leaves(part: Part, given: bool = False) -> list[tuple[str, bool]]:
  """Returns ("role.stream", is it inside a Given part) of every stream, in order."""
  given = given or part.makes_given
  named = [(name, given) for name in part.names]
  return named + [leaf for child in children(part) for leaf in leaves(child, given)]


def check_bounds(part: Part, field: str) -> None:
  """Raises LayoutError unless a field is (least, most), integers >= 1."""
  bounds = getattr(part, field)
  whole = isinstance(bounds, tuple) and all(type(number) is int for number in bounds)
  if not whole or len(bounds) != 2 or not 1 <= bounds[0] <= bounds[1]:
    raise LayoutError(
      f"{type(part).__name__} has {field}={bounds!r}. Give (least, most), integers >= 1."
    )


def spec_of(name: str, specs: Specs) -> StreamSpec:
  """Returns the spec of the stream "role.stream" names."""
  stream = name.split(".")[1]
  if stream not in specs:
    raise LayoutError(
      f"The layout names {name!r}, but no tokenizer gives the stream {stream!r}. "
      f"Streams: {', '.join(specs) or 'none'}. Add its tokenizer or rename the stream."
    )
  return specs[stream]


def resolve(layout: Part, specs: Specs) -> Grammar:
  """Returns the checked grammar of a whole layout; LayoutError for an invalid layout."""
  grammar = layout.grammar(specs)
  blocks = grammar.blocks
  predicted = [number for number, block in enumerate(blocks) if not block.given]
  if not predicted:
    raise LayoutError(
      f"{layout} predicts nothing: every part is Given. Leave the output unwrapped."
    )
  if any(column.has_weight for number in grammar.first for column in blocks[number].columns):
    raise LayoutError(
      f"The first row of {layout} would be predicted, but there is nothing before it to predict it "
      "from. Begin with Concat(Tag(...), ...) or with a Given part."
    )
  if len(predicted) < len(blocks) - predicted[0]:
    raise LayoutError(
      f"{layout} has a Given part after its first predicted part. Move it before, or put it beside "
      "the predicted part with Columns."
    )
  if any("stop" not in (blocks[number].end, blocks[number].mark) for number in grammar.last):
    raise LayoutError(
      f"{layout} never ends, so a model of it would not learn to stop. Make Stop() the last part."
    )
  if sum(bool(block.tags) for block in blocks) > 1:
    raise LayoutError(f"{layout} has more than one Tag. Write one tag for the whole task.")
  for following in (grammar.first, *grammar.follows):
    openings = [blocks[number].opening for number in following if number < len(blocks)]
    assert len(set(openings)) == len(openings), f"{layout} cannot be read row by row"
  placed: dict[tuple[str, int], int] = {}
  for block in blocks:
    for column in block.streams:
      for level in column.levels:
        # Several blocks of a part may hold pieces of the same stream.
        before = placed.get((column.name, level))
        if before is not None and (block.part == 0 or before != block.part):
          raise LayoutError(
            f"{layout} places {column.name!r} level {level} twice, so a grid could give it two "
            "values. Place it once."
          )
        placed[column.name, level] = block.part
  return grammar
