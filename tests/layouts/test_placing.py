"""The grid `realize` makes, its beginning, its length, and the streams it refuses."""

import dataclasses
import functools

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
  Repeat,
  Stop,
  Tag,
  placing,
  recovery,
)
from audiopalm.tokens import space as token_space
from audiopalm.types import HOLE, StreamSpec

MT = Concat(Tag("[X]"), Given(Flat("source.text")), Flat("target.text"), Stop())


def test_a_grid_knows_how_long_its_prompt_is(case, rng):
  for _ in range(5):
    streams = case.streams(rng)
    grid = case.realize(streams, rng)
    prompt, first = case.prompt(streams, grid), grid.first(grid.prompt_rows)
    assert len(first) == len(prompt) == prompt.prompt_rows
    for field in dataclasses.fields(grid)[:3]:
      np.testing.assert_array_equal(getattr(first, field.name), getattr(prompt, field.name))


def test_weights_are_zero_on_given_cells_and_holes(case, rng):
  for _ in range(5):
    grid = case.grid(rng)
    assert not grid.weights_LK[grid.tokens_LK == HOLE].any()
    assert set(np.unique(grid.weights_LK)) == {0.0, 1.0}
    placement = placing.place(case.layout, case.space)
    for reading in recovery.read_blocks(placement, grid.tokens_LK.astype(np.int64)):
      for k, column in enumerate(reading.block.columns):
        weights_L = grid.weights_LK[reading.top : reading.bottom, k]
        assert column.has_weight == weights_L.any()


def test_the_first_row_is_never_predicted(case, rng):
  assert not case.grid(rng).weights_LK[0].any()


def test_every_predicted_column_learns_its_stop(case, rng):
  grid = case.grid(rng)
  last = case.layout.grammar(case.space.streams).blocks[-1]
  for k, column in enumerate(last.columns):
    rows = np.flatnonzero(grid.tokens_LK[:, k] == case.space.special("stop", k))
    assert rows[-1] == np.flatnonzero(grid.tokens_LK[:, k] != HOLE)[-1]
    assert grid.weights_LK[rows[-1], k] == (not column.given)


def test_rows_equals_the_length_of_realize_or_the_most_that_may_be_drawn(case, rng):
  many = []
  for _ in range(5):
    streams = case.streams(rng)
    lengths = {name: len(ids) for name, ids in streams.items()}
    count = len(case.realize(streams, rng))
    rows = layouts.rows(case.layout, lengths, case.tag, case.space)
    assert rows == count or (case.layout.arranges and rows >= count)
    many.append((lengths, rows))
  together = {name: np.asarray([lengths[name] for lengths, _ in many]) for name in many[0][0]}
  np.testing.assert_array_equal(
    layouts.rows(case.layout, together, case.tag, case.space), [count for _, count in many]
  )


def test_prompt_is_the_beginning_of_realize_and_needs_only_given_streams(case, rng):
  streams = case.streams(rng)
  grid = case.realize(streams, rng)
  prompt = case.prompt(streams, grid)
  count = len(prompt)
  assert 0 < count < len(grid)
  np.testing.assert_array_equal(prompt.tokens_LK, grid.tokens_LK[:count])
  np.testing.assert_array_equal(prompt.visible_L, grid.visible_L[:count])
  np.testing.assert_array_equal(prompt.weights_LK, grid.weights_LK[:count])
  assert grid.weights_LK[count:].any() and (case.infills or not prompt.weights_LK.any())


def test_rows_is_the_longest_that_any_key_gives(case, rng):
  """So packing wastes as little as can be: with the words of a record, where words are drawn."""
  for _ in range(3):
    streams = case.streams(rng)
    word_ends = case.word_ends(rng, streams)
    lengths = {name: len(ids) for name, ids in streams.items()}
    most = layouts.rows(case.layout, lengths, case.tag, case.space, word_ends=word_ends)
    made = functools.partial(layouts.realize, case.layout, streams, case.tag, case.space)
    keys = range(200 if case.layout.arranges else 1)
    assert most == max(len(made((key,), word_ends=word_ends)) for key in keys)
    assert most <= layouts.rows(case.layout, lengths, case.tag, case.space)


def test_conditioning_holds_the_given_columns_beside_the_predicted_ones(space_of):
  layout = Concat(
    Tag("[X]"), Columns(Given(Repeat(Flat("source.units"), 2)), Delay("source.codes", (0, 0, 0))),
    Stop(),
  )  # fmt: skip
  space = space_of(layout)
  first = space.range_of(0, "units")[0]
  tokens_LK = layouts.conditioning(layout, {"source.units": np.arange(2)}, space)
  stop = space.special("stop")
  assert tokens_LK[:, 0].tolist() == [first, first, first + 1, first + 1, stop]
  assert (tokens_LK[:, 1:] == HOLE).all()
  assert len(layouts.conditioning(MT, {}, space_of(MT))) == 0


def test_a_delayed_part_with_its_stops_written_out(space_of):
  layout = Concat(Tag("[X]"), Given(Flat("source.text")), Delay("source.codes", (0, 1, 2)), Stop())
  space = space_of(layout)
  streams = {"source.text": np.asarray([7]), "source.codes": np.asarray([[0, 1, 2], [3, 4, 5]])}
  grid = layouts.realize(layout, streams, "[X]", space)
  # Column 0: 40 text ids, sep 40, stop 41, then codes; columns 1 and 2: stop 0, then codes.
  assert grid.tokens_LK.tolist() == [
    [11, -1, -1],
    [8, -1, -1],
    [13, -1, -1],
    [40, -1, -1],
    [7, -1, -1],
    [42, -1, -1],
    [45, 2, -1],
    [41, 5, 3],
    [-1, 0, 6],
    [-1, -1, 0],
  ]
  assert grid.weights_LK.tolist() == [[0, 0, 0]] * 5 + [
    [1, 0, 0],
    [1, 1, 0],
    [1, 1, 1],
    [0, 1, 1],
    [0, 0, 1],
  ]
  assert grid.tokens_LK.dtype == np.int32 and grid.weights_LK.dtype == np.float32
  assert grid.visible_L.dtype == np.int32 and not grid.visible_L.any()


def test_sep_is_given_up_to_the_last_given_part_and_predicted_after_it(space_of):
  layout = Concat(
    Tag("[X]"), Given(Flat("source.text")), Flat("target.text"), Flat("reply.text"), Stop()
  )
  streams = {name: np.asarray([1, 2]) for name in layouts.stream_names(layout)}
  grid = layouts.realize(layout, streams, "[X]", space_of(layout))
  seps = np.flatnonzero(grid.tokens_LK[:, 0] == 40)
  assert seps.tolist() == [3, 6, 9]
  assert grid.weights_LK[seps, 0].tolist() == [0, 0, 1]


def test_copies_of_a_repeated_row_are_not_predicted(space_of):
  layout = Concat(Tag("[X]"), Repeat(Flat("source.units"), 2), Stop())
  grid = layouts.realize(layout, {"source.units": np.asarray([5, 6])}, "[X]", space_of(layout))
  assert grid.weights_LK[-5:, 0].tolist() == [1, 0, 1, 0, 1]


def test_both_ways_numbers_the_rows_of_given_parts_block_by_block(space_of):
  layout = Concat(
    Tag("[X]"),
    Given(Flat("source.units"), both_ways=True),
    Given(Flat("source.phones")),
    Given(Flat("source.text"), both_ways=True),
    Flat("target.text"),
    Stop(),
  )
  streams = {name: np.asarray([1, 2]) for name in layouts.stream_names(layout)}
  grid = layouts.realize(layout, streams, "[X]", space_of(layout))
  assert grid.visible_L.tolist() == [0, 0, 0, 1, 1, 0, 0, 2, 2, 0, 0, 0, 0]


def test_columns_the_layout_leaves_free_are_holes():
  specs = (
    StreamSpec("text", "text", (9,), None, "t"),
    StreamSpec("codes", "speech", (3, 3), 50.0, "c"),
  )
  narrow = Concat(Tag("[X]"), Flat("source.text"), Stop())
  wide = Concat(Tag("[X]"), Delay("source.codes", (0, 1)), Stop())
  space = token_space.build(specs, {"narrow": narrow, "wide": wide}, lambda string: [1])
  tokens_LK = layouts.realize(narrow, {"source.text": np.arange(3)}, "[X]", space).tokens_LK
  assert tokens_LK.shape[1] == 2 and (tokens_LK[:, 1] == HOLE).all()
  assert layouts.recover(narrow, tokens_LK, space).complete
  tokens_LK[2, 1] = 1
  with pytest.raises(LayoutError, match=r"Row 2, column 1: expected a hole \(-1\), found id 1"):
    layouts.recover(narrow, tokens_LK, space)


GOOD = {"source.text": np.arange(3), "target.text": np.arange(2)}


@pytest.mark.parametrize(
  "changed, tag, text",
  [
    ({"source.text": np.zeros(0, np.int32)}, "[X]", "Empty text: the stream 'source.text' holds"),
    ({"source.text": np.asarray([0, 40])}, "[X]", 'holds ids 0 to 40, but tokenizer "text" has'),
    ({"source.text": np.asarray([-1])}, "[X]", "'source.text' holds ids -1 to -1"),
    ({"source.text": np.asarray([2**40])}, "[X]", "'source.text' holds ids 2147483647 to"),
    ({"source.text": np.asarray([0.5])}, "[X]", "holds float64, expected integers [T]"),
    ({"source.text": np.zeros((2, 2), int)}, "[X]", "has shape [2, 2], expected [T] from tokeni"),
    ({"source.text": None}, "[X]", "needs the stream 'source.text'; given were: target.text."),
    ({}, "[Y]", "The layout cannot write the tag '[Y]'. Known tags: '[X]'."),
  ],
)
def test_streams_that_do_not_fit_are_errors_that_say_why(space_of, changed, tag, text):
  streams = {name: ids for name, ids in {**GOOD, **changed}.items() if ids is not None}
  with pytest.raises(LayoutError) as error:
    layouts.realize(MT, streams, tag, space_of(MT))
  assert text in str(error.value)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64, np.uint64])
def test_ids_of_any_integer_type_are_taken(space_of, dtype):
  streams = {name: ids.astype(dtype) for name, ids in GOOD.items()}
  expected = layouts.realize(MT, GOOD, "[X]", space_of(MT)).tokens_LK
  np.testing.assert_array_equal(
    layouts.realize(MT, streams, "[X]", space_of(MT)).tokens_LK, expected
  )


def test_empty_speech_is_named_as_such(space_of):
  layout = Concat(Tag("[X]"), Delay("source.codes", (0, 1, 2)), Stop())
  with pytest.raises(LayoutError, match="Empty codes: the stream 'source.codes' holds no ids"):
    streams = {"source.codes": np.zeros((0, 3), np.int32)}
    layouts.realize(layout, streams, "[X]", space_of(layout))
  with pytest.raises(LayoutError, match="Empty codes"):
    layouts.rows(layout, {"source.codes": 0}, "[X]", space_of(layout))


def test_columns_of_different_lengths_are_an_error_that_names_them(space_of):
  layout = Concat(Tag("[X]"), Columns(Flat("left.units"), Flat("right.units")), Stop())
  text = "different lengths in rows: 'left.units' takes 3, 'right.units' takes 2."
  streams = {"left.units": np.arange(3), "right.units": np.arange(2)}
  with pytest.raises(LayoutError, match=text):
    layouts.realize(layout, streams, "[X]", space_of(layout))
  with pytest.raises(LayoutError, match=text):
    layouts.rows(layout, {"left.units": 3, "right.units": 2}, "[X]", space_of(layout))


def test_rows_names_a_stream_without_length(space_of):
  with pytest.raises(LayoutError, match="needs the stream 'target.text'; given were: source.text"):
    layouts.rows(MT, {"source.text": 3}, "[X]", space_of(MT))


def test_a_space_built_for_other_layouts_is_an_error(space_of):
  other = Concat(Tag("[X]"), Flat("source.units"), Stop())
  with pytest.raises(LayoutError, match="Column 0 .* no range for stream 'units' level 0; it has"):
    layouts.realize(other, {"source.units": np.arange(3)}, "[X]", space_of(MT))


def test_spaces_that_differ_are_not_mixed_up_by_the_cache(space_of):
  space = space_of(MT)
  other = dataclasses.replace(space, tags={"[X]": (1, 2, 3, 4)})
  assert len(layouts.realize(MT, GOOD, "[X]", space)) + 1 == len(
    layouts.realize(MT, GOOD, "[X]", other)
  )
