"""Spans moved to the end: written out, drawn, asked for, and refused."""

import collections

import numpy as np
import pytest

from audiopalm import layouts
from audiopalm.errors import LayoutError
from audiopalm.layouts import (
  Columns,
  Concat,
  Delay,
  Flat,
  Given,
  Infill,
  Interleave,
  Stop,
  Tag,
  incremental,
)
from audiopalm.tokens import space as token_space
from audiopalm.types import StreamSpec

UNITS = "source.units"
IDS = {UNITS: np.arange(10)}
# 40 text ids and sep, stop come before; the order is that in which the part writes them.
STOP, MASK_1, MASK_2, MASK_3, END, UNIT = 41, 42, 43, 44, 45, 46


def after_tag(*parts):
  return Concat(Tag("[X]"), *parts, Stop())


def column(grid):
  return [id_ - UNIT if id_ >= UNIT else {41: "#", 42: "M1", 43: "M2", 45: "E"}.get(id_, id_)
          for id_ in grid[3:, 0].tolist()]  # fmt: skip


def answered(layout, space, prompt, units):
  """Returns the prompt and a walk through the plan that says these units where units are due, and
  ends a span, or all, where it cannot."""
  plan = incremental.compile(layout, space)
  units = iter(units)

  def choose(row, k, ids):
    if ids[-1] < UNIT:
      return ids[0]
    unit = next(units)
    return END if unit is None else unit + UNIT

  walked_LK = incremental.walk(plan, choose, None, plan.length_in(prompt))
  return np.concatenate([prompt.tokens_LK, walked_LK])


def test_spans_lie_at_the_end_each_behind_the_mask_that_has_its_place(space_of):
  layout = after_tag(Infill(Flat(UNITS)))
  space = space_of(layout)
  prompt = layouts.prompt(layout, IDS, "[X]", space, holes=[(2, 5), (7, 9)])
  whole_LK = answered(layout, space, prompt, [2, 3, 4, None, 7, 8, None])
  assert column(whole_LK) == [
    0, 1, "M1", 5, 6, "M2", 9, "M1", 2, 3, 4, "E", "M2", 7, 8, "E", "#",
  ]  # fmt: skip
  found = layouts.recover(layout, whole_LK, space)
  assert found.complete and found.streams[UNITS].tolist() == list(range(10))
  weights = layouts.realize(layout, found.streams, "[X]", space, pieces=found.pieces).weights_LK
  # Masks are given; what stays is learned, but for nothing that would be predicted from nothing.
  assert weights[3:, 0].tolist() == [1, 1, 0, 1, 1, 0, 1, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1]
  given = after_tag(Infill(Flat(UNITS), context_loss=False))
  weights = layouts.realize(given, found.streams, "[X]", space_of(given), pieces=found.pieces)
  assert weights.weights_LK[3:, 0].tolist() == [0] * 8 + [1, 1, 1, 1, 0, 1, 1, 1, 1]


def test_delays_are_those_of_each_piece():
  layout = after_tag(Infill(Delay("source.pair", (0, 1)), spans=(1, 1)))
  specs = (
    StreamSpec("text", "text", (9,), None, "t"),
    StreamSpec("pair", "speech", (10, 10), 50.0, "c"),
  )
  space = token_space.build(specs, {"x": layout}, lambda string: [1])
  assert [tuple(special) for special in space.specials] == [
    (0, "sep", 9), (0, "stop", 10), (0, "mask1", 11), (0, "span_end", 12),
    (1, "stop", 0), (1, "span_end", 1),
  ]  # fmt: skip
  frames_TQ = np.stack([np.arange(4), np.arange(4) + 5], axis=1)
  prompt = layouts.prompt(layout, {"source.pair": frames_TQ}, "[X]", space, holes=[(1, 3)])
  a, b = 13, 2
  context = [[1, -1], [a, -1], [-1, b + 5], [11, -1], [a + 3, -1], [-1, b + 8], [11, -1]]
  assert prompt.tokens_LK.tolist() == context
  span = [[a + 1, -1], [a + 2, b + 6], [12, b + 7], [-1, 1], [10, -1]]
  found = layouts.recover(layout, np.asarray(context + span), space)
  assert found.complete and found.streams["source.pair"].tolist() == frames_TQ.tolist()


def test_an_edit_keeps_what_is_around_the_holes(space_of):
  layout = after_tag(Infill(Flat(UNITS)))
  space = space_of(layout)
  prompt = layouts.prompt(layout, IDS, "[X]", space, holes=[(0, 3), (8, 10)])
  assert column(prompt.tokens_LK) == ["M1", 3, 4, 5, 6, 7, "M2", "M1"]
  whole_LK = answered(layout, space, prompt, [11, None, 11, 10, 9, None])
  found = layouts.recover(layout, whole_LK, space)
  assert found.complete and found.streams[UNITS].tolist() == [11, 3, 4, 5, 6, 7, 11, 10, 9]


def test_more_of_a_stream_or_all_of_it_can_be_asked_for(space_of):
  layout = after_tag(Infill(Flat(UNITS)))
  space = space_of(layout)
  more = layouts.prompt(layout, IDS, "[X]", space, holes=[(10, 10)])
  assert column(more.tokens_LK) == [*range(10), "M1", "M1"]
  all_ = layouts.prompt(layout, {}, "[X]", space)
  assert column(all_.tokens_LK) == ["M1", "M1"]
  # An answer that is there is not seen: what is asked is the same.
  assert layouts.prompt(layout, IDS, "[X]", space).tokens_LK.tolist() == all_.tokens_LK.tolist()
  for prompt, before in ((more, list(range(10))), (all_, [])):
    found = layouts.recover(layout, answered(layout, space, prompt, [4, 2, None]), space)
    assert found.complete and found.streams[UNITS].tolist() == [*before, 4, 2]


def drawn(space_of, part, frames, keys):
  """Returns the spans of each key, as (start, stop)."""
  layout = after_tag(part)
  space = space_of(layout)
  spans = []
  for key in range(keys):
    grid = layouts.realize(layout, {UNITS: np.zeros(frames, int)}, "[X]", space, (key,))
    blocks = layout.grammar(space.streams).blocks
    pieces = layouts.recover(layout, grid.tokens_LK, space).pieces
    ends = {number for number, block in enumerate(blocks) if block.end == "span_end"}
    found = [piece.frames for piece in pieces if piece.block in ends]
    spans.append([(each.start, each.stop) for each in found])
  return spans


def test_spans_are_as_many_and_as_long_as_asked_with_gaps_between(space_of):
  counts, places = collections.Counter(), set()
  for spans in drawn(space_of, Infill(Flat(UNITS), (1, 3), (2, 6), 3), 40, 300):
    counts[len(spans)] += 1
    places |= {start for start, _ in spans}
    edges = [(0, 0), *spans, (40, 40)]
    assert all(2 <= stop - start <= 6 for start, stop in spans)
    assert all(after[0] - before[1] >= 3 for before, after in zip(edges, edges[1:], strict=False))
  # Poisson of mean 1, clipped to 1 to 3: 0.736, 0.184 and 0.080 of 300.
  assert counts[1] == pytest.approx(221, abs=25) and counts[3] == pytest.approx(24, abs=15)
  assert {min(places), max(places)} <= {3, 4, 34, 35} and len(places) > 25


def test_a_short_record_has_fewer_spans_or_is_one(space_of):
  part = Infill(Flat(UNITS), (3, 3), (2, 2), 3)
  assert {len(spans) for spans in drawn(space_of, part, 13, 5)} == {2}
  assert drawn(space_of, part, 7, 3) == [[(0, 7)]] * 3
  assert drawn(space_of, part, 1, 1) == [[(0, 1)]]


def test_a_share_of_the_records_is_one_span_to_the_end(space_of):
  part = Infill(Flat(UNITS), to_end=0.5)
  ended = [s for spans in drawn(space_of, part, 30, 200) for s in spans if s[1] == 30]
  assert len(ended) == pytest.approx(100, abs=25)
  assert min(ended) == (0, 30) and max(ended)[0] > 25


@pytest.mark.parametrize(
  "make, text",
  [
    (lambda: Infill(UNITS), "Infill cannot hold 'source.units': its spans are those of one stream"),
    (
      lambda: Infill(Given(Flat(UNITS))),
      "It takes Flat or Delay; what is given with it stands bef",
    ),
    (
      lambda: Infill(Flat(UNITS), spans=(1, 2, 3)),
      "Infill has spans=(1, 2, 3). Give (least, most)",
    ),
    (lambda: Infill(Flat(UNITS), frames=(0, 2)), "Infill has frames=(0, 2)"),
    (lambda: Infill(Flat(UNITS), gap=0), "Infill has gap=0. Give an integer >= 1, in frames"),
    (lambda: Infill(Flat(UNITS), to_end=1.5), "to_end=1.5. Give a fraction of the records, 0 to 1"),
  ],
)
def test_a_part_says_what_it_was_given_wrongly(make, text):
  with pytest.raises(LayoutError) as error:
    make()
  assert text in str(error.value)


@pytest.mark.parametrize(
  "holes, text",
  [
    ([(3, 2)], "'source.units' has 10 frames and holes=[(3, 2)]. Give (start, stop) of each in or"),
    ([(2, 5), (5, 6)], "with frames between them"),
    ([(4, 4)], "a hole without frames can only be at the end"),
    ([(8, 11)], "has 10 frames and holes=[(8, 11)]"),
    ([(1, 2), (3, 4), (5, 6), (7, 8)], "4 holes came, but Infill("),
    ([], "0 holes came"),
  ],
)
def test_holes_that_cannot_be_asked_for_say_why(space_of, holes, text):
  layout = after_tag(Infill(Flat(UNITS)))
  with pytest.raises(LayoutError) as error:
    layouts.prompt(layout, IDS, "[X]", space_of(layout), holes=holes)
  assert text in str(error.value)


def test_layouts_without_spans_take_no_holes_and_answers_of_infill_are_not_begun(space_of):
  for part in (Flat(UNITS), Interleave("source.text", UNITS)):
    plain = after_tag(part)
    with pytest.raises(LayoutError, match=r"fills no holes, but holes=\[\(1, 2\)\] came"):
      layouts.prompt(plain, {}, "[X]", space_of(plain), holes=[(1, 2)])
  layout = after_tag(Infill(Flat(UNITS)))
  with pytest.raises(LayoutError, match="cannot be begun: its prompt says all that is given"):
    layouts.begin(layout, {}, IDS, "[X]", space_of(layout))


def test_as_many_spans_as_places_or_it_is_no_grid(space_of):
  layout = after_tag(Infill(Flat(UNITS)))
  tokens = [11, 8, 13, UNIT, MASK_1, UNIT, MASK_2, MASK_1, UNIT, END, STOP]
  with pytest.raises(LayoutError, match="has places for 2 spans of 'source.units', and 1 spans"):
    layouts.recover(layout, np.asarray(tokens)[:, None], space_of(layout))
  tokens = [11, 8, 13, MASK_1, MASK_1, UNIT, END, MASK_2, UNIT]
  with pytest.raises(LayoutError, match="has places for 1 spans of 'source.units', and 2 spans"):
    layouts.recover(layout, np.asarray(tokens)[:, None], space_of(layout))


def test_a_prompt_without_its_first_mask_is_not_whole(space_of):
  layout = after_tag(Infill(Flat(UNITS)))
  space = space_of(layout)
  prompt = layouts.prompt(layout, IDS, "[X]", space, holes=[(2, 5), (7, 9)])
  plan = incremental.compile(layout, space)
  assert plan.length_in(prompt) == 2
  short = type(prompt)(*(array[:-1] for array in vars(prompt).values()))
  with pytest.raises(LayoutError, match="The prompt ends before 'spans'"):
    plan.length_in(short)


def test_spans_and_frames_cannot_both_be_counted(space_of):
  levels = layouts.CoarseFirst("a.codes", (0, 1))
  layout = after_tag(levels, Infill(Flat(UNITS)))
  with pytest.raises(LayoutError, match="has a Given part after its first predicted part"):
    space_of(layout)
  layout = after_tag(Infill(Flat(UNITS)), levels)
  with pytest.raises(LayoutError, match="spans of Infill cannot be counted row by row beside fram"):
    incremental.compile(layout, space_of(layout))


def test_columns_of_several_streams_are_refused(space_of):
  with pytest.raises(LayoutError, match="Infill cannot hold Columns"):
    space_of(after_tag(Infill(Columns(Flat(UNITS), Flat("source.text")))))


def test_a_part_that_arranges_without_saying_how_is_named():
  class Shuffled(Flat):
    arranges = True

  part = Shuffled("target.units")
  calls = {
    "pieces": lambda: part.pieces({}, {}, np.random.default_rng(0)),
    "asked": lambda: part.asked({}, None),
    "most_rows": lambda: part.most_rows((), {}, None),
  }
  for method, call in calls.items():
    text = rf"Shuffled says that it arranges its blocks, but does not define {method}\(\)\. Define"
    with pytest.raises(LayoutError, match=text):
      call()
