import unicodedata

import pytest

from audiopalm import orthography

FORMS = (
  "Une tasse de café à côté.",
  unicodedata.normalize("NFD", "Une tasse de café à côté."),
  "Une\u00a0tasse de\u202fcafé à\r\ncôté.",
  "  Une tasse\tde café\u2028à \u0085 côté.\n",
  "\ufeffUne tas\u00adse de\u2060 \u202acafé\u202c \u2068à\u2069 co\u200e\u0302\u061cté.\u200f",
)


@pytest.mark.parametrize("form", FORMS)
def test_spellings_of_a_sentence_are_normalized_to_one(form):
  assert orthography.plain(form) == FORMS[0]
  assert orthography.plain(orthography.plain(form)) == FORMS[0]


def test_normalization_is_idempotent_for_any_characters():
  for letter in map(chr, [*range(0xD800), *range(0xE000, 0x30000)]):
    once = orthography.plain(f"a{letter}b{letter}")
    assert orthography.plain(once) == once


def test_characters_that_spell_words_are_kept():
  for text in ("می\u200cخواهم", "क्\u200dष", "👩\u200d👧", "ភាសា\u200bខ្មែរ"):
    assert orthography.plain(text) == unicodedata.normalize("NFC", text)


def test_whitespace_is_as_in_python():
  everywhere = {letter for letter in map(chr, range(0x110000)) if letter.isspace()}
  assert everywhere == orthography.SPACES
  assert all(orthography.plain(f"a{letter}b") == "a b" for letter in everywhere)


@pytest.mark.parametrize(
  "code", ["zh", "cmn-Hans-CN", "zh-Hant-TW", "yue_HK", "JA", "th", "km-KH", "bo"]
)
def test_languages_without_spaces_are_recognized_by_any_of_their_tags(code):
  assert not orthography.has_spaces(code)


@pytest.mark.parametrize("code", ["en", "ko", "vi", "sr-Latn", "thz", "und"])
def test_all_other_languages_have_spaces(code):
  assert orthography.has_spaces(code)


def test_texts_are_joined_as_in_their_language():
  assert (
    orthography.joined(["Good morning.", "", "How are you?"], "en") == "Good morning. How are you?"
  )
  assert orthography.joined(["早上好。", "", "你好吗？"], "zh-CN") == "早上好。你好吗？"
  assert orthography.joined(["我用iPhone", "Pro付款"], "zh") == "我用iPhone Pro付款"
  assert orthography.joined([], "en") == orthography.joined(["", ""], "zh") == ""


def test_a_letter_and_its_marks_are_one_grapheme():
  assert orthography.graphemes("e\u0301กำ👩\u200d👧") == ["e\u0301", "กำ", "👩\u200d👧"]
  assert orthography.graphemes("") == []
