"""The states behind a plan: what each column of a row may hold, and where each row leads.

Rows of a block count from its first. The rows before every column has begun are states of their
own; after that, a row and the one a period later are the same state.
"""

import enum
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from audiopalm.errors import LayoutError
from audiopalm.layouts import cells
from audiopalm.tokens.space import TokenSpace


class Mode(enum.IntEnum):
  PREDICT = 0
  HOLE = 1
  COPY = 2
  GIVEN = 3
  TIED = 4


class Count(enum.IntEnum):
  KEEP = 0
  FIRST = 1  # length = left = 1
  GROW = 2  # length += 1, left = length
  DROP = 3  # left -= 1; at 0 the next state is the empty one and left = length again


class Key(NamedTuple):
  """Names a state: phase of a block, row in it modulo its period, rows since the lead ended."""

  # 'open', 'last' (the lead must end), 'ended', 'choice' (one of the block's successors begins), or
  # 'end' of the plan
  phase: str
  block: int = 0
  row: int = 0
  since: int = 0


class Move(NamedTuple):
  to: Key
  count: Count = Count.KEEP
  empty: Key = Key("end")


class State(NamedTuple):
  modes: tuple[Mode, ...]
  classes: tuple[set[int], ...]
  lead: int
  moves: Mapping[int, Move]


class Counting(NamedTuple):
  """Which blocks count the frames of a stream, and which must have as many as were counted."""

  grows: set[int]
  drops: set[int]
  counted: str  # see `incremental.Plan`


def counting(blocks: Sequence[cells.Block], given_blocks: int) -> Counting:
  """Returns what the plan of these blocks must count; LayoutError where it cannot."""
  grows: set[int] = set()
  drops: set[int] = set()
  counted = held = ""  # the stream that begins with frames of the prompt; that of the registers
  # Pieces of a stream end where the plan says, not where another block of it did.
  names = [set() if b.part else {column.name for column in b.streams} for b in blocks]
  predicted = range(given_blocks, len(blocks))
  free = [n for n in predicted if not blocks[n].columns[blocks[n].lead].given]
  for n in predicted:
    bound = names[n] & set().union(*names[:n])
    binding = names[n] & set().union(*(names[later] for later in free if later > n))
    if n in free and bound:
      name = held if held in bound else min(bound)
      if not held and name in set().union(*names[:given_blocks]):
        counted = held = name
      if name != held:
        raise LayoutError(
          f"The part of {name!r} that comes second cannot be decoded row by row: another stream "
          "was counted since the first. Put the two parts next to each other."
        )
      drops.add(n)
    elif binding:
      held = min(binding)
      grows.add(n)
    else:
      continue
    if blocks[n].period != next(c.frame_rows for c in blocks[n].columns if c.name == held):
      raise LayoutError(
        f"The frames of {held!r} cannot be counted row by row: the streams beside it have longer "
        "frames. Give the streams of these Columns frames of one length."
      )
  if any(block.counts for block in blocks):
    if grows or drops:
      raise LayoutError(
        f"The spans of Infill cannot be counted row by row beside frames of {held!r}. Let that "
        "stream lie in one part."
      )
    counted = cells.SPANS
  return Counting(grows, drops, counted)


class Builder:
  """Makes the state of a key."""

  def __init__(self, grammar: cells.Grammar, counting: Counting, space: TokenSpace):
    self.blocks, self.follows = grammar.blocks, grammar.follows
    self.counting = counting
    keys = [
      [(r.stream, r.level) for r in space.ranges if r.column == k]
      + [s.name for s in space.specials if s.column == k]
      for k in range(space.columns)
    ]
    self.classes = [{key: number for number, key in enumerate(names)} for names in keys]

  def state(self, key: Key) -> State:
    if key.phase == "end":
      return self._state([], -1, {0: Move(key)})
    if key.phase == "choice":
      moves = self._choices(key.block)
      return self._state([(Mode.PREDICT, set(moves))], 0, moves)
    block = self.blocks[key.block]
    if block.mark:
      special = {self.classes[0][block.mark]}
      return self._state([(Mode.PREDICT, special)], -1, {0: self._leave(key.block)})
    row, lead = key.row + key.since, block.lead
    drawn = [self._cell(block, k, row, key) for k in range(len(block.columns))]
    begun = [k for k, c in enumerate(block.columns) if c.delay == 0 and not c.given]
    if key.phase != "open":
      if key.phase == "last":
        for k in begun:
          drawn[k] = (Mode.PREDICT, {self._end_class(block, k)})
      return self._state(drawn, -1, {0: self._after(key)})
    if not row or row % block.period or key.block in self.counting.drops:
      return self._state(drawn, -1, {0: self._on(key)})
    moves = {self._body_class(block, lead, row): self._on(key)}
    if not block.end:
      moves |= self._choices(key.block)
      drawn[lead] = (Mode.PREDICT, set(moves))
      return self._state(drawn, lead, moves)
    for k in begun:
      mode = Mode.PREDICT if k == lead else Mode.TIED
      drawn[k] = (mode, drawn[k][1] | {self._end_class(block, k)})
    moves[self._end_class(block, lead)] = self._after(key)
    return self._state(drawn, lead, moves)

  def _state(self, drawn: list[tuple[Mode, set[int]]], lead: int, moves: dict[int, Move]) -> State:
    holes = [(Mode.HOLE, set())] * (len(self.classes) - len(drawn))
    modes, classes = zip(*drawn, *holes, strict=True)
    return State(modes, classes, lead, moves)

  def _cell(self, block: cells.Block, k: int, row: int, key: Key) -> tuple[Mode, set[int]]:
    """Returns mode and classes of a column's cell, its end in the lead's last row left aside."""
    column = block.columns[k]
    cell = row - column.delay
    if cell < 0 or (key.phase == "ended" and cell > key.row):
      return Mode.HOLE, set()
    if column.given:
      return Mode.GIVEN, set()
    if key.phase == "ended" and cell == key.row:
      return Mode.PREDICT, {self._end_class(block, k)}
    if cell % column.repeat:
      return Mode.COPY, set()
    return Mode.PREDICT, {self._body_class(block, k, cell)}

  def _body_class(self, block: cells.Block, k: int, cell: int) -> int:
    column = block.columns[k]
    level = column.levels[cell // column.repeat % len(column.levels)]
    return self.classes[k][column.spec.name, level]

  def _end_class(self, block: cells.Block, k: int) -> int:
    return self.classes[k][block.end_name(k)]

  def _choices(self, number: int) -> dict[int, Move]:
    """Returns the moves out of the row in which a successor of a block begins, by the class of the
    first cell of its lead."""
    moves = {}
    for following in self.follows[number]:
      block = self.blocks[following]
      if block.mark:
        moves[self.classes[0][block.mark]] = self._leave(following)
      else:
        moves[self._body_class(block, block.lead, 0)] = self._on(Key("open", following))
    return moves

  def _on(self, key: Key) -> Move:
    """Returns the move to the next row of the block, the lead going on."""
    block, row = self.blocks[key.block], key.row + 1
    grows, drops = (key.block in blocks for blocks in self.counting[:2])
    # States repeat with the period once every column has begun, and the first frame is counted.
    unlike = max(1, *block.delays, block.period if grows else 1)
    to = key._replace(row=row if row < unlike else unlike + (row - unlike) % block.period)
    if row % block.period or not (grows or drops):
      return Move(to)
    if grows:
      return Move(to, Count.FIRST if row == block.period else Count.GROW)
    return Move(to, Count.DROP, to._replace(phase="last") if block.end else self.after(key.block))

  def _after(self, key: Key) -> Move:
    """Returns the move out of a row in which the lead ends or has ended."""
    block = self.blocks[key.block]
    longest = max(block.delays)
    if key.since < longest:
      # Lead rows beyond the longest delay all look alike: take the fewest that are whole periods.
      fewest = block.period * max(1, -(-longest // block.period))
      return Move(Key("ended", key.block, min(key.row, fewest), key.since + 1))
    return self._leave(key.block)

  def _leave(self, number: int) -> Move:
    """Returns the move out of a block's last row."""
    follows = self.follows[number]
    if self.blocks[number].counts == "span" and len(follows) > 1:
      more, done = map(self._opened, follows)
      return Move(more, Count.DROP, done)
    return Move(self.after(number))

  def after(self, number: int) -> Key:
    """Returns the state of the first row after a block."""
    follows = self.follows[number]
    return self._opened(follows[0]) if len(follows) == 1 else Key("choice", number)

  def _opened(self, number: int) -> Key:
    return Key("end") if number == len(self.blocks) else Key("open", number)
