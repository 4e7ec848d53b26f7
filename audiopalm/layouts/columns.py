"""Parts that use several columns: delayed codebooks, parts side by side, repeated rows."""

import dataclasses

from audiopalm.errors import LayoutError
from audiopalm.layouts import cells
from audiopalm.tokens.space import Specs


@dataclasses.dataclass(frozen=True)
class Delay(cells.Part):
  """A stream's codebooks in one column each, column q moved down by delays[q] rows.

  The smallest delay is 0. Source: MusicGen, arXiv:2306.05284, section 2.2.

      Delay("target.codes", (0, 1)), three frames      row 0:  a0  .
      a b = codebooks                                  row 1:  a1  b0
                                                       row 2:  a2  b1
                                                       row 3:  .   b2
  """

  stream: str
  delays: tuple[int, ...]

  def __post_init__(self):
    super().__post_init__()
    if not self.delays or any(not isinstance(rows, int) or rows < 0 for rows in self.delays):
      raise LayoutError(
        f"Delay({self.stream!r}) has delays {self.delays}. Give one integer >= 0 per codebook."
      )

  def blocks(self, specs: Specs) -> tuple[cells.Block, ...]:
    spec = cells.spec_of(self.stream, specs)
    if len(self.delays) != spec.codebooks:
      raise LayoutError(
        f'Delay("{self.stream}") has {_count(self.delays, "delay")} but tokenizer "{spec.name}" '
        f"gives {_count(spec.sizes, 'codebook')}.\nGive one delay per codebook, or set "
        f"{spec.name}.codebooks={len(self.delays)}."
      )
    columns = (
      cells.Column(self.stream, spec, (level,), delay=rows)
      for level, rows in enumerate(self.delays)
    )
    return (cells.Block(tuple(columns)),)


@dataclasses.dataclass(frozen=True, init=False)
class Columns(cells.Part):
  """Parts side by side, each in its own columns; all hold the same number of rows.

  Different lengths are a LayoutError, because a hole in the middle of a block would be read as its
  end. Align the streams (`Repeat`, or tokenizers of one rate) instead. A Given part is beside the
  predicted ones. The first column of delay 0, preferably a given one, determines the length, so
  decoding needs a given column of delay 0 (see `incremental`).

      Columns(Given(Repeat(Flat("target.units"), 2)), Delay("target.codes", (0, 0)))

          row 0:  u0  a0  b0
          row 1:  u0  a1  b1
          row 2:  u1  a2  b2
          row 3:  u1  a3  b3
  """

  parts: tuple[cells.Part, ...]

  def __init__(self, *parts: cells.Part):
    object.__setattr__(self, "parts", parts)
    if not parts:
      raise LayoutError("Columns() holds no part. Name at least one.")

  def __repr__(self) -> str:
    return f"Columns({', '.join(map(repr, self.parts))})"

  def blocks(self, specs: Specs) -> tuple[cells.Block, ...]:
    blocks = [one_block(self, part, specs) for part in self.parts]
    if any(block.both_ways for block in blocks):
      raise LayoutError(
        f"{self} holds a Given part with both_ways=True: its rows would see the predicted cells "
        "beside them before they are predicted. Leave both_ways out, or put the part before."
      )
    return (cells.Block(tuple(column for block in blocks for column in block.columns)),)


@dataclasses.dataclass(frozen=True)
class Repeat(cells.Part):
  """Repeats each row of a part n times: 25 Hz units beside 50 Hz codes. Only the first of n is
  predicted.

  Repeat(Flat("source.units"), 2):   u0 u0 u1 u1
  """

  part: cells.Part
  n: int

  def __post_init__(self):
    if not isinstance(self.n, int) or self.n < 1:
      raise LayoutError(f"Repeat has n={self.n!r}. Give an integer >= 1.")

  def blocks(self, specs: Specs) -> tuple[cells.Block, ...]:
    block = one_block(self, self.part, specs)
    columns = tuple(
      dataclasses.replace(column, repeat=column.repeat * self.n, delay=column.delay * self.n)
      for column in block.columns
    )
    return (dataclasses.replace(block, columns=columns),)


def one_block(outer: cells.Part, part: cells.Part, specs: Specs) -> cells.Block:
  """Returns the block of a part inside Columns or Repeat, which must be a single block."""
  blocks = part.grammar(specs).blocks if isinstance(part, cells.Part) else ()
  if len(blocks) != 1 or blocks[0].tags:
    raise LayoutError(
      f"{type(outer).__name__} cannot hold {part!r}. It takes Flat, Delay, Columns, Repeat, or "
      "Given around one of these."
    )
  return blocks[0]


def _count(items: tuple[int, ...], noun: str) -> str:
  return f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"
