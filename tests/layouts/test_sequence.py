"""Streams after one another, where separators stand, and parts in the wrong place."""

import numpy as np
import pytest

from audiopalm import layouts
from audiopalm.errors import ConfigError, LayoutError
from audiopalm.layouts import CoarseFirst, Columns, Concat, Delay, Flat, Given, Stop, Tag


def grid_of(space_of, *parts, **streams):
  layout = Concat(Tag("[X]"), *parts, Stop())
  space = space_of(layout)
  named = {name.replace("_", "."): np.asarray(ids) for name, ids in streams.items()}
  tokens_LK = layouts.realize(layout, named, "[X]", space).tokens_LK
  return tokens_LK[3:, 0].tolist(), space


def test_flat_keeps_the_codebooks_of_a_frame_together(space_of):
  column, space = grid_of(space_of, Flat("a.codes"), a_codes=[[0, 1, 2], [3, 4, 5]])
  starts = [space.range_of(0, "codes", level)[0] for level in (0, 1, 2)]
  expected = [id_ + start for frame in ([0, 1, 2], [3, 4, 5])
              for id_, start in zip(frame, starts, strict=True)]  # fmt: skip
  assert column == [*expected, space.special("stop")]


def test_coarse_first_writes_group_after_group(space_of):
  column, space = grid_of(
    space_of, CoarseFirst("a.codes", ((0, 1), 2)), a_codes=[[0, 1, 2], [3, 4, 5]]
  )
  a, b, c = (space.range_of(0, "codes", level)[0] for level in (0, 1, 2))
  assert column == [a + 0, b + 1, a + 3, b + 4, c + 2, c + 5, space.special("stop")]


def test_sep_stands_between_neighbours_of_one_range_and_nowhere_else(space_of):
  column, space = grid_of(
    space_of,
    Given(Flat("a.text")),
    Given(Flat("a.units")),
    Flat("b.units"),
    Flat("b.text"),
    Flat("c.phones"),
    a_text=[1],
    a_units=[2],
    b_units=[3],
    b_text=[4],
    c_phones=[5],
  )
  unit, phone = (space.range_of(0, name)[0] for name in ("units", "phones"))
  sep, stop = space.special("sep"), space.special("stop")
  assert column == [sep, 1, unit + 2, sep, unit + 3, 4, phone + 5, stop]


def test_codebooks_that_share_no_range_need_no_sep(space_of):
  column, space = grid_of(
    space_of,
    Given(CoarseFirst("a.codes", (0,))),
    CoarseFirst("a.codes", (1,)),
    a_codes=[[0, 1, 2], [3, 4, 5]],
  )
  assert space.special("sep") not in column


def test_predicted_parts_of_several_columns_are_always_separated(space_of):
  layout = Concat(Tag("[X]"), Flat("a.text"), Delay("a.codes", (0, 0, 0)), Stop())
  streams = {"a.text": np.asarray([1]), "a.codes": np.zeros((1, 3), int)}
  column = layouts.realize(layout, streams, "[X]", space_of(layout)).tokens_LK[:, 0]
  assert column.tolist() == [11, 8, 13, 40, 1, 40, 42, 41]


@pytest.mark.parametrize(
  "make, text",
  [
    (lambda: Flat("units"), "Flat('units') does not say whose stream it is. Name it \"role.stream"),
    (lambda: Delay("a.b.c", (0,)), "Delay('a.b.c') does not say whose stream"),
    (lambda: CoarseFirst("a.codes", ()), "Give groups of codebook numbers, each number once"),
    (lambda: CoarseFirst("a.codes", (0, (1, 0))), "CoarseFirst('a.codes') has levels (0, (1, 0))"),
    (lambda: CoarseFirst("a.codes", ((),)), "Give groups of codebook numbers"),
  ],
)
def test_parts_say_what_they_were_given_wrongly(make, text):
  with pytest.raises(LayoutError) as error:
    make()
  assert text in str(error.value)


@pytest.mark.parametrize(
  "parts, text",
  [
    ((CoarseFirst("a.codes", (0, 5)),), 'names level 5 but tokenizer "codes" gives 3 codebooks, 0'),
    ((Flat("a.text"), Stop()), "has Stop() before its end"),
    ((Concat(Flat("a.text")),), "Concat cannot hold Concat(Flat(stream='a.text'))"),
    (("a.text",), "Concat cannot hold 'a.text'"),
    ((Given(Given(Flat("a.text"))), Flat("b.text")), "Given cannot hold Given("),
    ((Given(Tag("[Y]")), Flat("b.text")), "Given cannot hold Tag("),
    ((Given("a.text"), Flat("b.text")), "Given cannot hold 'a.text'. It takes Flat, CoarseFirst"),
    ((Columns(Stop()),), "Stop() cannot stand here: it places no cells of its own"),
  ],
)
def test_parts_in_the_wrong_place_say_so(space_of, parts, text):
  with pytest.raises(LayoutError) as error:
    space_of(Concat(Tag("[X]"), *parts, Stop()))
  assert text in str(error.value)


def test_a_stop_alone_is_no_layout(space_of):
  with pytest.raises(LayoutError, match="Stop.* before its end"):
    space_of(Concat(Stop()))


def test_a_tag_without_roles_is_its_only_string():
  assert Tag("[X]").tag_strings() == ("[X]",) and Tag("[X]").roles == ()
  assert Tag("[A {source} {target} {source}]").roles == ("source", "target")


def test_a_tag_with_roles_must_list_its_strings():
  assert Tag("[A {source}]", ("[A English]",)).tag_strings() == ("[A English]",)
  with pytest.raises(LayoutError, match="names source but not the strings it can become"):
    _ = Tag("[A {source}]").tag_strings()


@pytest.mark.parametrize("template", ["[A {source]", "[A {0}]", "[A {}]", "[A source}]"])
def test_a_tag_that_cannot_be_read_says_so(template):
  with pytest.raises(ConfigError, match="cannot be read|Write it as {source}"):
    _ = Tag(template).roles
