"""SentencePiece text: exact round trips, deterministic fits, files, errors."""

import dataclasses
import pickle

import numpy as np
import pytest

from audiopalm.errors import ConfigError, DataError, TokenSpaceError
from audiopalm.tokenizers.text import SentencePieceText
from audiopalm.types import Utterance

TEXTS = [f"the {a} {b} at {n} o'clock" for a in ("red", "old") for b in ("train", "bus")
         for n in range(12)]  # fmt: skip
STRANGE = (
  "", " ", "  two  spaces ", "the red bus", " the red bus", "tab\tline\nreturn\r\n",
  "naïve façade",
  "日本語 テキスト", "👩‍👩‍👧 🇫🇷", "<unk> <0x41> <s>",
  "\u2581", "a\u2581\u2581 b\u2581",
  "nul\0byte", "\U000f0000\u2581",
  "e\u0301 \u00e9", "\ufeffmark", "\u00a0no break\u3000wide",
)  # fmt: skip


def said(text):
  return Utterance(None, 16_000, text, "en", "anna")


@pytest.fixture(scope="module")
def fitted():
  return SentencePieceText(size=320).fit(map(said, TEXTS), seed=0)


@pytest.mark.parametrize("text", STRANGE)
def test_any_string_is_decoded_unchanged(fitted, text):
  ids = fitted.encode_text(text)
  assert fitted.decode(ids) == text
  assert 0 not in ids  # "unknown" is never needed


def test_encode_is_encode_text_as_int32(fitted):
  ids = fitted.encode(said("the old train"))
  assert ids.dtype == np.int32 and ids.ndim == 1
  assert ids.tolist() == fitted.encode_text("the old train")


def test_common_words_take_few_ids(fitted):
  assert len(fitted.encode_text("the red train")) < len("the red train") / 2


def test_random_ids_decode_to_text(fitted):
  random = np.random.default_rng(0)
  size = fitted.spec.sizes[0]
  for _ in range(200):
    assert isinstance(fitted.decode(random.integers(size, size=random.integers(20))), str)
  assert fitted.decode([]) == ""


def test_spec_counts_every_id_and_no_controls(fitted):
  assert fitted.spec.name == "text"
  assert fitted.spec.modality == "text"
  assert fitted.spec.rate_hz is None
  assert 257 < fitted.spec.sizes[0] <= 320
  assert fitted.voices == ()


def test_the_fingerprint_depends_on_the_texts(fitted):
  again = SentencePieceText(size=320).fit(map(said, TEXTS), seed=1)
  other = SentencePieceText(size=320).fit(map(said, [*TEXTS, "and a tram"]), seed=0)
  assert again.spec == fitted.spec
  assert other.spec.fingerprint != fitted.spec.fingerprint


def test_tiny_corpus_gives_a_smaller_vocabulary():
  tiny = SentencePieceText(size=1_000).fit([said("yes"), said("no")], seed=0)
  assert tiny.spec.sizes[0] < 300
  assert tiny.decode(tiny.encode_text("yes, no?")) == "yes, no?"


def test_saved_and_pickled_equal_the_fitted(fitted, tmp_path):
  fitted.save(tmp_path / "text")
  for copy in (
    SentencePieceText(size=320).load(tmp_path / "text"),
    pickle.loads(pickle.dumps(fitted)),
  ):
    assert copy.spec == fitted.spec
    assert copy.encode_text("old\u2581bus") == fitted.encode_text("old\u2581bus")


def test_loading_with_other_settings_says_which(fitted, tmp_path):
  fitted.save(tmp_path)
  with pytest.raises(TokenSpaceError, match="size: config 400, workdir 320"):
    SentencePieceText(size=400).load(tmp_path)


def test_the_pieces_of_an_earlier_run_are_used_unchanged(fitted, tmp_path):
  fitted.save(tmp_path / "text")
  settings = dataclasses.replace(fitted.settings, fitted_in=str(tmp_path / "text"))
  settings.check()
  taken = settings.fit([said("other words")], seed=1)
  assert (taken.spec, taken.content) == (fitted.spec, fitted.content)
  taken.save(tmp_path / "again")
  moved = dataclasses.replace(settings, fitted_in="nowhere any more")
  assert moved.load(tmp_path / "again").spec == fitted.spec


def test_pieces_of_other_settings_are_refused(fitted, tmp_path):
  fitted.save(tmp_path)
  other = dataclasses.replace(fitted.settings, size=999, fitted_in=str(tmp_path))
  with pytest.raises(TokenSpaceError, match="size: config 999"):
    other.check()


def test_loading_from_an_empty_folder_says_what_to_run(tmp_path):
  with pytest.raises(TokenSpaceError, match="audiopalm prepare"):
    SentencePieceText().load(tmp_path)


def test_a_size_without_room_for_pieces_is_an_error():
  with pytest.raises(ConfigError, match="size=257, expected more than 257"):
    SentencePieceText(size=257)


def test_a_size_without_room_for_the_characters_is_an_error_that_says_how_much():
  with pytest.raises(ConfigError, match="6 different characters, .* Set size=512 or more"):
    SentencePieceText(size=260).fit([said("abc de")], seed=0)


def test_no_text_at_all_is_an_error():
  with pytest.raises(DataError, match="no utterance of the training split has a text"):
    SentencePieceText().fit([said(""), said("  ")], seed=0)


def test_half_a_surrogate_pair_is_an_error(fitted):
  with pytest.raises(DataError, match="Expected Unicode text"):
    fitted.encode_text("caf\udce9")


def test_words_are_single_pieces_and_decoded_unchanged():
  fitted = SentencePieceText(size=340, words=("[ASR", "French", "]")).fit(map(said, TEXTS), seed=0)
  assert len(fitted.encode_text("[ASR French]")) == 5  # with the space before each word
  for text in (*STRANGE, "[ASR French]", "x[ASR]French French"):
    assert fitted.decode(fitted.encode_text(text)) == text


def test_a_word_with_a_space_is_refused():
  with pytest.raises(
    ConfigError, match="'two words' among its words, expected text without spaces"
  ):
    SentencePieceText(words=("two words",))
