"""Spans of words in turns as text and as speech: written out, drawn, begun, and refused."""

import dataclasses

import numpy as np
import pytest

from audiopalm import layouts
from audiopalm.errors import LayoutError
from audiopalm.layouts import Concat, Delay, Flat, Given, Interleave, Stop, Tag, incremental

TEXT, UNITS = "source.text", "source.units"
STREAMS = {TEXT: np.asarray([1, 2, 3, 4, 5]), UNITS: np.asarray([0, 0, 3, 3, 4, 3])}
ENDS = {TEXT: np.asarray([2, 3, 5]), UNITS: np.asarray([2, 3, 6])}
STOP, TO_TEXT, TO_SPEECH, UNIT = 41, 42, 43, 44  # 40 text ids and sep come before


def after_tag(*parts):
  return Concat(Tag("[X]"), *parts, Stop())


def columns(space_of, layout, streams=STREAMS, ends=ENDS, keys=40):
  """Returns every column 0, behind the tag, that some keys give."""
  made = (
    layouts.realize(layout, streams, "[X]", space_of(layout), (key,), word_ends=ends)
    for key in range(keys)
  )
  return {tuple(grid.tokens_LK[3:, 0].tolist()) for grid in made}


def test_spans_hold_the_words_of_one_modality_behind_its_special(space_of):
  layout = after_tag(Interleave(TEXT, UNITS, (2, 2), (1, 1)))
  assert columns(space_of, layout) == {
    (TO_TEXT, 1, 2, 3, TO_SPEECH, UNIT + 3, UNIT + 4, UNIT + 3, STOP),
    (TO_SPEECH, UNIT, UNIT, TO_TEXT, 3, 4, 5, STOP),
  }


def test_every_cell_behind_the_tag_is_predicted(space_of):
  layout = after_tag(Interleave(TEXT, UNITS, (1, 1), (1, 1)))
  grid = layouts.realize(layout, STREAMS, "[X]", space_of(layout), (0,), word_ends=ENDS)
  assert grid.weights_LK[:, 0].tolist() == [0] * 3 + [1] * (len(grid) - 3)


def test_a_word_without_a_frame_goes_with_its_neighbour(space_of):
  layout = after_tag(Interleave(TEXT, UNITS, (1, 1), (1, 1)))
  ends = {TEXT: np.asarray([2, 2, 3, 5]), UNITS: np.asarray([0, 4, 4, 6])}
  assert columns(space_of, layout, ends=ends) == {
    (TO_TEXT, 1, 2, TO_SPEECH, UNIT + 4, UNIT + 3, STOP),
    (TO_SPEECH, UNIT, UNIT, UNIT + 3, UNIT + 3, TO_TEXT, 3, 4, 5, STOP),
  }


def test_each_word_is_written_or_spoken_and_none_is_both(space_of, rng):
  layout = after_tag(Interleave("source.text", "source.units", (1, 3), (1, 2)))
  space = space_of(layout)
  for key in range(100):
    words = int(rng.integers(1, 10))
    streams = {TEXT: np.arange(words), UNITS: np.repeat(np.arange(words), 2)}
    ends = {TEXT: np.arange(1, words + 1), UNITS: 2 * np.arange(1, words + 1)}
    grid = layouts.realize(layout, streams, "[X]", space, (key,), word_ends=ends)
    found = layouts.recover(layout, grid.tokens_LK, space)
    written, spoken = found.streams[TEXT].tolist(), found.streams[UNITS].tolist()
    assert spoken[::2] == spoken[1::2]
    assert sorted(written + spoken[::2]) == list(range(words))
    assert sum(piece.frames is not None for piece in found.pieces) == sum(
      id_ in (TO_TEXT, TO_SPEECH) for id_ in grid.tokens_LK[:, 0]
    )


def test_repeated_units_of_a_span_are_left_out(space_of):
  layout = after_tag(Interleave(TEXT, UNITS, (3, 3), (3, 3), collapse=True))
  assert columns(space_of, layout) == {
    (TO_TEXT, 1, 2, 3, 4, 5, STOP),
    (TO_SPEECH, UNIT, UNIT + 3, UNIT + 4, UNIT + 3, STOP),
  }
  alone = after_tag(Interleave(units="source.codes", collapse=True))
  streams = {"source.codes": np.asarray([[1, 2, 3], [1, 2, 3], [1, 2, 4]])}
  grid = layouts.realize(alone, streams, "[X]", space_of(alone))
  found = layouts.recover(alone, grid.tokens_LK, space_of(alone))
  assert found.streams["source.codes"].tolist() == [[1, 2, 3], [1, 2, 4]]


def test_one_stream_follows_its_special_and_draws_nothing(space_of):
  for part, expected in (
    (Interleave(TEXT), [TO_TEXT, 1, 2, 3, 4, 5, STOP]),
    (Interleave(units=UNITS), [42, *(43 + STREAMS[UNITS]).tolist(), STOP]),
  ):
    layout = after_tag(part)
    assert not layout.arranges and layout.word_streams() == ()
    grid = layouts.realize(layout, STREAMS, "[X]", space_of(layout))
    assert grid.tokens_LK[3:, 0].tolist() == expected


def test_one_stream_is_never_longer_than_what_packing_counts(space_of):
  for name in (TEXT, UNITS):
    part = Interleave(TEXT) if name == TEXT else Interleave(units=UNITS)
    layout = after_tag(dataclasses.replace(part, collapse=True))
    space = space_of(layout)
    for ids in (np.asarray([1, 2, 3]), np.asarray([1, 1, 2])):
      grid = layouts.realize(layout, {name: ids}, "[X]", space)
      most = layouts.rows(layout, {name: len(ids)}, "[X]", space)
      assert len(grid) == most - (name == UNITS and ids[0] == ids[1])


def test_draws_depend_on_the_key_alone(space_of):
  layout = after_tag(Interleave(TEXT, UNITS, (1, 2), (1, 2)))
  space = space_of(layout)

  def grids():
    keys = [(seed, record, epoch) for seed in (0, 1) for record in (5, 6) for epoch in (0, 1, 2)]
    return [
      layouts.realize(layout, STREAMS, "[X]", space, key, word_ends=ENDS).tokens_LK.tolist()
      for key in keys
    ]

  first = grids()
  np.random.seed(0)  # noqa: NPY002  what nothing may draw from
  assert grids() == first
  assert len({str(grid) for grid in first}) > 3


def test_a_span_of_speech_in_several_columns_ends_in_each(space_of):
  codes = np.asarray([[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]])
  streams = {TEXT: STREAMS[TEXT], "source.codes": codes}
  ends = {TEXT: np.asarray([2, 5]), "source.codes": np.asarray([1, 4])}
  layout = after_tag(Interleave(TEXT, Delay("source.codes", (0, 1, 0)), (1, 1), (1, 1)))
  space = space_of(layout)
  a, b, c = (space.range_of(k, "codes", k)[0] for k in range(3))
  e, f, g = (space.special("speech_end", k) for k in range(3))
  made = {
    str(layouts.realize(layout, streams, "[X]", space, (key,), word_ends=ends).tokens_LK[3:])
    for key in range(20)
  }
  written = [
    [[42, -1, -1], [1, -1, -1], [2, -1, -1], [43, -1, -1]],
    [[a + 1, -1, c + 3], [a + 2, b + 2, c + 4], [a + 3, b + 3, c + 5], [e, b + 4, g], [-1, f, -1]],
    [[STOP, -1, -1]],
  ]
  spoken = [
    [[43, -1, -1], [a, -1, c + 2], [e, b + 1, g], [-1, f, -1]],
    [[42, -1, -1], [3, -1, -1], [4, -1, -1], [5, -1, -1], [STOP, -1, -1]],
  ]
  assert made == {str(np.asarray(sum(parts, []), np.int32)) for parts in (written, spoken)}
  begun = layouts.begin(layout, {}, {TEXT: [1], "source.codes": codes[:2]}, "[X]", space)
  assert begun.tokens_LK[3:].tolist() == [
    [42, -1, -1], [1, -1, -1], [43, -1, -1], [a, -1, c + 2], [a + 1, b + 1, c + 3],
  ]  # fmt: skip


def test_what_was_recovered_says_what_lies_where(space_of):
  layout = after_tag(Interleave(TEXT, UNITS, (1, 1), (1, 1)))
  space = space_of(layout)
  pieces = [layouts.Piece(n) for n in range(2)] + [
    layouts.Piece(2, slice(0, 2)),
    layouts.Piece(3),
    layouts.Piece(4, slice(2, 6)),
    layouts.Piece(5),
  ]
  grid = layouts.realize(layout, STREAMS, "[X]", space, pieces=pieces)
  found = layouts.recover(layout, grid.tokens_LK, space)
  assert [piece.block for piece in found.pieces] == [piece.block for piece in pieces]
  assert found.streams[TEXT].tolist() == [1, 2] and found.pieces[2].frames == slice(0, 2)
  assert found.streams[UNITS].tolist() == [3, 3, 4, 3] and found.pieces[4].frames == slice(0, 4)


def test_an_answer_begins_with_the_spans_that_are_given(space_of):
  layout = after_tag(Interleave(TEXT, UNITS))
  space = space_of(layout)
  for begun, expected in (
    ({TEXT: [1, 2]}, [TO_TEXT, 1, 2]),
    ({TEXT: [1, 2], UNITS: []}, [TO_TEXT, 1, 2, TO_SPEECH]),
    ({UNITS: [3], TEXT: [7]}, [TO_SPEECH, UNIT + 3, TO_TEXT, 7]),
  ):
    grid = layouts.begin(layout, {}, begun, "[X]", space)
    assert grid.tokens_LK[3:, 0].tolist() == expected
  with pytest.raises(LayoutError, match="can begin with 'source.text' and 'source.units'.*nothing"):
    layouts.begin(layout, {}, {}, "[X]", space)
  alone = after_tag(Interleave(units=UNITS))
  grid = layouts.begin(alone, {}, {UNITS: [3, 4]}, "[X]", space_of(alone))
  assert grid.tokens_LK[3:, 0].tolist() == [42, 46, 47]


def test_the_plan_chooses_by_the_class_of_the_lead(space_of):
  layout = after_tag(Interleave(TEXT, UNITS))
  space = space_of(layout)
  plan = incremental.compile(layout, space)

  def classes(*ids):
    return sorted(plan.class_KV[0, list(ids)].tolist())

  start, text = plan.start, plan.next_SC[plan.start, plan.class_KV[0, TO_TEXT]]
  more = plan.next_SC[text, 0]
  assert np.flatnonzero(plan.allowed_SKC[start, 0]).tolist() == classes(TO_TEXT, TO_SPEECH)
  assert np.flatnonzero(plan.allowed_SKC[text, 0]).tolist() == classes(0)
  assert np.flatnonzero(plan.allowed_SKC[more, 0]).tolist() == classes(0, TO_SPEECH, STOP)
  assert plan.next_SC[more, plan.class_KV[0, STOP]] == plan.end
  assert len(plan.next_SC) == 6  # start, two states each of text and units, end


@pytest.mark.parametrize(
  "make, text",
  [
    (Interleave, "Interleave() has no stream"),
    (
      lambda: Interleave(TEXT, Flat(UNITS)),
      "Interleave cannot hold Flat(stream='source.units'). Its speech is a name, or a Delay for",
    ),
    (lambda: Interleave("text", UNITS), "Interleave('text') does not say whose stream it is"),
    (lambda: Interleave(TEXT, TEXT), "Interleave has 'source.text' twice"),
    (lambda: Interleave(TEXT, UNITS, (0, 3)), "text_words=(0, 3). Give (least, most), integers"),
    (lambda: Interleave(TEXT, UNITS, unit_words=(3, 2)), "Interleave has unit_words=(3, 2)"),
  ],
)
def test_a_part_says_what_it_was_given_wrongly(make, text):
  with pytest.raises(LayoutError) as error:
    make()
  assert text in str(error.value)


@pytest.mark.parametrize(
  "parts, text",
  [
    (
      (Interleave(UNITS, TEXT),),
      "has 'source.units' for its text, but tokenizer 'units' gives spe",
    ),
    (
      (Interleave(TEXT, "source.collapsed"),),
      "tokenizer 'collapsed' have no fixed length. Set coll",
    ),
    ((Given(Interleave(TEXT, UNITS)), Flat("a.text")), "Given cannot hold Interleave("),
    ((Flat(TEXT), Interleave(TEXT, UNITS)), "places 'source.text' level 0 twice"),
  ],
)
def test_a_layout_that_cannot_work_says_what_to_change(space_of, parts, text):
  with pytest.raises(LayoutError) as error:
    space_of(after_tag(*parts))
  assert text in str(error.value)


def test_an_example_without_key_or_words_is_refused(space_of):
  layout = after_tag(Interleave(TEXT, UNITS))
  space = space_of(layout)
  with pytest.raises(LayoutError, match="draws what lies where, but no key came. Pass key="):
    layouts.realize(layout, STREAMS, "[X]", space, word_ends=ENDS)
  with pytest.raises(LayoutError, match="needs to know where each word of 'source.units' ends"):
    layouts.realize(layout, STREAMS, "[X]", space, (0,), word_ends={TEXT: ENDS[TEXT]})
  uneven = {TEXT: ENDS[TEXT], UNITS: ENDS[UNITS][1:]}
  with pytest.raises(LayoutError, match="'source.text' has 3 words, 'source.units' has 2. Give"):
    layouts.realize(layout, STREAMS, "[X]", space, (0,), word_ends=uneven)
  with pytest.raises(LayoutError, match="not those of one example .* block 5 comes where 1 or 3"):
    layouts.realize(layout, STREAMS, "[X]", space, pieces=[layouts.Piece(0), layouts.Piece(5)])


def test_a_cell_that_can_begin_nothing_says_what_may_come(space_of):
  layout = after_tag(Interleave(TEXT, UNITS))
  with pytest.raises(LayoutError) as error:
    layouts.recover(layout, np.asarray([[11], [8], [13], [UNIT]]), space_of(layout))
  assert "Row 3, column 0: expected 'to_text' (id 42) or 'to_speech' (id 43), found id 44" in str(
    error.value
  )
  with pytest.raises(
    LayoutError, match="whole frame of 'source.text' or 'source.units'. Decode more"
  ):
    layouts.recover(layout, np.asarray([[11], [8], [13], [TO_TEXT]]), space_of(layout))
