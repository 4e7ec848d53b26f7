"""Recordings edited: where words change, which frames that is, and what the model is asked."""

import dataclasses

import numpy as np
import pytest

from audiopalm import layouts
from audiopalm.errors import ConfigError, RecordError
from audiopalm.inference import decode, editing, generate
from audiopalm.inference.generate import Input
from audiopalm.parts import mixtures

RULE = layouts.Infilling(("units",), spans=(1, 2), frames=(1, 6), gap=1, to_end=0.3)


def spans(made_up, said, text, language="en"):
  found = editing.spans_between(said, text, made_up.wave_of(said), language)
  return [(round(start_s, 3), round(end_s, 3)) for start_s, end_s in found]


def test_words_that_differ_take_the_time_of_their_letters_and_a_margin(made_up):
  said = "one two six ten"  # 15 frames of 40 ms; 12 letters, 50 ms each
  assert spans(made_up, said, "one four six ten") == [(0.07, 0.38)]
  assert spans(made_up, said, "one six ten") == [(0.07, 0.38)]
  assert spans(made_up, said, "one two five six ten") == [(0.22, 0.38)]
  assert spans(made_up, said, "five two six eight") == [(0.0, 0.23), (0.37, 0.6)]


def test_a_change_at_an_end_reaches_the_end_of_the_recording(made_up):
  said = "one two six ten"
  assert spans(made_up, said, "five one two six ten") == [(0.0, 0.08)]
  assert spans(made_up, said, "one two six ten five") == [(0.52, 0.6)]


def test_pauses_belong_to_no_word(made_up):
  # 0.12 s, a pause of 0.4 s of which 10 ms at either end are no longer silent, 0.12 s.
  said = "one          two"
  assert spans(made_up, said, "one six") == [(0.43, 0.64)]
  assert spans(made_up, said, "six two") == [(0.0, 0.21)]
  assert spans(made_up, said, "one ten two") == [(0.05, 0.59)]


def test_case_and_punctuation_are_no_edit_and_characters_are_words_without_spaces(made_up):
  wave_S = made_up.wave_of("one two")
  with pytest.raises(ConfigError, match="says this already: transcript and text are equal. Change"):
    editing.spans_between("One two", "one, two.", wave_S, "en")
  ((start_s, end_s),) = editing.spans_between("今日は雨", "今日は雪", wave_S, "ja")
  assert (round(start_s, 3), end_s) == (0.13, 0.28)
  with pytest.raises(ConfigError, match="transcript of the recording is empty. Give what it says"):
    editing.spans_between(" ", "one", wave_S, "en")


def test_spans_are_whole_frames_and_those_that_touch_are_one():
  holes = editing.holes_of([(0.28, 0.41), (0.05, 0.06)], 25, 25.0, 1.0)
  assert holes == [(1, 2), (7, 11)]
  assert editing.holes_of([(0.0, 0.2), (0.2, None)], 25, 25.0, 1.0) == [(0, 25)]
  # Of 0.99 s the last frame is not whole.
  assert editing.holes_of([(0.5, None)], 25, 25.0, 0.99) == [(12, 25)]
  assert editing.holes_of([(0.99, None)], 25, 25.0, 0.99) == [(25, 25)]


@pytest.mark.parametrize(
  ("span", "text"),
  [
    (
      (0.4, 1.2),
      "The span 0.4:1.2 is not within the recording, which lasts 1.00 s. Give START:END",
    ),
    ((-0.1, 0.2), "The span -0.1:0.2 is not within the recording"),
    ((0.5, 0.4), "The span 0.5:0.4 is not within the recording"),
    ((float("nan"), 0.4), "The span nan:0.4 is not within the recording"),
    (
      (0.4, 0.4),
      "The span 0.4:0.4 is empty. To put something in between, let it reach into the wor",
    ),
  ],
)
def test_a_span_that_is_none_says_what_to_give(span, text):
  with pytest.raises(ConfigError) as error:
    editing.holes_of([span], 25, 25.0, 1.0)
  assert text in str(error.value)


@pytest.fixture
def run(made_up):
  return made_up.trained(mixtures.tts, mixtures.asr, mixtures.continuation, layout=RULE)


def test_a_model_is_prompted_with_the_rows_it_was_trained_with(made_up, run, monkeypatch):
  """One that says what it learned gives the recording back, whichever spans are asked for."""
  prepared, layout = run.prepared, run.prepared.layouts["tts"]
  entry, tag = prepared.entries(None, "train")[1], "[TTS English]"
  streams = {name: entry.streams[name] for name in layouts.stream_names(layout)}
  said = entry.utterances["target"].text
  learned = {}
  for key in range(30):
    grid = layouts.realize(layout, streams, tag, prepared.space, (key,))
    blocks = layout.grammar(prepared.space.streams).blocks
    pieces = layouts.recover(layout, grid.tokens_LK, prepared.space).pieces
    drawn = [piece.frames for piece in pieces if blocks[piece.block].end == "span_end"]
    learned[tuple((span.start, span.stop) for span in drawn)] = grid
  assert {len(holes) for holes in learned} == {1, 2}

  for holes, grid in learned.items():

    def remember(model, params, prompts, *given, grid=grid, **options):
      (prompt,) = prompts
      np.testing.assert_array_equal(prompt.tokens_LK, grid.tokens_LK[: len(prompt)])
      assert grid.weights_LK[len(prompt) :].any(axis=1)[0]
      return [decode.Decoded(grid.tokens_LK, -1.0, 1, True)]

    monkeypatch.setattr(decode, "decode", remember)
    asked = [(start / 25, stop / 25) for start, stop in holes]
    edit = Input("a", wave_S=made_up.wave_of(said), text=said, edits=asked)
    (result,) = generate.generate(run, "tts", [edit], language="en")
    np.testing.assert_array_equal(result.wave_S, made_up.wave_of(said))


def test_changed_words_become_holes_and_a_note_says_when(made_up, run, monkeypatch):
  asked = []

  def answer(trained, task, prompts, **options):
    asked.extend(prompts)
    return made_up.oracle(trained, task, prompts)

  monkeypatch.setattr(generate.prompting, "continuations", answer)
  said, text = "one two six ten", "one four six ten"
  edit = Input("a.wav", wave_S=made_up.wave_of(said), text=text, edits=said)
  (result,) = generate.generate(run, "tts", [edit], language="en")
  assert result.notes == ("the words that change are at 0.07:0.38 s, estimated from their letters",)
  (prompt,) = asked
  assert prompt.holes == [(1, 10)] and prompt.tag == "[TTS English]"
  assert prompt.streams["target.text"].tolist() == [ord(letter) for letter in text]
  assert prompt.streams["target.units"].tolist() == made_up.units_of(said).tolist()


def test_a_task_that_fills_no_spans_says_which_does(made_up, run):
  edit = Input("a", wave_S=made_up.wave_of("one"), text="two", edits=[(0.0, 0.04)])
  for asked, task in ((made_up.trained(), "tts"), (run, "asr"), (run, "continuation")):
    with pytest.raises(ConfigError) as error:
      generate.generate(asked, task, [edit], language="en")
    assert (
      f"Task {task!r} cannot edit a recording: that takes a task from text to speech whose"
      in (str(error.value))
    )


def test_frames_of_no_fixed_length_have_no_seconds(made_up, run, monkeypatch):
  tones = run.prepared.tokenizers["units"]
  monkeypatch.setattr(tones, "spec", dataclasses.replace(tones.spec, rate_hz=None), raising=False)
  edit = Input("a", wave_S=made_up.wave_of("one"), text="two", edits=[(0.0, 0.04)])
  with pytest.raises(ConfigError, match="'units' have no fixed length, so a time cannot be turned"):
    generate.generate(run, "tts", [edit], language="en")


def test_a_recording_longer_than_any_trained_on_is_refused(made_up, run):
  said = " ".join(["one two six"] * 5)
  edit = Input("a", wave_S=made_up.wave_of(said), text="one", edits=[(0.0, 0.1)])
  (failure,) = generate.generate(run, "tts", [edit], language="en")
  assert isinstance(failure.error, RecordError)
  assert "frames of units in one piece, but the model was trained on at most" in str(failure.error)
