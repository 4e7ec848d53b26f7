"""Ids of every column, and a manifest that changes with anything an id depends on."""

import dataclasses
import json
import pickle

import numpy as np
import pytest

from audiopalm.errors import LayoutError, TokenSpaceError
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
)  # fmt: skip
from audiopalm.tokens import space as token_space
from audiopalm.types import StreamSpec

TEXT = StreamSpec("text", "text", (40,), None, "t1")
UNITS = StreamSpec("units", "speech", (12,), 25.0, "u1")
CODES = StreamSpec("codes", "speech", (5, 6), 50.0, "c1")
LAYOUTS = {
  "asr": Concat(Tag("[ASR]"), Given(Flat("source.units")), Flat("source.text"), Stop()),
  "tts": Concat(Tag("[TTS]"), Given(Flat("source.text")), Delay("source.codes", (0, 1)), Stop()),
}


def encode_text(string):
  return [ord(letter) % 40 for letter in string]


def build(streams=(UNITS, TEXT, CODES), layouts=LAYOUTS, encode=encode_text):
  return token_space.build(streams, layouts, encode)


def test_column_0_is_text_then_specials_then_the_streams_in_order():
  space = build()
  assert space.columns == 2
  assert space.ranges == (
    token_space.Range(0, "text", 0, 0, 40),
    token_space.Range(0, "units", 0, 42, 12),
    token_space.Range(0, "codes", 0, 54, 5),
    token_space.Range(1, "codes", 1, 1, 6),
  )
  assert [tuple(special) for special in space.specials] == [
    (0, "sep", 40),
    (0, "stop", 41),
    (1, "stop", 0),
  ]
  assert space.sizes == (59, 7) and space.padded == (128, 128)


def test_the_text_lies_first_even_where_no_layout_writes_it():
  layout = Concat(Given(Flat("source.units")), Flat("target.units"), Stop())
  space = build(layouts={"s2s": layout})
  assert space.range_of(0, "text") == (0, 40) and space.tags == {}


def test_a_stream_lies_in_every_column_that_a_layout_writes():
  layout = Concat(Tag("[D]"), Columns(Flat("left.units"), Flat("right.units")), Stop())
  space = build(layouts={"duplex": layout})
  assert space.range_of(0, "units") == (42, 12) and space.range_of(1, "units") == (1, 12)
  assert space.special("stop", 1) == 0


def test_without_text_the_specials_come_first():
  layout = Concat(Given(Flat("source.units")), Delay("source.codes", (0, 1)), Stop())
  space = build(streams=(UNITS, CODES), layouts={"stage": layout})
  assert [r.start for r in space.ranges if r.column == 0] == [2, 14]


def test_modalities_mark_text_speech_specials_and_padding():
  first_V, second_V = build().modality_KV
  assert first_V.dtype == np.int8 and len(first_V) == len(second_V) == 128
  assert first_V[:59].tolist() == [0] * 40 + [2] * 2 + [1] * 17
  assert (first_V[59:] == -1).all()
  assert second_V[:8].tolist() == [2, 1, 1, 1, 1, 1, 1, -1]


def test_unknown_names_say_what_is_known():
  space = build()
  with pytest.raises(
    LayoutError, match="Column 1 .* no range for stream 'units' level 0; it has: c"
  ):
    space.range_of(1, "units", 0)
  with pytest.raises(LayoutError, match="Column 1 has no special 'sep'. Known: sep .column 0., st"):
    space.special("sep", 1)
  with pytest.raises(LayoutError, match=r"tag '\[MT\]' is not .* Known tags: '\[ASR\]', '\[TTS\]'"):
    space.tag_ids("[MT]")


def test_each_tag_is_encoded_once():
  asked = []
  both = {"a": LAYOUTS["asr"], "b": LAYOUTS["asr"]}
  space = build(layouts=both, encode=lambda string: asked.append(string) or [1, 2])
  assert asked == ["[ASR]"] and space.tag_ids("[ASR]") == (1, 2)


@pytest.mark.parametrize("ids", [[], [40], [-1]])
def test_a_tag_outside_the_text_is_an_error(ids):
  with pytest.raises(
    LayoutError, match=r"'text' of 40 ids encodes the tag '\[ASR\]' as .*Expected"
  ):
    build(encode=lambda string: ids)


def test_tags_with_the_same_ids_are_an_error():
  with pytest.raises(LayoutError, match=r"the tags '\[ASR\]' and '\[TTS\]' alike, .* Reword one"):
    build(encode=lambda string: [7])


def test_a_tag_without_a_text_tokenizer_is_an_error():
  with pytest.raises(LayoutError, match="needs a text tokenizer, but the streams are units"):
    build(streams=(UNITS,), layouts={"x": Concat(Tag("[X]"), Flat("a.units"), Stop())})


def test_two_streams_of_one_name_are_an_error():
  with pytest.raises(LayoutError, match="Two tokenizers give a stream of one name: text, text"):
    build(streams=(TEXT, TEXT))


def test_from_manifest_inverts_manifest_through_json():
  space = build()
  again = token_space.from_manifest(json.loads(json.dumps(token_space.manifest(space))))
  assert again == space and hash(again) == hash(space)
  assert token_space.manifest_hash(again) == token_space.manifest_hash(space)
  assert pickle.loads(pickle.dumps(space)) == space


def changed_spaces():
  space = build()
  refit = dataclasses.replace(UNITS, fingerprint="u9")
  faster = dataclasses.replace(UNITS, rate_hz=50.0)
  larger = dataclasses.replace(UNITS, sizes=(13,))
  delays = Concat(Tag("[TTS]"), Given(Flat("source.text")), Delay("source.codes", (0, 2)), Stop())
  moved = space.ranges[1]._replace(start=43)
  return {
    "fingerprint": build(streams=(refit, TEXT, CODES)),
    "rate": build(streams=(faster, TEXT, CODES)),
    "size": build(streams=(larger, TEXT, CODES)),
    "order": build(streams=(CODES, TEXT, UNITS)),
    "range": dataclasses.replace(space, ranges=(space.ranges[0], moved, *space.ranges[2:])),
    "special": dataclasses.replace(
      space, specials=(*space.specials, token_space.Special(1, "mask", 7))
    ),
    "tag ids": build(encode=lambda string: encode_text(string)[::-1]),
    "tag": build(layouts={**LAYOUTS, "asr": Concat(Tag("[A]"), *LAYOUTS["asr"].parts[1:])}),
    "layout": build(layouts={**LAYOUTS, "tts": delays}),
    "task": build(layouts={"recognize": LAYOUTS["asr"], "tts": LAYOUTS["tts"]}),
    "padding": dataclasses.replace(space, pad_to=64),
  }


@pytest.mark.parametrize("what", changed_spaces())
def test_the_hash_changes_with_anything_an_id_depends_on(what):
  space, other = build(), changed_spaces()[what]
  assert token_space.manifest_hash(space) != token_space.manifest_hash(other)
  assert token_space.difference(token_space.manifest(space), token_space.manifest(other))
  assert space != other


def test_the_hash_is_the_same_in_every_process_and_version():
  """A checkpoint keeps it: ids that layouts had stay theirs, whatever others come to ask for."""
  assert token_space.manifest_hash(build()) == "acbe9120ac3b38c3"


def test_specials_that_layouts_ask_for_come_after_those_that_all_have():
  infilled = Concat(Tag("[ED]"), Infill(Delay("source.codes", (0, 1)), spans=(1, 2)), Stop())
  turns = Concat(Tag("[IN]"), Interleave("source.text", "source.units"), Stop())
  space = build(layouts={**LAYOUTS, "edit": infilled, "turns": turns})
  assert [tuple(special) for special in space.specials] == [
    (0, "sep", 40), (0, "stop", 41), (0, "mask1", 42), (0, "mask2", 43), (0, "span_end", 44),
    (0, "to_text", 45), (0, "to_speech", 46), (1, "stop", 0), (1, "span_end", 1),
  ]  # fmt: skip
  assert space.range_of(0, "units")[0] == 47 and space.range_of(1, "codes", 1)[0] == 2
  assert space.modality_KV[0][40:47].tolist() == [token_space.SPECIAL] * 7
  assert token_space.from_manifest(json.loads(json.dumps(token_space.manifest(space)))) == space


def test_every_column_has_the_specials_that_the_objective_asks_for():
  space = token_space.build((UNITS, TEXT, CODES), LAYOUTS, encode_text, specials=("mask",))
  assert [space.special("mask", column) for column in range(space.columns)] == [42, 1]
  assert [r.start for r in space.ranges] == [0, 43, 55, 2]


def test_difference_names_each_value_by_its_place():
  first, second = (
    token_space.manifest(build()),
    json.loads(json.dumps(token_space.manifest(build()))),
  )
  second["streams"][0]["fingerprint"] = "u9"
  second["ranges"][1]["start"] = 43
  second["tags"]["[MT]"] = [5, 9]
  del second["specials"][2]
  second["layouts"]["tts"]["parts"][2]["delays"] = [0, 2]
  assert token_space.difference(first, second).splitlines() == [
    'streams / units / fingerprint: "u1" became "u9"',
    "ranges / column 0 units level 0 / start: 42 became 43",
    'specials / column 1 stop / column: only in the first: 1',
    'specials / column 1 stop / name: only in the first: "stop"',
    'specials / column 1 stop / id: only in the first: 0',
    "layouts / tts / parts / part 2 / delays: [0, 1] became [0, 2]",
    "tags / [MT]: only in the second: [5, 9]",
  ]  # fmt: skip
  assert token_space.difference(first, first) == ""


def test_check_prints_the_difference_and_what_to_do():
  expected = token_space.manifest(build())
  token_space.check(expected, json.loads(json.dumps(expected)), "The checkpoint runs/a")
  found = token_space.manifest(changed_spaces()["fingerprint"])
  with pytest.raises(TokenSpaceError) as error:
    token_space.check(expected, found, "The checkpoint runs/a")
  assert str(error.value) == (
    "The checkpoint runs/a has another token space (first: expected by this run, second: found "
    'in it):\n  streams / units / fingerprint: "u1" became "u9"\nIts ids have other meanings. Use '
    "the tokenizers, tasks and layout it was made with, or a new workdir."
  )


def test_a_manifest_of_another_format_or_damaged_is_an_error():
  found = token_space.manifest(build())
  with pytest.raises(
    TokenSpaceError, match="has format 2, this version of audiopalm reads format 1"
  ):
    token_space.from_manifest({**found, "format": 2})
  with pytest.raises(TokenSpaceError, match="damaged .'streams'.: expected the fields"):
    token_space.from_manifest({name: found[name] for name in found if name != "streams"})
  with pytest.raises(TokenSpaceError, match="damaged"):
    token_space.from_manifest({**found, "ranges": [{"column": 0}]})
