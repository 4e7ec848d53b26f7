"""The plan accepts what `realize` makes and makes only what `recover` reads."""

import numpy as np
import pytest

from audiopalm import layouts
from audiopalm.errors import LayoutError
from audiopalm.layouts import (
  CoarseFirst,
  Columns,
  Concat,
  Delay,
  Flat,
  Given,
  Stop,
  Tag,
  incremental,
)
from audiopalm.tokens import space as token_space
from audiopalm.types import StreamSpec

Mode = incremental.Mode


def inputs_of(case, streams, grid):
  """Returns (prompt, conditioning) as decoding gets them: from given streams alone."""
  given = {name: streams[name] for name in layouts.given_streams(case.layout)}
  return case.prompt(streams, grid), layouts.conditioning(case.layout, given, case.space)


def test_the_plan_accepts_every_realized_grid(case, rng):
  plan = incremental.compile(case.layout, case.space)
  for _ in range(8):
    streams = case.streams(rng)
    grid = case.realize(streams, rng)
    prompt, given_LK = inputs_of(case, streams, grid)
    predicted_LK = grid.tokens_LK[len(prompt) :]

    def follow(row, k, ids, predicted_LK=predicted_LK):
      assert predicted_LK[row, k] in ids
      return predicted_LK[row, k]

    walked_LK = incremental.walk(plan, follow, given_LK, plan.length_in(prompt))
    np.testing.assert_array_equal(walked_LK, predicted_LK)


def test_every_random_walk_recovers_as_complete(case, rng):
  plan = incremental.compile(case.layout, case.space)
  for _ in range(20):
    streams = case.streams(rng)
    prompt, given_LK = inputs_of(case, streams, case.realize(streams, rng))
    walked_LK = incremental.walk(
      plan, lambda row, k, ids: rng.choice(ids), given_LK, plan.length_in(prompt)
    )
    whole_LK = np.concatenate([prompt.tokens_LK, walked_LK])
    found = layouts.recover(case.layout, whole_LK, case.space)
    assert found.complete
    again = case.again(found)
    np.testing.assert_array_equal(again.tokens_LK, whole_LK)
    for name in layouts.given_streams(case.layout):
      if name not in layouts.predicted_streams(case.layout):
        np.testing.assert_array_equal(found.streams[name], streams[name])


def test_a_walk_in_a_hurry_to_stop_predicts_no_empty_part(case, rng):
  plan = incremental.compile(case.layout, case.space)
  streams = case.streams(rng)
  prompt, given_LK = inputs_of(case, streams, case.realize(streams, rng))

  def eager(row, k, ids):
    ends = ids[plan.ends_KC[k, plan.class_KV[k, ids]]]
    others = ids[plan.class_KV[k, ids] != plan.class_KV[k, ids[0]]]
    return (*ends, *others, *ids)[0]

  walked_LK = incremental.walk(plan, eager, given_LK, plan.length_in(prompt))
  whole_LK = np.concatenate([prompt.tokens_LK, walked_LK])
  found = layouts.recover(case.layout, whole_LK, case.space)
  assert found.complete
  assert all(len(ids) for name, ids in found.streams.items() if name not in case.partly)


def test_only_predicted_and_tied_cells_have_ids_to_choose_from(case):
  plan = incremental.compile(case.layout, case.space)
  drawn_SK = (plan.mode_SK == Mode.PREDICT) | (plan.mode_SK == Mode.TIED)
  np.testing.assert_array_equal(plan.allowed_SKC.any(axis=2), drawn_SK)
  assert not drawn_SK[plan.end].any() and (plan.next_SC[plan.end] == plan.end).all()
  assert (plan.class_KV >= -1).all() and plan.class_KV.shape[0] == case.space.columns


def test_every_state_can_reach_the_end(case):
  plan = incremental.compile(case.layout, case.space)
  reaches = {plan.end}
  while True:
    more = {s for s in range(len(plan.next_SC)) if {*plan.next_SC[s], *plan.empty_SC[s]} & reaches}
    if more <= reaches:
      break
    reaches |= more
  assert len(reaches) == len(plan.next_SC)


def test_a_delayed_part_is_the_table_of_the_docstring():
  layout = Concat(Tag("[X]"), Given(Flat("source.text")), Delay("source.pair", (0, 1)), Stop())
  specs = (
    StreamSpec("text", "text", (9,), None, "t"),
    StreamSpec("pair", "speech", (3, 3), 50.0, "c"),
  )
  space = token_space.build(specs, {"x": layout}, lambda string: [1])
  plan = incremental.compile(layout, space)
  a, b = plan.class_KV[0, space.range_of(0, "pair", 0)[0]], plan.class_KV[1, 1]
  stops = [plan.class_KV[k, space.special("stop", k)] for k in (0, 1)]
  last = plan.end
  allowed = [[np.flatnonzero(row_C).tolist() for row_C in state] for state in plan.allowed_SKC]
  assert plan.mode_SK.tolist()[:2] == [[Mode.PREDICT, Mode.HOLE], [Mode.PREDICT, Mode.PREDICT]]
  assert allowed[0] == [[a], []] and allowed[1] == [sorted([a, stops[0]]), [b]]
  assert plan.lead_S[:2].tolist() == [-1, 0]
  assert plan.next_SC[0, 0] == 1 and plan.next_SC[1, a] == 1
  drain = plan.next_SC[1, stops[0]]
  assert plan.mode_SK[drain].tolist() == [Mode.HOLE, Mode.PREDICT]
  assert allowed[drain] == [[], [stops[1]]] and plan.next_SC[drain, 0] == last


def test_columns_of_one_delay_stop_with_the_lead(space_of):
  layout = Concat(Tag("[X]"), Columns(Flat("left.units"), Flat("right.units")), Stop())
  plan = incremental.compile(layout, space_of(layout))
  assert plan.mode_SK[plan.next_SC[plan.start, 0]].tolist() == [Mode.PREDICT, Mode.TIED]


def test_only_levels_of_one_stream_in_sequence_and_spans_are_counted(case):
  plan = incremental.compile(case.layout, case.space)
  counted = {"audiolm fine": "source.rvq", "audiolm in one": "", "level by level": ""}
  if case.infills and case.name != "infill one":
    counted[case.name] = "spans"
  assert plan.counts == (case.name in counted)
  assert plan.counted == counted.get(case.name, "")


def test_a_prompt_cut_before_what_is_counted_is_an_error(space_of):
  layout = Concat(
    Tag("[X]"),
    Given(Flat("source.text")),
    Given(CoarseFirst("source.codes", (0,))),
    CoarseFirst("source.codes", (1, 2)),
    Stop(),
  )
  space = space_of(layout)
  plan = incremental.compile(layout, space)
  streams = {"source.text": np.arange(2), "source.codes": np.zeros((3, 3), int)}
  prompt = layouts.prompt(layout, streams, "[X]", space)
  assert plan.length_in(prompt) == 3
  short = type(prompt)(prompt.tokens_LK[:5], prompt.weights_LK[:5], prompt.visible_L[:5])
  with pytest.raises(LayoutError, match="The prompt ends before 'source.codes'"):
    plan.length_in(short)


@pytest.mark.parametrize(
  "parts, text",
  [
    (
      (Columns(Flat("own.units"), Given(Delay("user.codes", (1, 1, 1)))),),
      "the given stream 'user.codes' must stand in the first predicted part, with a delay of 0",
    ),
    (
      (Flat("own.text"), Columns(Flat("own.units"), Given(Flat("user.units")))),
      "the given stream 'user.units' must stand in the first predicted part",
    ),
    (
      (
        CoarseFirst("a.codes", (0,)),
        CoarseFirst("b.codes", (0, 1)),
        CoarseFirst("a.codes", (1,)),
      ),
      "The part of 'a.codes' that comes second cannot be decoded row by row: another stream was co",
    ),
    (
      (
        Given(CoarseFirst("a.codes", (0,))),
        Columns(CoarseFirst("a.codes", (1,)), Flat("b.codes")),
      ),
      "The frames of 'a.codes' cannot be counted row by row: the streams beside it have longer fr",
    ),
  ],
)
def test_layouts_that_cannot_be_decoded_say_why(space_of, parts, text):
  layout = Concat(Tag("[X]"), *parts, Stop())
  space = space_of(layout)
  with pytest.raises(LayoutError) as error:
    incremental.compile(layout, space)
  assert text in str(error.value)


def test_long_delays_take_states_by_the_square_of_the_delay_at_most(space_of):
  layout = Concat(Tag("[X]"), Delay("source.rvq", tuple(range(0, 64, 8))), Stop())
  plan = incremental.compile(layout, space_of(layout))
  assert len(plan.next_SC) <= 57 * 58 + 1
