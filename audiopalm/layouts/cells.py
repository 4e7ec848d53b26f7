"""Geometry: a layout resolved into blocks of cells, one after another down the grid.

A block is R rows of cells in some columns, each column moved down by its own delay. Where the block
has an end, every column closes with its own id at its first free row: `stop`, or `sep` in column 0.

    Columns of delays (0, 1), R = 3, ended by Stop      row 0:  a0  .
    S = the column's own stop                           row 1:  a1  b0
                                                        row 2:  a2  b1
                                                        row 3:  S   b2
                                                        row 4:  .   S

The column of delay 0 leads: its first cell that is no id of the block says how long the block is.
That is how `recovery` finds lengths on a bare grid and how `incremental` knows when to stop.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from audiopalm.errors import LayoutError
from audiopalm.types import HOLE, StreamSpec

TAG = ""  # the name under which a tag's ids are placed, in place of "role.stream"


@dataclasses.dataclass(frozen=True)
class Column:
  """One stream down one column: levels[0], levels[1], ..., levels[0], ..., each `repeat` times."""

  name: str  # "role.stream", or TAG
  spec: StreamSpec
  levels: tuple[int, ...]
  repeat: int = 1
  delay: int = 0
  given: bool = False

  @property
  def frame_rows(self) -> int:
    """Rows one frame of the stream takes."""
    return len(self.levels) * self.repeat


@dataclasses.dataclass(frozen=True)
class Block:
  """Columns that begin in the same row and hold the same number of rows; see the module's picture.

  `end` is 'sep', 'stop' or '' (the next block's first id ends it). `end_given`: the end is not
  predicted. `both_ways` > 0 numbers the rows that see each other. `tags` are the strings a tag
  block may hold.
  """

  columns: tuple[Column, ...]
  end: str = ""
  end_given: bool = True
  both_ways: int = 0
  tags: tuple[str, ...] = ()

  @functools.cached_property
  def given(self) -> bool:
    return all(column.given for column in self.columns)

  @functools.cached_property
  def delays(self) -> tuple[int, ...]:
    return tuple(column.delay for column in self.columns)

  @functools.cached_property
  def period(self) -> int:
    """Rows after which every column is at the start of a frame again."""
    return math.lcm(*(column.frame_rows for column in self.columns))

  @functools.cached_property
  def lead(self) -> int:
    """The first column of delay 0, a given one if there is: it knows the length first."""
    ahead = [k for k, column in enumerate(self.columns) if column.delay == 0]
    return next((k for k in ahead if self.columns[k].given), ahead[0])

  @functools.cached_property
  def extra_rows(self) -> int:
    """Rows beyond R: the longest delay and the end."""
    return max(self.delays) + bool(self.end)

  def cells(self) -> set[tuple[int, str, int]]:
    """Returns the (column, stream, level) of every range the block writes."""
    return {
      (k, column.spec.name, level)
      for k, column in enumerate(self.columns)
      for level in column.levels
    }

  def end_name(self, column: int) -> str:
    """Returns what ends a column: every column has its own stop, column 0 alone has sep."""
    return self.end if column == 0 else "stop"


class Part:
  """Base of the frozen dataclasses a layout is made of; each says which `blocks` it stands for."""

  makes_given: ClassVar[bool] = False  # what is inside is seen but not predicted

  def blocks(self, streams: Mapping[str, StreamSpec]) -> tuple[Block, ...]:
    """Returns the part as blocks. `streams` are the fitted tokenizers' specs by name."""
    raise LayoutError(f"{self} cannot stand here: it places no cells of its own.")

  def describe(self) -> dict[str, Any]:
    """Returns the part as JSON, for the manifest."""
    description: dict[str, Any] = {"kind": type(self).__name__}
    for field in dataclasses.fields(self):
      description[field.name] = _json(getattr(self, field.name))
    return description

  def cells(self, streams: Mapping[str, StreamSpec]) -> frozenset[tuple[int, str, int]]:
    """Returns every (column, stream, codebook level) the layout writes."""
    return frozenset().union(*(block.cells() for block in resolve(self, streams)))

  def tag_parts(self) -> tuple[Any, ...]:
    """Returns the Tag parts inside, in order."""
    return tuple(tag for part in children(self) for tag in part.tag_parts())

  def tag_strings(self) -> tuple[str, ...]:
    """Returns every tag string the layout can write."""
    return tuple(string for tag in self.tag_parts() for string in tag.declared)


def _json(value: Any) -> Any:
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
  named = [(part.stream, given)] if hasattr(part, "stream") else []
  return named + [leaf for child in children(part) for leaf in leaves(child, given)]


def check_name(part: Part, name: str) -> None:
  """Raises LayoutError unless `name` reads "role.stream"."""
  if not isinstance(name, str) or name.count(".") != 1 or not all(name.split(".")):
    raise LayoutError(
      f"{type(part).__name__}({name!r}) does not say whose stream it is. "
      'Name it "role.stream", such as "source.units".'
    )


def spec_of(name: str, streams: Mapping[str, StreamSpec]) -> StreamSpec:
  """Returns the spec of the stream "role.stream" names."""
  stream = name.split(".")[1]
  if stream not in streams:
    raise LayoutError(
      f"The layout names {name!r}, but no tokenizer gives the stream {stream!r}. "
      f"Streams: {', '.join(streams) or 'none'}. Add its tokenizer or rename the stream."
    )
  return streams[stream]


def resolve(layout: Part, streams: Mapping[str, StreamSpec]) -> tuple[Block, ...]:
  """Returns the checked blocks of a whole layout, or LayoutError saying what is wrong with it."""
  blocks = layout.blocks(streams)
  predicted = [number for number, block in enumerate(blocks) if not block.given]
  if not predicted:
    raise LayoutError(
      f"{layout} predicts nothing: every part is Given. Leave the output unwrapped."
    )
  if predicted[0] == 0:
    raise LayoutError(
      f"The first row of {layout} would be predicted, but there is nothing before it to predict it "
      "from. Begin with Concat(Tag(...), ...) or with a Given part."
    )
  if len(predicted) != len(blocks) - predicted[0]:
    raise LayoutError(
      f"{layout} has a Given part after its first predicted part. Move it before, or put it beside "
      "the predicted part with Columns."
    )
  if blocks[-1].end != "stop":
    raise LayoutError(
      f"{layout} never ends, so a model of it would not learn to stop. Make Stop() the last part."
    )
  if sum(bool(block.tags) for block in blocks) > 1:
    raise LayoutError(f"{layout} has more than one Tag. Write one tag for the whole task.")
  seen = set()
  for block in blocks:
    if min(block.delays):
      raise LayoutError(
        f"Delays {block.delays} leave the first rows empty. Subtract {min(block.delays)} from "
        "each: the smallest must be 0."
      )
    for column in block.columns:
      for level in column.levels:
        if (column.name, level) in seen:
          raise LayoutError(
            f"{layout} places {column.name!r} level {level} twice, so a grid could give it two "
            "values. Place it once."
          )
        seen.add((column.name, level))
  return blocks


def delay(codes_TQ: np.ndarray, delays: Sequence[int], hole: int = HOLE) -> np.ndarray:
  """Returns codes_LQ with column q moved down by delays[q] rows.

  L = T + max(delays). Inverse: `undelay`. Source: MusicGen, arXiv:2306.05284, section 2.2.

      delays (0, 1, 2), two frames      row 0:  a0  .   .
      a b c = codebooks                 row 1:  a1  b0  .
                                        row 2:  .   b1  c0
                                        row 3:  .   .   c1
  """
  if not any(delays):
    return codes_TQ
  frames = len(codes_TQ)
  codes_LQ = np.full((frames + max(delays), len(delays)), hole, codes_TQ.dtype)
  for q, rows in enumerate(delays):
    codes_LQ[rows : rows + frames, q] = codes_TQ[:, q]
  return codes_LQ


def undelay(codes_LQ: np.ndarray, delays: Sequence[int]) -> np.ndarray:
  """Returns codes_TQ with column q moved up by delays[q] rows, T = L - max(delays)."""
  frames = len(codes_LQ) - max(delays)
  return np.stack([codes_LQ[rows : rows + frames, q] for q, rows in enumerate(delays)], axis=1)
