"""Where words end in a text's ids and in frames of speech."""

import pytest

from audiopalm.data import words
from audiopalm.types import Utterance, Word


def said(text, *spoken):
  times = tuple(Word(word, i, i + 1) for i, word in enumerate(spoken))
  return Utterance(None, 16_000, text, "en", "a", times)


def letters(text):
  return [ord(letter) for letter in text]


def pieces(text):
  """Ids of what is between spaces, each with the space before it."""
  return [hash(piece) for piece in text.replace(" ", "| ").split("|")]


@pytest.mark.parametrize(
  "text, spoken, ends",
  [
    ("the cat, down.", ("the", "cat", "down"), [3, 8, 14]),  # punctuation goes with the word before
    ("The  Cat", ("the", "cat"), [3, 8]),  # no capitals are spoken
    ('"Hi," he said', ("hi", "he", "said"), [5, 8, 13]),
    ("l'eau", ("l", "eau"), [1, 5]),  # no space between them: behind the word itself
    ("one", ("one",), [3]),
  ],
)
def test_a_text_is_cut_behind_its_words(text, spoken, ends):
  assert words.ends_in_text(said(text, *spoken), letters(text), letters) == ends


def test_a_place_where_ids_cannot_be_cut_goes_with_the_next_word():
  text = "l'eau de mer"
  assert words.ends_in_text(said(text, "l", "eau", "de", "mer"), pieces(text), pieces) == [
    0,
    1,
    2,
    3,
  ]


def test_words_that_are_not_in_the_text_have_no_ends():
  for spoken in (("cat", "the"), ("the", "dog")):
    assert words.ends_in_text(said("the cat", *spoken), letters("the cat"), letters) is None


def test_frames_are_cut_in_the_middle_of_a_pause():
  spoken = (Word("a", 0.2, 1.0), Word("b", 1.4, 2.0), Word("c", 2.0, 2.1), Word("d", 9.0, 9.5))
  assert words.ends_in_frames(spoken, 60, 10.0) == [12, 20, 56, 60]
  assert words.ends_in_frames(spoken, 30, 10.0) == [12, 20, 30, 30]
  late = (Word("a", 0.0, 3.0), Word("b", 1.0, 2.0), Word("c", 1.0, 2.0))
  assert words.ends_in_frames(late, 60, 10.0) == [20, 20, 60]  # times that go back cut nothing
