"""Geometry, the layouts that cannot work, and what the manifest says of a layout."""

import pytest

from audiopalm import layouts
from audiopalm.errors import LayoutError
from audiopalm.layouts import Columns, Concat, Delay, Flat, Given, Stop, Tag


@pytest.mark.parametrize(
  "layout, text",
  [
    (Concat(Tag("[X]"), Given(Flat("source.text")), Stop()), "predicts nothing"),
    (Concat(Flat("source.text"), Stop()), "The first row of Concat(Flat(stream='source.text')"),
    (Columns(Flat("a.units"), Flat("b.units")), "Begin with Concat(Tag(...), ...)"),
    (
      Concat(Tag("[X]"), Flat("source.text"), Given(Flat("source.units")), Flat("a.text"), Stop()),
      "has a Given part after its first predicted part",
    ),
    (Concat(Tag("[X]"), Flat("source.text")), "never ends, so a model of it would not learn to st"),
    (Concat(Tag("[X]"), Tag("[Y]"), Flat("source.text"), Stop()), "has more than one Tag"),
    (
      Concat(Tag("[X]"), Delay("source.codes", (1, 2, 3)), Stop()),
      "Delays (1, 2, 3) leave the first rows empty. Subtract 1 from each: the smallest must be 0.",
    ),
    (
      Concat(Tag("[X]"), Given(Flat("source.text")), Flat("source.text"), Stop()),
      "places 'source.text' level 0 twice",
    ),
    (
      Concat(Tag("[X]"), Flat("source.pitch"), Stop()),
      "names 'source.pitch', but no tokenizer gives the stream 'pitch'. Streams: text, phones, un",
    ),
  ],
)
def test_a_layout_that_cannot_work_says_what_to_change(space_of, layout, text):
  with pytest.raises(LayoutError) as error:
    space_of(layout)
  assert text in str(error.value)


def test_describe_is_the_layout_as_json():
  layout = Concat(Tag("[X]"), Columns(Given(Flat("a.units")), Delay("a.codes", (0, 1))), Stop())
  assert layout.describe() == {
    "kind": "Concat",
    "parts": [
      {"kind": "Tag", "template": "[X]", "strings": []},
      {
        "kind": "Columns",
        "parts": [
          {"kind": "Given", "part": {"kind": "Flat", "stream": "a.units"}, "both_ways": False},
          {"kind": "Delay", "stream": "a.codes", "delays": [0, 1]},
        ],
      },
      {"kind": "Stop"},
    ],
  }


def test_layouts_of_equal_parts_are_equal_and_hash_alike():
  one, other = (Concat(Tag("[X]"), Delay("a.codes", (0, 1)), Stop()) for _ in range(2))
  assert one == other and hash(one) == hash(other)
  assert one != Concat(Tag("[X]"), Delay("a.codes", (0, 2)), Stop())


def test_the_given_column_of_delay_zero_leads(space_of):
  layout = Columns(Delay("own.codes", (0, 1, 2)), Given(Flat("user.units")))
  (block,) = layout.blocks(space_of(Concat(Tag("[X]"), layout, Stop())).streams)
  assert block.lead == 3 and layouts.given_streams(layout) == ("user.units",)
