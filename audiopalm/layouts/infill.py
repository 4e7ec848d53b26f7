"""Infilling: spans of a stream are predicted last, given everything around them."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from audiopalm.errors import LayoutError
from audiopalm.layouts import cells, columns
from audiopalm.tokens.space import Specs

END = "span_end"  # the special that ends a span, in every column; "maskN" marks its place


@dataclasses.dataclass(frozen=True)
class Infill(cells.Part):
  """A part with spans moved to its end: `maskN` marks the place of the N-th span, and precedes it.

      Infill(Flat("source.units")), two spans        u0 u1  mask1  u5 u6  mask2  u9
                                                     mask1  u2 u3 u4  span_end
                                                     mask2  u7 u8     span_end

  The context is given, the spans are predicted; with `context_loss` the context is learned too.
  Delays are applied to each piece separately, and `span_end` ends every column. The number of spans
  of a record is drawn from a Poisson distribution of mean 1, limited to `spans` (least, most). Each
  has `frames` (least, most) frames, with at least `gap` frames before, between and after them. All
  are drawn by the key. Short records have fewer spans, or one span of all frames if there is no
  room. In a fraction `to_end` of the records one span goes from a random frame to the end, as in
  continuation and in speech without a prompt.

  A prompt may name `holes` in a stream (`layouts.prompt`); else the whole stream is predicted.
  `part` is a Flat or a Delay. Source: VoiceCraft, arXiv:2403.16973, section 3.1.
  """

  arranges = draws = True

  part: cells.Part
  spans: tuple[int, int] = (1, 3)
  frames: tuple[int, int] = (1, 600)
  gap: int = 5
  to_end: float = 0.0
  context_loss: bool = True

  def __post_init__(self):
    if not isinstance(self.part, cells.Part) or len(self.part.names) != 1:
      raise LayoutError(self._cannot_hold)
    for field in ("spans", "frames"):
      cells.check_bounds(self, field)
    if type(self.gap) is not int or self.gap < 1:
      raise LayoutError(f"Infill has gap={self.gap!r}. Give an integer >= 1, in frames.")
    if not 0 <= self.to_end <= 1:
      raise LayoutError(
        f"Infill has to_end={self.to_end!r}. Give a fraction of the records, 0 to 1."
      )

  @property
  def _cannot_hold(self) -> str:
    return (
      f"Infill cannot hold {self.part!r}: its spans are those of one stream. It takes Flat or "
      "Delay; what is given with it stands before it."
    )

  @property
  def _most(self) -> int:
    return self.spans[1]

  @property
  def _first_mask(self) -> int:
    """The number of the block after the context: the mask of the first span."""
    return 1 + 2 * self._most

  @property
  def _name(self) -> str:
    return self.part.names[0]

  def grammar(self, specs: Specs) -> cells.Grammar:
    """Returns context 0, place 1, context 1, place 2, ..., then mask 1, span 1, mask 2, ..."""
    block = columns.one_block(self, self.part, specs)
    if len({column.name for column in block.columns}) > 1 or block.given:
      raise LayoutError(self._cannot_hold)
    # A single span needs no counting.
    place, span = ("place", "span") if self._most > 1 else ("", "")
    context = block.with_columns(given=True, learned=self.context_loss)
    last = dataclasses.replace(block, end=END, end_given=False, counts=span)
    most, first_mask, after = self._most, self._first_mask, 1 + 4 * self._most
    blocks, follows = [context], [(1,)]
    for number in range(1, most + 1):
      blocks += [cells.mark(f"mask{number}", given=True, counts=place), context]
      more = (2 * number + 1,) if number < most else ()
      follows += [(2 * number, first_mask), (*more, first_mask)]
    for number in range(1, most + 1):
      given = {"given": True} if number == 1 else {"learned": False}
      blocks += [cells.mark(f"mask{number}", **given), last]
      more = (first_mask + 2 * number,) if number < most else ()
      follows += [(first_mask + 2 * number - 1,), (*more, after)]
    return cells.Grammar(tuple(blocks), tuple(follows), first=(0, 1))

  def pieces(
    self, streams: cells.Streams, word_ends: cells.WordEnds, random: np.random.Generator
  ) -> list[cells.Piece]:
    count = len(streams[self._name])
    return self._around(self._spans_of(count, random), count, with_spans=True)

  def asked(self, streams: cells.Streams, holes: cells.Holes | None) -> list[cells.Piece]:
    if holes is None:
      return self._around([(0, 0)], 0, with_spans=False)
    count, before = len(streams.get(self._name, ())), -1
    for start, stop in holes:
      if not before < start <= stop <= count or not (start < stop or start == count):
        raise LayoutError(
          f"{self._name!r} has {count} frames and holes={list(holes)}. Give (start, stop) of each "
          "in order, with frames between them; a hole without frames can only be at the end."
        )
      before = stop
    if not 1 <= len(holes) <= self._most:
      raise LayoutError(
        f"{len(holes)} holes came, but {self} knows 1 to {self._most} of them. Ask several times."
      )
    return self._around(holes, count, with_spans=False)

  def most_rows(
    self,
    blocks: Sequence[cells.Block],
    lengths: Mapping[str, cells.Count],
    word_ends: cells.WordEnds | None,
  ) -> cells.Count:
    context, span = blocks[0], blocks[-1]
    frames = lengths[self._name]
    room = (frames - self.gap) // (self.gap + self.frames[0])
    most = np.clip(room, 1, self._most)
    # Without room for a span the whole record is one, without context, except before a span to the
    # end.
    contexts = np.where(room < 1, np.logical_and(self.to_end > 0, frames > 1), most + 1)
    rows = 2 * most + contexts * context.extra_rows + most * span.extra_rows
    return rows + frames * context.columns[0].frame_rows

  def places(self, visited: Sequence[int], whole: bool) -> list[int]:
    first_mask = self._first_mask
    masks = sum(number < first_mask and number % 2 for number in visited)
    spans = sum(number >= first_mask and number % 2 for number in visited)
    if spans > masks or (whole and spans < masks):
      raise LayoutError(
        f"The grid has places for {masks} spans of {self._name!r}, and {spans} spans. This is no "
        "grid of the layout."
      )
    # The N-th span belongs to the N-th place, between the contexts N - 1 and N.
    return [number if number < first_mask else number - first_mask for number in visited]

  def _around(
    self, spans: Sequence[tuple[int, int]], count: int, with_spans: bool
  ) -> list[cells.Piece]:
    """Returns the pieces of a stream of `count` frames: the context, then the spans or only the
    first mask."""
    pieces, before = [], 0
    for number, (start, stop) in enumerate([*spans, (count, count)]):
      if before < start:
        pieces.append(cells.Piece(2 * number, slice(before, start)))
      if number < len(spans):
        pieces.append(cells.Piece(2 * number + 1))
      before = stop
    if not with_spans:
      return [*pieces, cells.Piece(self._first_mask)]
    for number, (start, stop) in enumerate(spans):
      mask = self._first_mask + 2 * number
      pieces += [cells.Piece(mask), cells.Piece(mask + 1, slice(start, stop))]
    return pieces

  def _spans_of(self, count: int, random: np.random.Generator) -> list[tuple[int, int]]:
    """Returns (start, stop) of each span drawn for a stream of `count` frames."""
    if self.to_end and random.random() < self.to_end:
      return [(int(random.integers(count)), count)]
    shortest, longest = self.frames
    wanted = int(np.clip(random.poisson(1.0), *self.spans))
    spans = min(wanted, (count - self.gap) // (self.gap + shortest))
    if spans < 1:
      return [(0, count)]
    free = count - self.gap * (spans + 1) - shortest * spans
    lengths = []
    for _ in range(spans):
      more = int(random.integers(min(longest - shortest, free) + 1))
      lengths.append(shortest + more)
      free -= more
    # The remaining frames are distributed around the spans, all distributions with equal
    # probability.
    bars = np.sort(random.choice(free + spans, spans, replace=False)) - np.arange(spans)
    starts = bars + self.gap * np.arange(1, spans + 1) + np.cumsum([0, *lengths[:-1]])
    return [(int(start), int(start) + n) for start, n in zip(starts, lengths, strict=True)]
