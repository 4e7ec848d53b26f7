import numpy as np
import pytest

from audiopalm.audio.silence import ENDS_S
from audiopalm.inference import pieces

RATE_HZ = 16_000
ENDS = round(ENDS_S * RATE_HZ)


def tone(seconds):
  return np.sin(np.arange(round(seconds * RATE_HZ)) * 0.2).astype(np.float32)


def silence(seconds):
  return np.zeros(round(seconds * RATE_HZ), np.float32)


def hiss(seconds, spread=1e-3):
  drawn_S = np.random.default_rng(0).normal(0, spread, round(seconds * RATE_HZ))
  return drawn_S.astype(np.float32)


def whole(part):
  """Encodes a part as itself."""
  return part


def cut_wave(wave_S, seconds):
  return pieces.cut_wave(wave_S, RATE_HZ, whole, most(seconds))


def most(seconds):
  return round((seconds + 2 * ENDS_S) * RATE_HZ)


def seconds_of(cut):
  """Returns how long each piece is without the silence that all have at their ends."""
  return [round(len(piece) / RATE_HZ - 2 * ENDS_S, 2) for piece in cut]


@pytest.mark.parametrize("between", (silence, hiss))
@pytest.mark.parametrize("before_s, after_s", ((0.0, 0.0), (0.03, 0.2), (1.0, 0.0), (3.0, 3.0)))
def test_a_wave_is_the_same_piece_however_much_silence_it_has_at_its_ends(
  between, before_s, after_s
):
  wave_S = np.concatenate([between(before_s), tone(1.0), between(after_s)])
  (piece,), inside = cut_wave(wave_S, 1.0)
  assert len(piece) == RATE_HZ + 2 * ENDS
  np.testing.assert_array_equal(piece[ENDS:-ENDS], tone(1.0))
  assert np.abs(piece[:ENDS]).max() < 5e-3 > np.abs(piece[-ENDS:]).max()
  assert inside == 0


def test_silence_that_is_added_has_the_offset_of_the_wave():
  (piece,), _ = cut_wave(tone(1.0) + np.float32(0.03), 1.0)
  np.testing.assert_allclose(piece[:ENDS], 0.03, atol=1e-3)
  np.testing.assert_array_equal(piece[ENDS:-ENDS], tone(1.0) + np.float32(0.03))


def test_a_wave_in_which_nothing_is_louder_than_the_rest_is_one_piece():
  wave_S = silence(1.0)
  (piece,), _ = cut_wave(wave_S, 1.0)
  assert piece is wave_S


def test_a_long_wave_is_cut_in_its_pauses():
  wave_S = np.concatenate([tone(1.0), silence(0.4), tone(1.0), silence(0.4), tone(1.0)])
  cut, inside = cut_wave(wave_S, 1.5)
  assert seconds_of(cut) == [1.0, 1.0, 1.0]
  assert inside == 0


@pytest.mark.parametrize("between", (silence, hiss))
@pytest.mark.parametrize("offset", (0.0, 0.03))
def test_a_long_file_is_cut_into_its_sentences_with_little_silence_at_their_ends(between, offset):
  lasts_s = np.random.default_rng(0).permutation(np.linspace(0.8, 2.0, 12)).round(2)
  wave_S = np.concatenate(
    [
      part
      for s in lasts_s
      for part in (between(0.6 + s / 2), tone(s / 2), between(0.2), tone(s / 2))
    ]
  )
  cut, inside = cut_wave(wave_S + np.float32(offset), 2.5)
  assert seconds_of(cut) == pytest.approx(lasts_s + 0.2, abs=0.0101)
  assert inside == 0


def test_pieces_together_hold_all_that_is_said():
  wave_S = np.concatenate([tone(0.7), silence(0.2), tone(1.3), silence(0.3), tone(2.0)])
  cut, _ = cut_wave(wave_S, 0.5)
  assert all(len(piece) <= most(0.5) for piece in cut)
  loud_S = np.concatenate(cut)
  loud_S = loud_S[np.abs(loud_S) > 0.01]
  np.testing.assert_array_equal(loud_S, wave_S[np.abs(wave_S) > 0.01])


def test_the_longest_pause_near_the_middle_is_preferred():
  wave_S = np.concatenate([tone(1.0), silence(0.15), tone(0.2), silence(0.45), tone(1.0)])
  cut, _ = cut_wave(wave_S, 2.0)
  assert seconds_of(cut) == pytest.approx([1.35, 1.0], abs=0.0101)


def test_a_long_pause_is_kept_where_the_wave_fits():
  wave_S = np.concatenate([tone(0.5), silence(0.8), tone(0.5)])
  cut, _ = cut_wave(wave_S, 2.0)
  assert seconds_of(cut) == [1.8]


def test_speech_without_a_pause_is_cut_and_the_cuts_are_counted():
  cut, inside = cut_wave(tone(4.0), 2.5)
  assert inside == len(cut) - 1 > 0


def test_a_wave_that_can_never_fit_ends_in_short_pieces():
  cut, _ = pieces.cut_wave(tone(0.3), RATE_HZ, whole, -1)
  loud_S = np.concatenate(cut)
  np.testing.assert_array_equal(loud_S[np.abs(loud_S) > 0.01], tone(0.3)[np.abs(tone(0.3)) > 0.01])


def test_text_is_cut_between_sentences_first():
  text = "One two. Three four. Five six."
  cut = pieces.cut_text(text, whole, 20)
  assert " ".join(cut) == text
  assert all(part.endswith(".") for part in cut)


def test_a_long_sentence_is_cut_between_words():
  assert pieces.cut_text("one two three four", whole, 10) == [
    "one two",
    "three four",
  ]


def test_chinese_sentences_are_cut_after_their_full_stops():
  sentences = ["今天天气很好。", "我去图书馆！", "你呢？", "他说：“不去。”", "好吧。"]
  assert pieces.cut_text("".join(sentences), whole, 8) == sentences


def test_ends_of_sentences_that_stand_together_stay_together():
  assert pieces.cut_text("真的吗？！我不信。", whole, 6) == ["真的吗？！", "我不信。"]


@pytest.mark.parametrize(
  ("first", "second"),
  [("كيف حالك؟", "أنا بخير."), ("यह किताब है।", "वह कलम है।"), ("יום טוב.", "להתראות.")],
)
def test_sentences_of_other_scripts_are_cut_at_their_ends(first, second):
  assert pieces.cut_text(f"{first} {second}", whole, 13) == [first, second]


def test_a_long_chinese_sentence_is_cut_after_commas_before_between_characters():
  assert pieces.cut_text("今天天气很好，我们去图书馆。", whole, 8) == [
    "今天天气很好，",
    "我们去图书馆。",
  ]


def test_a_text_without_any_boundary_is_cut_between_characters_and_loses_none():
  text = "我们明天早上坐火车去北京看朋友"
  cut = pieces.cut_text(text, whole, 4)
  assert all(len(part) <= 4 for part in cut)
  assert "".join(cut) == text


def test_every_part_is_encoded_once():
  encoded = []

  def encode(part):
    encoded.append(part)
    return part

  cut = pieces.cut_text("one two three four", encode, 10)
  assert encoded == ["one two three four", *cut]
  encoded.clear()
  wave_S = np.concatenate([tone(1.0), silence(0.4), tone(1.0)])
  cut, _ = pieces.cut_wave(wave_S, RATE_HZ, encode, most(1.5))
  assert [len(part) for part in encoded[1:]] == [len(part) for part in cut] and len(encoded) == 3


def test_marks_stay_with_their_letter():
  for letter, count in (("e\u0301", 8), ("กำ", 8), ("👩\u200d👩\u200d👧", 6), ("क्षि", 7)):
    cut = pieces.cut_text(letter * count, whole, len(letter) * 2)
    assert "".join(cut) == letter * count
    assert all(len(part) % len(letter) == 0 for part in cut)


def test_a_letter_that_can_never_fit_is_given_back_whole():
  assert pieces.cut_text("ab", whole, 0) == ["a", "b"]
  assert pieces.cut_text("e\u0301", whole, 0) == ["e\u0301"]
