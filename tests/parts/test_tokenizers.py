"""Builders give the settings they name, and text that spells tags in few ids."""

import string

import pytest

from audiopalm.data.corpora import Synthetic, SyntheticDialogue, SyntheticText
from audiopalm.errors import ConfigError
from audiopalm.parts import mixtures, tokenizers
from audiopalm.tokenizers.lyra import Lyra
from audiopalm.tokenizers.mel_rvq import MelRVQ
from audiopalm.tokenizers.text import SentencePieceText
from audiopalm.tokenizers.units import KMeansUnits


def test_builders_give_settings():
  assert isinstance(tokenizers.text(size=400), SentencePieceText)
  assert tokenizers.text(size=400).size == 400
  assert tokenizers.units(size=100, rate_hz=50, warps=1) == KMeansUnits(
    size=100, rate_hz=50, warps=1
  )
  assert tokenizers.units(collapse=True).collapse
  assert tokenizers.mel_rvq(codebooks=4, mels=80) == MelRVQ(codebooks=4, mels=80)
  assert tokenizers.lyra("folder", levels=46) == Lyra(folder="folder", levels=46)


def test_every_word_of_every_tag_is_one_piece():
  spoken = (mixtures.asr, mixtures.tts, mixtures.ast, mixtures.s2st, mixtures.mt, mixtures.chain,
            mixtures.continuation)  # fmt: skip
  tasks = [build(Synthetic()) for build in spoken]
  tasks += [mixtures.dialogue(SyntheticDialogue()), mixtures.text(SyntheticText())]
  pieces = tokenizers.text().words
  for task in tasks:
    fields = [field for _, field, _, _ in string.Formatter().parse(task.tag) if field]
    tag = task.tag.format(**dict.fromkeys(fields, "French"))
    assert all(word.removesuffix("]") in pieces for word in tag.split()), tag
  assert {"English", "French", "German"} <= set(pieces)


def test_a_language_is_one_piece_where_asked_and_spelled_elsewhere():
  assert tokenizers.text(languages=("sw", "en")).words[-2:] == ("Swahili", "English")
  with pytest.raises(ConfigError, match="Unknown language 'xx'"):
    tokenizers.text(languages=("xx",))
