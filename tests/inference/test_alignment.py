"""Times of words and phones from a path, and from what a model says of a recording."""

import types

import numpy as np
import pytest

from audiopalm.errors import ConfigError, RecordError
from audiopalm.inference import alignment, ctc
from audiopalm.inference.alignment import IdSpan, SpokenText
from audiopalm.objectives.clip_losses import ClipLosses
from audiopalm.objectives.ctc import CTC
from audiopalm.objectives.masked_units import MaskedUnits
from audiopalm.tokenizers.text import SentencePieceText
from audiopalm.types import Phone, Utterance, Word


def said(text, language="en"):
  return Utterance(None, 16_000, text, language, "anna")


class Pronouncing:
  """A tokenizer of phonemes that knows a few words: "of the" is spoken as one."""

  words = {"ten": "tɛn", "of": "ʌvðə", "men": "mɛn"}
  symbols = ["|", *"tɛnʌvðəm"]
  spec = types.SimpleNamespace(name="phonemes")

  def pronounce(self, utterance):
    return [tuple(self.words.get(token, "")) for token in utterance.text.split()]

  def encode_text(self, text):
    return [self.symbols.index(symbol) for symbol in text.split(" ")]


def test_phonemes_are_of_words_and_a_word_without_is_joined_to_the_one_before():
  made = alignment.targets(said("ten of the men"), Pronouncing())
  assert [Pronouncing.symbols[id_] for id_ in made.ids_N] == list("tɛn|ʌvðə|mɛn")
  assert made.words == (
    IdSpan(("ten",), 0, 3),
    IdSpan(("of", "the"), 4, 8),
    IdSpan(("men",), 9, 12),
  )
  assert made.phones[3] == IdSpan(("ʌ",), 4, 5)
  first = alignment.targets(said("the ten"), Pronouncing())
  assert first.words == (IdSpan(("the", "ten"), 0, 3),)


def test_punctuation_is_no_word():
  made = alignment.targets(said("ten , men"), Pronouncing())
  assert [word.texts for word in made.words] == [("ten",), ("men",)]


def test_a_text_without_ids_is_a_fault_of_the_record():
  with pytest.raises(RecordError, match="nothing to align: 'the' has no ids of the stream 'phonem"):
    alignment.targets(said("the"), Pronouncing())


def test_words_of_text_have_the_ids_of_their_letters():
  texts = [said("ten of the men"), said("the men of ten")] * 8
  tokenizer = SentencePieceText(size=290).fit(texts, seed=0)
  made = alignment.targets(said("ten of the men"), tokenizer)
  assert [word.texts for word in made.words] == [("ten",), ("of",), ("the",), ("men",)]
  spelled = [tokenizer.decode(made.ids_N[word.first : word.stop]) for word in made.words]
  assert [text.strip() for text in spelled] == ["ten", "of", "the", "men"]
  assert made.phones == ()


def test_boundaries_lie_between_what_is_shown_and_pauses_are_left_out():
  #        0  1  2   3  4  5   6  7 ... 16  17  18 19
  path = [-1, 0, -1, -1, 1, 2] + [-1] * 11 + [3, -1, -1]
  wanted = SpokenText(
    np.arange(4),
    (IdSpan(("a",), 0, 2), IdSpan(("of", "them"), 3, 4)),
    (IdSpan(("x",), 0, 1), IdSpan(("y",), 1, 2), IdSpan(("z",), 3, 4)),
  )
  words, phones = alignment.times(np.array(path), wanted, state_s=0.02)
  # x is shown from 0.02 to 0.04, y from 0.08 to 0.10, z from 0.34 to 0.36; the end is at 0.40.
  assert [phone.text for phone in phones] == ["x", "y", "z"]
  np.testing.assert_allclose(
    [(phone.start_s, phone.end_s) for phone in phones],
    [(0.0, 0.06), (0.06, 0.14), (0.30, 0.40)], atol=1e-9,
  )  # fmt: skip
  assert [word.text for word in words] == ["a", "of", "them"]
  np.testing.assert_allclose(
    [(word.start_s, word.end_s) for word in words],
    [(0.0, 0.14), (0.30, 1 / 3), (1 / 3, 0.40)], atol=1e-9,
  )  # fmt: skip
  assert isinstance(words[0], Word) and isinstance(phones[0], Phone)


def test_neighbors_without_a_pause_meet_in_the_middle():
  wanted = SpokenText(np.arange(2), (IdSpan(("a",), 0, 1), IdSpan(("b",), 1, 2)))
  words, _ = alignment.times(np.array([0, -1, -1, 1]), wanted, state_s=0.02)
  assert words[0].end_s == pytest.approx(words[1].start_s) == pytest.approx(0.04)


def test_what_a_model_says_gives_times_and_their_probability():
  ids = [1, 1, 2, 2]
  right_T = [4, 1, 4, 1, 4, 4, 2, 4, 2, 4]
  probability_TV = np.full((10, 5), 0.02)
  probability_TV[np.arange(10), right_T] = 0.92
  wanted = SpokenText(
    np.array(ids), tuple(IdSpan((text,), n, n + 1) for n, text in enumerate("abcd"))
  )
  heard = ctc.FrameLogProbs(np.log(probability_TV), 50.0)
  aligned = alignment.align(heard, wanted)
  assert aligned.confidence == pytest.approx(0.92)
  assert [word.text for word in aligned.words] == ["a", "b", "c", "d"]
  middles = [(word.start_s + word.end_s) / 2 for word in aligned.words]
  np.testing.assert_allclose(middles, [0.025, 0.07, 0.13, 0.175], atol=0.015)
  with pytest.raises(RecordError, match="4 tokens take at least 6 frames, the recording has 5"):
    alignment.align(ctc.FrameLogProbs(np.log(probability_TV[:5]), 50.0), wanted)


def trained(*parts):
  return types.SimpleNamespace(
    experiment=types.SimpleNamespace(objective=ClipLosses(parts)),
    prepared=types.SimpleNamespace(tokenizers={"text": "text", "phonemes": Pronouncing()}),
  )


def test_phonemes_are_preferred_to_text_and_a_run_without_ctc_is_refused():
  made = alignment.aligner(trained(CTC("text"), CTC("phonemes")))
  assert isinstance(made.tokenizer, Pronouncing)
  assert alignment.aligner(trained(MaskedUnits(), CTC("text"))).tokenizer == "text"
  with pytest.raises(ConfigError, match=r"a run that was trained by CTC, as configs/systems/align"):
    alignment.aligner(trained(MaskedUnits()))
