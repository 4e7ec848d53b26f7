"""The plan: a layout as a finite automaton over rows, so that decoding is one loop over arrays.

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
the lead. Where several blocks may follow, the class of the lead says which one begins: after a
frame of speech in `Interleave`, more speech, text, or the stop. Two registers per example count,
see `Plan.count_SC`: where two parts in sequence hold levels of one stream, the second must have as
many frames as the first; and `Infill` predicts as many spans as its prompt has places for.
"""

import collections
import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from audiopalm.errors import LayoutError
from audiopalm.layouts import automaton, cells, placing, recovery
from audiopalm.tokens.space import TokenSpace
from audiopalm.types import HOLE, Grid


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
  """A layout's automaton as arrays. S states, K columns, C classes, V ids of the longest column.

  A step in state s: draw the lead column if it is predicted, then the others; let c be the class of
  the lead's cell (0 where lead_S[s] is -1). Apply count_SC[s, c] to the registers; go to next_SC[s,
  c], or to empty_SC[s, c] if the count dropped to 0. The register `length` starts at
  `length_in(prompt)`, `left` with it.

  A PREDICT column k may take the ids v with allowed_SKC[s, k, class_KV[k, v]]; a TIED one those of
  them for which ends_KC[k, class] equals ends_KC[lead, c].
  """

  start: int  # state of the first row after the prompt
  end: int  # absorbing: all holes, nothing more to decode
  class_KV: np.ndarray  # int32, -1 for rows that only pad
  ends_KC: np.ndarray  # bool: the class is a special, which ends a column
  mode_SK: np.ndarray  # int8, see Mode
  allowed_SKC: np.ndarray  # bool, all False unless PREDICT or TIED
  lead_S: np.ndarray  # int32, -1 where the next state is certain
  next_SC: np.ndarray  # int32
  count_SC: np.ndarray  # int8, see Count; all KEEP in most plans
  empty_SC: np.ndarray  # int32
  # What `length` starts with: frames of this given stream, places of `cells.SPANS`; '' for nothing.
  counted: str
  layout: cells.Part
  space: TokenSpace

  @property
  def counts(self) -> bool:
    """Whether the registers are needed at all."""
    return bool(self.count_SC.any())

  def length_in(self, prompt: Grid) -> int:
    """Returns what the registers start with: the frames of the counted stream in the prompt."""
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
    raise LayoutError(f"The prompt breaks off before {self.counted!r}. Give it whole.")


@functools.lru_cache(maxsize=256)
def compile(layout: cells.Part, space: TokenSpace) -> Plan:
  """Returns the plan that decodes the layout's predicted parts row by row."""
  placement = placing.place(layout, space)
  counting = automaton.counting(placement.blocks, placement.given_blocks)
  _check_given_columns(layout, placement.blocks[placement.given_blocks :])
  builder = automaton.Builder(placement.grammar, counting, space)
  start, end = builder.after(placement.given_blocks - 1), automaton.Key("end")
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
  count_SC = np.full(next_SC.shape, automaton.Count.KEEP, np.int8)
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
  """Returns tokens_LK after the prompt, each id by choose(row, column, allowed ids).

  The reference that decoding on a device is held to. `given_LK` is the conditioning grid, `length`
  what `Plan.length_in` says of the prompt.
  """
  columns = len(plan.class_KV)
  rows: list[np.ndarray] = []
  state, left = plan.start, length
  while state != plan.end:
    row_K = np.full(columns, HOLE, np.int32)
    lead = int(plan.lead_S[state])
    class_of_lead = 0
    for k in sorted(range(columns), key=lambda k: k != lead):
      mode = plan.mode_SK[state, k]
      if mode == automaton.Mode.COPY:
        row_K[k] = rows[-1][k]
      elif mode == automaton.Mode.GIVEN:
        row_K[k] = given_LK[len(rows), k]
      elif mode in (automaton.Mode.PREDICT, automaton.Mode.TIED):
        allowed_C = plan.allowed_SKC[state, k]
        if mode == automaton.Mode.TIED:
          allowed_C = allowed_C & (plan.ends_KC[k] == plan.ends_KC[lead, class_of_lead])
        ids = np.flatnonzero((plan.class_KV[k] >= 0) & allowed_C[plan.class_KV[k]])
        row_K[k] = choose(len(rows), k, ids)
      if k == lead:
        class_of_lead = int(plan.class_KV[k, row_K[k]])
    rows.append(row_K)
    count = plan.count_SC[state, class_of_lead]
    following = int(plan.next_SC[state, class_of_lead])
    if count == automaton.Count.FIRST:
      length = left = 1
    elif count == automaton.Count.GROW:
      length = left = length + 1
    elif count == automaton.Count.DROP:
      left -= 1
      if left == 0:
        following, left = int(plan.empty_SC[state, class_of_lead]), length
    state = following
  return np.stack(rows)
