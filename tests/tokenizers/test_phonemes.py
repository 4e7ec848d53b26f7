import dataclasses
import importlib.util
import json

import numpy as np
import pytest

from audiopalm.errors import ConfigError, DataError, RecordError, TokenSpaceError
from audiopalm.tokenizers import phonemes
from audiopalm.tokenizers.phonemes import BYTES, Phonemes
from audiopalm.types import Utterance

pytest.importorskip("espeakng_loader", reason="espeak-ng is not installed: audiopalm[data]")


def said(text, language="en"):
  return Utterance(None, 16_000, text, language, "anna")


TEXTS = [said("the children leave at ten past nine"), said("il y a vingt-deux enfants", "fr")]


@pytest.fixture(scope="module")
def fitted():
  return Phonemes(size=300).fit(TEXTS, seed=0)


def test_text_is_pronounced_in_its_language(fitted):
  assert fitted.decode(fitted.encode(TEXTS[0])) == (
    "ð ə | tʃ ˈɪ l d ɹ ə n | l ˈiː v | æ t | t ˈɛ n | p ˈæ s t | n ˈaɪ n"
  )
  assert fitted.decode(fitted.encode(TEXTS[1])) == "i l | i | a | v ˈɛ̃ t d ˈø z | ɑ̃ f ˈɑ̃"
  assert min(fitted.encode(TEXTS[0])) >= BYTES  # an id for each symbol
  assert fitted.decode(fitted.encode(said("nine", "fr"))) == "n ˈi n"


def test_symbols_without_an_id_are_written_as_bytes_and_nothing_is_lost(fitted):
  thing = fitted.encode(said("a hot thing"))
  assert fitted.decode(thing) == "ɐ | h ˈɑː t | θ ˈɪ ŋ"
  assert min(thing) < BYTES
  for text in ("", " ", "a  b", "ð ə | [ASR English]", "θ ð θ θ", " θ", "\U0001f600 | e\u0303"):
    assert fitted.decode(fitted.encode_text(text)) == text


def test_any_ids_are_decoded(fitted):
  random = np.random.default_rng(0)
  for _ in range(50):
    ids = random.integers(0, fitted.spec.sizes[0], 30)
    assert isinstance(fitted.decode(ids), str)
  assert fitted.decode([]) == ""
  with pytest.raises(DataError, match="Expected ids of the stream 'phonemes' from 0 to"):
    fitted.decode([fitted.spec.sizes[0]])


@pytest.mark.parametrize(
  ("stress", "text"),
  [("joined", "t ˈɛ n"), ("apart", "t ˈ ɛ n"), ("none", "t ɛ n")],
)
def test_stress_is_joined_apart_or_left_out(stress, text):
  fitted = Phonemes(stress=stress).fit([said("ten")], seed=0)
  assert fitted.decode(fitted.encode(said("ten"))) == text


def test_the_most_frequent_symbols_get_the_ids():
  fitted = Phonemes(size=BYTES + 3).fit([said("ten men"), said("ten")], seed=0)
  assert fitted.symbols == ("|", "n", "ˈɛ")
  assert fitted.decode(fitted.encode(said("ten men"))) == "t ˈɛ n | m ˈɛ n"


def test_tones_are_phonemes_of_tonal_languages():
  words = phonemes.pronounce("你好 好", "zh").words
  assert words == (("n", "i2", "χ", "ˈɑu2"), ("χ", "ˈɑu2"))


def test_phonemes_are_of_words_not_of_the_dash_before():
  assert phonemes.pronounce("train - at ten", "en").words[1:] == ((), ("æ", "t"), ("t", "ˈɛ", "n"))
  assert phonemes.pronounce("rock & roll", "en").words[1] == ("æ", "n", "d")


def test_marks_of_other_languages_are_no_phonemes():
  words = phonemes.pronounce("o shopping ok", "pt").words
  assert words[1] == ("ʃ", "ˈɒ", "p", "ɪ", "ŋ")


def test_ends_count_the_ids_of_the_words_before_a_cut(fitted):
  text = "leave the house of the train , at ten"
  utterance = said(text)
  whole = fitted.encode(utterance).tolist()
  assert [len(word) > 0 for word in fitted.pronounce(utterance)] == [
    True, True, True, True, False, True, False, True, True,
  ]  # fmt: skip
  for cut, before in [
    (0, ""),
    (3, ""),
    (5, "leave"),
    (9, "leave the"),
    (len("leave the house of"), "leave the house"),  # "of the" is spoken as one
    (len("leave the house of the"), "leave the house of the"),
    (len("leave the house of the train"), "leave the house of the train"),
    (len("leave the house of the train ,"), "leave the house of the train"),
  ]:
    (end,) = fitted.ends(utterance, [cut])
    alone = fitted.encode_text(fitted.decode(fitted.encode(said(before))) + " |") if before else []
    assert whole[:end] == alone, before
  assert fitted.ends(utterance, [len(text)]) == [len(whole)]


def test_save_and_load_are_inverse(fitted, tmp_path):
  fitted.save(tmp_path)
  loaded = Phonemes(size=300).load(tmp_path)
  assert loaded.spec == fitted.spec
  np.testing.assert_array_equal(loaded.encode(TEXTS[0]), fitted.encode(TEXTS[0]))
  with pytest.raises(TokenSpaceError, match="stress: config 'none', workdir 'joined'"):
    Phonemes(size=300, stress="none").load(tmp_path)


def test_another_release_of_espeak_is_refused(fitted):
  content = json.loads(fitted.content) | {"espeak-ng": "1.49"}
  other = dataclasses.replace(fitted, content=json.dumps(content).encode())
  with pytest.raises(DataError, match=r"was fitted with espeak-ng 1.49, but [\d.]+ is installed"):
    other.encode(TEXTS[0])


def test_bad_settings_texts_and_languages_are_named(fitted, monkeypatch):
  with pytest.raises(ConfigError, match="size=257, expected more than 257"):
    Phonemes(size=257)
  with pytest.raises(ConfigError, match="stress='loud', expected joined, apart or none"):
    Phonemes(stress="loud")
  with pytest.raises(DataError, match="No phonemes to fit the stream 'phonemes' on"):
    Phonemes().fit([said("")], seed=0)
  with pytest.raises(RecordError, match="expected a language that espeak-ng supports, got 'ha'"):
    fitted.encode(said("sannu", "ha"))
  assert Phonemes().fit([said("sannu", "ha"), said("ten")], seed=0).symbols == ("|", "n", "t", "ˈɛ")
  with pytest.raises(RecordError, match="unpaired surrogate"):
    fitted.encode(said("a\ud800"))
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(
    ConfigError, match="needs the package espeakng-loader, which is not installed"
  ):
    Phonemes().check()
