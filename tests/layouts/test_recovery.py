"""`recover` inverts `realize` from the grid alone, and answers any grid: streams or LayoutError."""

import numpy as np
import pytest

from audiopalm import layouts
from audiopalm.errors import LayoutError
from audiopalm.layouts import Concat, Delay, Flat, Given, Stop, Tag
from audiopalm.types import HOLE


def assert_streams(case, found, expected):
  assert set(found) == set(expected)
  blocks = case.layout.grammar(case.space.streams).blocks
  levels = {level for block in blocks for level in block.cells()}
  for name, ids in expected.items():
    stream = name.split(".")[1]
    assert found[name].dtype == np.int32
    if name in case.partly:
      assert len(found[name]) <= len(ids)
      continue
    if ids.ndim == 1:
      np.testing.assert_array_equal(found[name], ids)
    for level in range(ids.shape[1] if ids.ndim == 2 else 0):
      placed = any((stream, level) == cell[1:] for cell in levels)
      np.testing.assert_array_equal(found[name][:, level], ids[:, level] if placed else HOLE)


@pytest.mark.parametrize("ids", ["random", "first", "last"])
def test_recover_inverts_realize_from_the_grid_alone(case, rng, ids):
  for _ in range(10):
    streams = case.streams(rng, ids=ids)
    grid = case.realize(streams, rng)
    found = layouts.recover(case.layout, grid.tokens_LK, case.space)
    assert found.complete and found.tag == case.tag
    assert_streams(case, found.streams, streams)
    again = case.again(found)
    for name in ("tokens_LK", "weights_LK", "visible_L"):
      np.testing.assert_array_equal(getattr(again, name), getattr(grid, name))


def test_recover_inverts_realize_on_a_single_frame(case, rng):
  streams = case.streams(rng, ticks=1)
  grid = case.realize(streams, rng)
  found = layouts.recover(case.layout, grid.tokens_LK, case.space)
  assert found.complete
  assert_streams(case, found.streams, streams)


def test_a_cut_grid_gives_a_prefix_of_each_stream_or_a_layout_error(whole_case, rng):
  case, answers = whole_case, 0
  for _ in range(3):
    streams = case.streams(rng)
    tokens_LK = layouts.realize(case.layout, streams, case.tag, case.space).tokens_LK
    for cut in range(len(tokens_LK)):
      try:
        found = layouts.recover(case.layout, tokens_LK[:cut], case.space)
      except LayoutError:
        continue
      answers += 1
      assert not found.complete and found.tag == case.tag
      prefixes = {name: ids[: len(found.streams[name])] for name, ids in streams.items()}
      assert_streams(case, found.streams, prefixes)
      layouts.realize(case.layout, found.streams, found.tag, case.space)
  assert answers


def test_a_cut_grid_gives_the_beginning_of_the_pieces_or_a_layout_error(arranged_case, rng):
  case = arranged_case
  columns = [block.columns[0] for block in case.layout.grammar(case.space.streams).blocks]
  answers = 0
  for _ in range(10):
    tokens_LK = case.grid(rng).tokens_LK
    whole = layouts.recover(case.layout, tokens_LK, case.space)
    for cut in range(len(tokens_LK)):
      try:
        found = layouts.recover(case.layout, tokens_LK[:cut], case.space)
      except LayoutError:
        continue
      answers += 1
      assert not found.complete and found.tag == case.tag
      for piece, expected in zip(found.pieces, whole.pieces, strict=False):
        assert piece.block == expected.block
        if piece.frames is not None:
          name = columns[piece.block].name
          ids = found.streams[name][piece.frames]
          np.testing.assert_array_equal(ids, whole.streams[name][expected.frames][: len(ids)])
      sizes = {name: len(ids) for name, ids in found.streams.items()}
      assert all(size <= len(whole.streams[name]) for name, size in sizes.items())
  assert answers


def assert_answered(case, tokens_LK):
  """Asserts streams that realize again, to this very grid if complete, or a LayoutError."""
  try:
    found = layouts.recover(case.layout, tokens_LK, case.space)
  except LayoutError as error:
    assert len(str(error)) > 20
    return 0
  if found.complete or not case.layout.arranges:
    again = case.again(found)
    assert not found.complete or again.tokens_LK.tolist() == np.asarray(tokens_LK).tolist()
  return 1


def test_random_grids_give_streams_that_realize_again_or_a_layout_error(case, rng):
  high = max(case.space.sizes)
  columns = case.space.columns
  for _ in range(334):  # of each of three kinds
    shape = (rng.integers(0, 12), columns)
    assert_answered(case, rng.integers(-3, high + 3, shape))
    assert_answered(case, rng.integers(0, case.space.sizes, shape))
    holes_LK = np.where(rng.random(shape) < 0.5, HOLE, rng.integers(0, high, shape))
    assert_answered(case, holes_LK.astype(np.int64))


def answers_to_mutated(case, rng, grids):
  """Returns how many of so many grids, each changed in one or two places, are answered."""
  answers = 0
  for _ in range(grids):
    tokens_LK = case.grid(rng).tokens_LK.copy()
    for _ in range(rng.integers(1, 3)):
      row, k = rng.integers(len(tokens_LK)), rng.integers(case.space.columns)
      kind = rng.integers(4)
      if kind == 0:
        tokens_LK[row, k] = rng.integers(-1, case.space.sizes[k])
      elif kind == 1:
        tokens_LK = np.delete(tokens_LK, row, axis=0)
      elif kind == 2:
        tokens_LK = np.insert(tokens_LK, row, tokens_LK[row], axis=0)
      else:
        tokens_LK = np.roll(tokens_LK, 1, axis=0)
    answers += assert_answered(case, tokens_LK)
  return answers


@pytest.mark.parametrize("grids", [100, pytest.param(1_000, marks=pytest.mark.long)])
def test_mutated_grids_give_streams_that_realize_again_or_a_layout_error(whole_case, rng, grids):
  assert answers_to_mutated(whole_case, rng, grids)


def test_mutated_grids_of_pieces_give_streams_that_realize_again_or_a_layout_error(
  arranged_case, rng
):
  assert answers_to_mutated(arranged_case, rng, 1_000)


@pytest.mark.parametrize(
  "tokens_LK, text",
  [
    (np.zeros((0, 1), np.int32), "The grid is empty"),
    (
      np.zeros((4, 2), np.int32),
      "integers of shape [L, 1]; int32 of shape [4, 2] came. Was it made",
    ),
    (np.zeros(4, np.int32), "is integers of shape [L, 1]; int32 of shape [4] came"),
    (np.zeros((4, 1), np.float32), "float32 of shape [4, 1] came"),
    (np.full((4, 1), 2**40), "column 0: expected an id of a tag, found id 1099511627776"),
    (np.full((4, 1), HOLE), "Row 0, column 0: expected an id of a tag, found id -1"),
  ],
)
def test_what_is_no_grid_says_why(space_of, tokens_LK, text):
  layout = Concat(Tag("[X]"), Flat("source.text"), Stop())
  with pytest.raises(LayoutError) as error:
    layouts.recover(layout, tokens_LK, space_of(layout))
  assert text in str(error.value)


@pytest.mark.parametrize(
  "row, column, id_, text",
  [
    (1, 0, 39, "The tag of 3 text ids is none of the layout. Known: '[X]'."),
    (4, 0, HOLE, "Row 4, column 0: expected an id of 'source.text', found id -1"),
    (7, 1, 0, "Row 7, column 1: expected an id of 'source.codes', found id 0"),
    (6, 1, 3, "Row 6, column 1: expected a hole (-1), found id 3"),
    (9, 1, 2, "Row 9, column 1: expected 'stop' (id 0), found id 2"),
    (9, 0, 3, "Row 9, column 0: expected a hole (-1), found id 3"),
  ],
)
def test_a_wrong_cell_is_named_with_what_was_expected(space_of, row, column, id_, text):
  layout = Concat(Tag("[X]"), Given(Flat("source.text")), Delay("source.codes", (0, 1, 2)), Stop())
  space = space_of(layout)
  streams = {"source.text": np.arange(2), "source.codes": np.zeros((2, 3), np.int32)}
  tokens_LK = layouts.realize(layout, streams, "[X]", space).tokens_LK
  assert tokens_LK[3:, 0].tolist() == [40, 0, 1, 42, 42, 41, -1, -1]
  tokens_LK[row, column] = id_
  with pytest.raises(LayoutError) as error:
    layouts.recover(layout, tokens_LK, space)
  assert text in str(error.value)


def test_rows_after_the_stop_are_an_error(space_of):
  layout = Concat(Tag("[X]"), Flat("source.text"), Stop())
  space = space_of(layout)
  tokens_LK = layouts.realize(layout, {"source.text": np.arange(3)}, "[X]", space).tokens_LK
  with pytest.raises(LayoutError, match="goes on after its stop: it should end at row 8 but has 9"):
    layouts.recover(layout, np.concatenate([tokens_LK, tokens_LK[-1:]]), space)


def test_a_grid_cut_before_a_stream_says_which(space_of):
  layout = Concat(Tag("[X]"), Flat("source.text"), Flat("source.units"), Stop())
  space = space_of(layout)
  streams = {"source.text": np.arange(3), "source.units": np.arange(2)}
  tokens_LK = layouts.realize(layout, streams, "[X]", space).tokens_LK
  with pytest.raises(LayoutError, match="before it holds a whole frame of 'source.units'"):
    layouts.recover(layout, tokens_LK[:7], space)


def test_levels_of_one_stream_must_agree_in_length(space_of):
  layout = Concat(Tag("[X]"), layouts.CoarseFirst("source.codes", (0, 1, 2)), Stop())
  space = space_of(layout)
  streams = {"source.codes": np.zeros((3, 3), np.int32)}
  tokens_LK = layouts.realize(layout, streams, "[X]", space).tokens_LK
  with pytest.raises(LayoutError, match="'source.codes' has 3 frames in one place .* and 2 in an"):
    layouts.recover(layout, np.delete(tokens_LK, 7, axis=0), space)


def test_ninety_thousand_rows_are_read_at_once(space_of, rng):
  layout = Concat(Tag("[X]"), Given(Flat("source.units")), Flat("source.text"), Stop())
  space = space_of(layout)
  streams = {
    "source.units": rng.integers(0, 12, 60_000),
    "source.text": rng.integers(0, 40, 30_000),
  }
  grid = layouts.realize(layout, streams, "[X]", space)
  found = layouts.recover(layout, grid.tokens_LK, space)
  assert found.complete
  for name, ids in streams.items():
    np.testing.assert_array_equal(found.streams[name], ids)
