"""The plan: a layout compiled to a finite automaton over rows, so that decoding is a loop over
arrays.

The plan begins after the prompt, in the first row of the first predicted part. In state s, each
column of a row is one of

    PREDICT   a sampled id, of the classes allowed
    HOLE      a hole
    COPY      the cell above
    GIVEN     the cell of the conditioning grid (`layouts.conditioning`), counted from the start
    TIED      a sampled id, drawn after the lead's: its own end exactly if the lead ends here

and the class of the lead column's id chooses the next state. A class is the ids of one codebook of
a stream in a column, or one special.

    Concat(Tag(...), Given(...), Delay("target.codes", (0, 1)), Stop()), a b = codebooks, S = stop

    state   column 0         column 1    next
    0       PREDICT a        HOLE        1
    1       PREDICT a or S   PREDICT b   1 after a, 2 after S       (column 0 leads)
    2       HOLE             PREDICT S   end

So no predicted part is empty, none ends inside a frame, and a column of delay d ends d rows after
the lead. If several blocks may follow, the class of the lead's cell selects one: after a frame of
speech in `Interleave`, more speech, text, or the stop. Each example has two registers for counting
(`Plan.count_SC`): if two parts in sequence hold levels of one stream, the second must have as many
frames as the first, and `Infill` predicts as many spans as its prompt has places.
"""

import collections
import dataclasses
import enum
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from audiopalm.errors import LayoutError
from audiopalm.layouts import cells, placing, recovery
from audiopalm.tokens.space import TokenSpace
from audiopalm.types import HOLE, Grid


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


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
  """The automaton of a layout as arrays. S states, K columns, C classes, V ids of the longest
  column.

  A step in state s: draw the lead column if it is predicted, then the others; let c be the class of
  the lead's cell (0 where lead_S[s] is -1). Apply count_SC[s, c] to the registers; go to next_SC[s,
  c], or to empty_SC[s, c] if the count dropped to 0. The register `length` starts at
  `length_in(prompt)`, `left` with it.

  A PREDICT column k may take the ids v with allowed_SKC[s, k, class_KV[k, v]]; a TIED column only
  those with ends_KC[k, class] equal to ends_KC[lead, c].
  """

  start: int  # state of the first row after the prompt
  end: int  # absorbing: all holes, nothing more to decode
  class_KV: np.ndarray  # int32, -1 for padding rows
  ends_KC: np.ndarray  # bool: the class is a special, which ends a column
  mode_SK: np.ndarray  # int8, see Mode
  allowed_SKC: np.ndarray  # bool, all False unless PREDICT or TIED
  lead_S: np.ndarray  # int32, -1 if there is only one next state
  next_SC: np.ndarray  # int32
  count_SC: np.ndarray  # int8, see Count; all KEEP in most plans
  empty_SC: np.ndarray  # int32
  # The initial `length`: the frames of this given stream, or the places of `cells.SPANS`; '' for 0.
  counted: str
  layout: cells.Part
  space: TokenSpace

  @property
  def counts(self) -> bool:
    """Whether the plan uses the registers."""
    return bool(self.count_SC.any())

  def after(self, registers: tuple[int, int, int], row_K: np.ndarray) -> tuple[int, int, int]:
    """Returns (state, length, left) after a row."""
    state, length, left = registers
    lead = self.lead_S[state]
    c = self.class_KV[lead, row_K[lead]] if lead >= 0 else 0
    count = self.count_SC[state, c]
    if count == Count.DROP and left == 1:
      return int(self.empty_SC[state, c]), length, length
    if count in (Count.FIRST, Count.GROW):
      length = left = 1 if count == Count.FIRST else length + 1
    return int(self.next_SC[state, c]), length, left - int(count == Count.DROP)

  def length_in(self, prompt: Grid) -> int:
    """Returns the initial value of the registers: the frames of the counted stream in the
    prompt."""
    if not self.counted:
      return 0
    placement = placing.place(self.layout, self.space)
    readings = recovery.read_blocks(placement, prompt.tokens_LK.astype(np.int64))
    if self.counted == cells.SPANS and readings[-1].number == placement.given_blocks - 1:
      return sum(reading.block.counts == "place" for reading in readings)
    for reading in readings:
      for column in reading.block.columns:
        if column.name == self.counted:
          return reading.cell_rows // column.frame_rows
    raise LayoutError(f"The prompt ends before {self.counted!r}. Pass the whole prompt.")


@functools.lru_cache(maxsize=256)
def compile(layout: cells.Part, space: TokenSpace) -> Plan:
  """Returns the plan that decodes the layout's predicted parts row by row."""
  placement = placing.place(layout, space)
  counting = _count_frames(placement.blocks, placement.given_blocks)
  _check_given_columns(layout, placement.blocks[placement.given_blocks :])
  builder = _Builder(placement.grammar, counting, space)
  start, end = builder.after(placement.given_blocks - 1), _Key("end")
  states = {start: builder.state(start)}
  queue = collections.deque([start])
  while queue:
    for move in states[queue.popleft()].moves.values():
      for key in (move.to, move.empty):
        if key not in states:
          states[key] = builder.state(key)
          queue.append(key)
  number = {key: s for s, key in enumerate(states)}
  most_classes = max(map(len, builder.classes))
  class_KV = np.full((space.columns, max(space.padded)), -1, np.int32)
  ends_KC = np.zeros((space.columns, most_classes), bool)
  for r in space.ranges:
    class_KV[r.column, r.start : r.start + r.size] = builder.classes[r.column][r.stream, r.level]
  for special in space.specials:
    own_class = builder.classes[special.column][special.name]
    class_KV[special.column, special.id] = own_class
    ends_KC[special.column, own_class] = True
  allowed_SKC = np.zeros((len(states), space.columns, most_classes), bool)
  next_SC = np.full((len(states), most_classes), number[end], np.int32)
  empty_SC = next_SC.copy()
  count_SC = np.full(next_SC.shape, Count.KEEP, np.int8)
  for s, state in enumerate(states.values()):
    for k, classes in enumerate(state.classes):
      allowed_SKC[s, k, list(classes)] = True
    for c, move in state.moves.items():
      next_SC[s, c], empty_SC[s, c] = number[move.to], number[move.empty]
      count_SC[s, c] = move.count
  return Plan(
    start=number[start],
    end=number[end],
    class_KV=class_KV,
    ends_KC=ends_KC,
    mode_SK=np.asarray([state.modes for state in states.values()], np.int8),
    allowed_SKC=allowed_SKC,
    lead_S=np.asarray([state.lead for state in states.values()], np.int32),
    next_SC=next_SC,
    count_SC=count_SC,
    empty_SC=empty_SC,
    counted=counting.counted,
    layout=layout,
    space=space,
  )


def _check_given_columns(layout: cells.Part, predicted: Sequence[cells.Block]) -> None:
  for number, block in enumerate(predicted):
    given = [column for column in block.columns if column.given]
    if given and (number or not block.columns[block.lead].given):
      raise LayoutError(
        f"{layout} cannot be decoded row by row: the given stream {given[0].name!r} must stand in "
        "the first predicted part, with a delay of 0, so that its end is known in the row where "
        "the predicted columns end. Change the order or the delays."
      )


def walk(
  plan: Plan,
  choose: Callable[[int, int, np.ndarray], int],
  given_LK: np.ndarray | None = None,
  length: int = 0,
) -> np.ndarray:
  """Returns tokens_LK after the prompt, each id chosen by choose(row, column, allowed ids).

  This is the reference for decoding on a device. `given_LK` is the conditioning grid, `length` is
  `Plan.length_in` of the prompt.
  """
  columns = len(plan.class_KV)
  rows: list[np.ndarray] = []
  registers = plan.start, length, length
  while registers[0] != plan.end:
    state, row_K = registers[0], np.full(columns, HOLE, np.int32)
    lead = int(plan.lead_S[state])
    for k in sorted(range(columns), key=lambda k: k != lead):
      mode = plan.mode_SK[state, k]
      if mode == Mode.COPY:
        row_K[k] = rows[-1][k]
      elif mode == Mode.GIVEN:
        row_K[k] = given_LK[len(rows), k]
      elif mode in (Mode.PREDICT, Mode.TIED):
        allowed_C = plan.allowed_SKC[state, k]
        if mode == Mode.TIED:
          ends = plan.ends_KC[lead, plan.class_KV[lead, row_K[lead]]]
          allowed_C = allowed_C & (plan.ends_KC[k] == ends)
        ids = np.flatnonzero((plan.class_KV[k] >= 0) & allowed_C[plan.class_KV[k]])
        row_K[k] = choose(len(rows), k, ids)
    rows.append(row_K)
    registers = plan.after(registers, row_K)
  return np.stack(rows)


class _Key(NamedTuple):
  """The key of a state: block, phase, row modulo the period, rows since the lead ended."""

  # 'open', 'ended' (the lead ends here or has ended), 'choice' (a successor of the block begins),
  # or 'end'
  phase: str
  block: int = 0
  row: int = 0
  since: int = 0


class _Move(NamedTuple):
  to: _Key
  count: Count = Count.KEEP
  empty: _Key = _Key("end")


class _State(NamedTuple):
  modes: tuple[Mode, ...]
  classes: tuple[set[int], ...]
  lead: int
  moves: Mapping[int, _Move]


class _Counting(NamedTuple):
  """The blocks that count the frames of a stream, and those that must have the counted number."""

  grows: set[int]
  drops: set[int]
  counted: str  # see `Plan`


def _count_frames(blocks: Sequence[cells.Block], given_blocks: int) -> _Counting:
  """Returns what the plan of these blocks must count; LayoutError if that is impossible."""
  grows: set[int] = set()
  drops: set[int] = set()
  counted = held = ""  # the stream counted in the prompt, and the one in the registers
  # The plan ends pieces of a stream, independent of the lengths of other blocks.
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
  return _Counting(grows, drops, counted)


class _Builder:
  """Builds the state of a key."""

  def __init__(self, grammar: cells.Grammar, counting: _Counting, space: TokenSpace):
    self.blocks, self.follows = grammar.blocks, grammar.follows
    self.counting = counting
    keys = [
      [(r.stream, r.level) for r in space.ranges if r.column == k]
      + [s.name for s in space.specials if s.column == k]
      for k in range(space.columns)
    ]
    self.classes = [{key: number for number, key in enumerate(names)} for names in keys]

  def state(self, key: _Key) -> _State:
    if key.phase == "end":
      return self._state([], -1, {0: _Move(key)})
    if key.phase == "choice":
      moves = self._choices(key.block)
      return self._state([(Mode.PREDICT, set(moves))], 0, moves)
    block = self.blocks[key.block]
    if block.mark:
      special = {self.classes[0][block.mark]}
      return self._state([(Mode.PREDICT, special)], -1, {0: self._leave(key.block)})
    row, lead = key.row + key.since, block.lead
    drawn = [self._cell(block, k, row, key) for k in range(len(block.columns))]
    if key.phase == "ended":
      return self._state(drawn, -1, {0: self._after(key)})
    if not row or row % block.period or key.block in self.counting.drops:
      return self._state(drawn, -1, {0: self._on(key)})
    moves = {self._body_class(block, lead, row): self._on(key)}
    if not block.end:
      moves |= self._choices(key.block)
      drawn[lead] = (Mode.PREDICT, set(moves))
      return self._state(drawn, lead, moves)
    for k, column in enumerate(block.columns):
      if column.delay == 0 and not column.given:
        mode = Mode.PREDICT if k == lead else Mode.TIED
        drawn[k] = (mode, drawn[k][1] | {self._end_class(block, k)})
    moves[self._end_class(block, lead)] = self._after(key)
    return self._state(drawn, lead, moves)

  def _state(
    self, drawn: list[tuple[Mode, set[int]]], lead: int, moves: dict[int, _Move]
  ) -> _State:
    holes = [(Mode.HOLE, set())] * (len(self.classes) - len(drawn))
    modes, classes = zip(*drawn, *holes, strict=True)
    return _State(modes, classes, lead, moves)

  def _cell(self, block: cells.Block, k: int, row: int, key: _Key) -> tuple[Mode, set[int]]:
    """Returns mode and classes of a column's cell, without a possible end."""
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

  def _choices(self, number: int) -> dict[int, _Move]:
    """Returns the transitions from the row in which a successor of a block begins, by the class of
    the first cell of its lead."""
    moves = {}
    for following in self.follows[number]:
      block = self.blocks[following]
      if block.mark:
        moves[self.classes[0][block.mark]] = self._leave(following)
      else:
        moves[self._body_class(block, block.lead, 0)] = self._on(_Key("open", following))
    return moves

  def _on(self, key: _Key) -> _Move:
    """Returns the transition to the next row of the block if the lead continues."""
    block, row = self.blocks[key.block], key.row + 1
    grows, drops = (key.block in blocks for blocks in self.counting[:2])
    # States repeat with the period after every column has begun and the first frame is counted.
    unlike = max(1, *block.delays, block.period if grows else 1)
    to = key._replace(row=row if row < unlike else unlike + (row - unlike) % block.period)
    if row % block.period or not (grows or drops):
      return _Move(to)
    if grows:
      return _Move(to, Count.FIRST if row == block.period else Count.GROW)
    return _Move(to, Count.DROP, to._replace(phase="ended") if block.end else self.after(key.block))

  def _after(self, key: _Key) -> _Move:
    """Returns the transition from a row in which the lead ends or has ended."""
    block = self.blocks[key.block]
    longest = max(block.delays)
    if key.since < longest:
      # All numbers of lead rows beyond the longest delay are equivalent: take the fewest whole
      # periods.
      fewest = block.period * max(1, -(-longest // block.period))
      return _Move(_Key("ended", key.block, min(key.row, fewest), key.since + 1))
    return self._leave(key.block)

  def _leave(self, number: int) -> _Move:
    """Returns the transition from a block's last row."""
    follows = self.follows[number]
    if self.blocks[number].counts == "span" and len(follows) > 1:
      more, done = map(self._opened, follows)
      return _Move(more, Count.DROP, done)
    return _Move(self.after(number))

  def after(self, number: int) -> _Key:
    """Returns the state of the first row after a block."""
    follows = self.follows[number]
    return self._opened(follows[0]) if len(follows) == 1 else _Key("choice", number)

  def _opened(self, number: int) -> _Key:
    return _Key("end") if number == len(self.blocks) else _Key("open", number)
