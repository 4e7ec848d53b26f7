import numpy as np
import pytest

from audiopalm.inference import pieces

RATE_HZ = 16_000


def tone(seconds):
  return np.sin(np.arange(round(seconds * RATE_HZ)) * 0.2).astype(np.float32)


def silence(seconds):
  return np.zeros(round(seconds * RATE_HZ), np.float32)


def fits(seconds):
  return lambda wave_S: len(wave_S) <= seconds * RATE_HZ


def test_a_wave_that_fits_is_one_piece():
  wave_S = tone(1.0)
  (piece,), inside = pieces.cut_wave(wave_S, RATE_HZ, fits(1.0))
  assert piece is wave_S
  assert inside == 0


def test_a_long_wave_is_cut_in_the_middle_of_its_pauses():
  wave_S = np.concatenate([tone(1.0), silence(0.4), tone(1.0), silence(0.4), tone(1.0)])
  cut, inside = pieces.cut_wave(wave_S, RATE_HZ, fits(1.5))
  assert [round(len(piece) / RATE_HZ, 1) for piece in cut] == [1.2, 1.4, 1.2]
  assert inside == 0


def test_pieces_together_are_the_wave():
  wave_S = np.concatenate([tone(0.7), silence(0.2), tone(1.3), silence(0.3), tone(2.0)])
  cut, _ = pieces.cut_wave(wave_S, RATE_HZ, fits(0.5))
  assert all(fits(0.5)(piece) for piece in cut)
  np.testing.assert_array_equal(np.concatenate(cut), wave_S)


def test_the_longest_pause_near_the_middle_is_preferred():
  wave_S = np.concatenate([tone(1.0), silence(0.15), tone(0.2), silence(0.5), tone(1.0)])
  cut, _ = pieces.cut_wave(wave_S, RATE_HZ, fits(2.0))
  assert [round(len(piece) / RATE_HZ, 2) for piece in cut] == [1.6, 1.25]


def test_speech_without_a_pause_is_cut_and_the_cuts_are_counted():
  cut, inside = pieces.cut_wave(tone(4.0), RATE_HZ, fits(2.5))
  assert inside == len(cut) - 1 > 0


def test_a_wave_that_can_never_fit_ends_in_short_pieces():
  cut, _ = pieces.cut_wave(tone(0.3), RATE_HZ, lambda wave_S: False)
  assert sum(map(len, cut)) == round(0.3 * RATE_HZ)


def test_text_is_cut_between_sentences_first():
  text = "One two. Three four. Five six."
  cut = pieces.cut_text(text, lambda part: len(part) <= 20)
  assert " ".join(cut) == text
  assert all(part.endswith(".") for part in cut)


def test_a_long_sentence_is_cut_between_words():
  assert pieces.cut_text("one two three four", lambda part: len(part) <= 10) == [
    "one two",
    "three four",
  ]


def short(most):
  return lambda part: len(part) <= most


def test_chinese_sentences_are_cut_after_their_full_stops():
  sentences = ["今天天气很好。", "我去图书馆！", "你呢？", "他说：“不去。”", "好吧。"]
  assert pieces.cut_text("".join(sentences), short(8)) == sentences


def test_ends_of_sentences_that_stand_together_stay_together():
  assert pieces.cut_text("真的吗？！我不信。", short(6)) == ["真的吗？！", "我不信。"]


@pytest.mark.parametrize(
  ("first", "second"),
  [("كيف حالك؟", "أنا بخير."), ("यह किताब है।", "वह कलम है।"), ("יום טוב.", "להתראות.")],
)
def test_sentences_of_other_scripts_are_cut_at_their_ends(first, second):
  assert pieces.cut_text(f"{first} {second}", short(13)) == [first, second]


def test_a_long_chinese_sentence_is_cut_after_commas_before_between_characters():
  assert pieces.cut_text("今天天气很好，我们去图书馆。", short(8)) == [
    "今天天气很好，",
    "我们去图书馆。",
  ]


def test_a_text_without_any_boundary_is_cut_between_characters_and_loses_none():
  text = "我们明天早上坐火车去北京看朋友"
  cut = pieces.cut_text(text, short(4))
  assert all(len(part) <= 4 for part in cut)
  assert "".join(cut) == text


def test_marks_stay_with_their_letter():
  for letter, count in (("e\u0301", 8), ("กำ", 8), ("👩\u200d👩\u200d👧", 6), ("क्षि", 7)):
    cut = pieces.cut_text(letter * count, short(len(letter) * 2))
    assert "".join(cut) == letter * count
    assert all(len(part) % len(letter) == 0 for part in cut)


def test_a_letter_that_can_never_fit_is_given_back_whole():
  assert pieces.cut_text("ab", lambda part: False) == ["a", "b"]
  assert pieces.cut_text("e\u0301", lambda part: False) == ["e\u0301"]
