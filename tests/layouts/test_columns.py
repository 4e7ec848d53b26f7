"""Delayed codebooks, parts side by side and repeated rows, written out."""

import numpy as np
import pytest

from audiopalm import layouts
from audiopalm.errors import LayoutError
from audiopalm.layouts import CoarseFirst, Columns, Concat, Delay, Flat, Given, Repeat, Stop, Tag


def test_too_few_delays_says_which_tokenizer(space_of):
  with pytest.raises(LayoutError) as error:
    space_of(Concat(Tag("[X]"), Delay("source.codes", (0, 1)), Stop()))
  assert str(error.value) == (
    'Delay("source.codes") has 2 delays but tokenizer "codes" gives 3 codebooks.\n'
    "Give one delay per codebook, or set codes.codebooks=2."
  )


def test_too_many_delays_says_which_tokenizer(space_of):
  with pytest.raises(LayoutError, match='has 2 delays but tokenizer "units" gives 1 codebook.\n'):
    space_of(Concat(Tag("[X]"), Delay("source.units", (0, 1)), Stop()))


@pytest.mark.parametrize("delays", [(), (0, -1), (0, 0.5)])
def test_delays_are_whole_numbers(delays):
  with pytest.raises(LayoutError, match="Give one integer >= 0 per codebook"):
    Delay("source.codes", delays)


def test_columns_lie_side_by_side(space_of):
  layout = Concat(
    Tag("[X]"),
    Columns(Given(Repeat(Flat("source.units"), 2)), Delay("source.codes", (0, 0, 1))),
    Stop(),
  )
  space = space_of(layout)
  streams = {"source.units": np.asarray([7]), "source.codes": np.asarray([[0, 1, 2], [3, 4, 5]])}
  grid = layouts.realize(layout, streams, "[X]", space)
  unit = space.range_of(0, "units")[0] + 7
  assert grid.tokens_LK[3:].tolist() == [
    [unit, 1, 2, -1],
    [unit, 4, 5, 3],
    [41, 0, 0, 6],
    [-1, -1, -1, 0],
  ]
  assert grid.weights_LK[3:].tolist() == [[0, 1, 1, 0], [0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 1]]


def test_columns_say_what_they_cannot_hold(space_of):
  inner = CoarseFirst("source.codes", (0, 1))
  with pytest.raises(LayoutError, match="Columns cannot hold CoarseFirst.* It takes Flat, Delay"):
    space_of(Concat(Tag("[X]"), Columns(inner, Flat("source.units")), Stop()))
  with pytest.raises(LayoutError, match="Repeat cannot hold Tag"):
    space_of(Concat(Tag("[X]"), Repeat(Tag("[Y]"), 2), Stop()))
  with pytest.raises(LayoutError, match="Columns cannot hold 'source.units'"):
    space_of(Concat(Tag("[X]"), Columns("source.units"), Stop()))
  with pytest.raises(LayoutError, match="holds no part"):
    Columns()


def test_both_ways_inside_columns_would_show_what_is_predicted(space_of):
  beside = Columns(Given(Flat("a.units"), both_ways=True), Flat("b.units"))
  with pytest.raises(LayoutError, match="both_ways=True: its rows would see the predicted cells"):
    space_of(Concat(Tag("[X]"), beside, Stop()))


@pytest.mark.parametrize("n", [0, -1, 1.5])
def test_repeat_takes_a_whole_number(n):
  with pytest.raises(LayoutError, match="Give an integer >= 1"):
    Repeat(Flat("source.units"), n)
