"""Builders give the settings they name, and text that spells tags in few ids."""

import json
import string

import pytest

from audiopalm.data.corpora import Synthetic, SyntheticDialogue, SyntheticText
from audiopalm.errors import ConfigError
from audiopalm.parts import mixtures, tokenizers
from audiopalm.tokenizers.lyra import Lyra
from audiopalm.tokenizers.mel_rvq import MelRVQ
from audiopalm.tokenizers.phonemes import Phonemes
from audiopalm.tokenizers.pitch import PitchUnits
from audiopalm.tokenizers.pretrained import PretrainedText
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
  assert tokenizers.phonemes(stress="apart") == Phonemes(stress="apart")
  assert tokenizers.pitch(size=32, rate_hz=25) == PitchUnits(size=32, rate_hz=25)
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


def test_a_pretrained_tokenizer_has_the_rows_of_its_model_and_is_named_by_its_file(tmp_path):
  (tmp_path / "config.json").write_text(
    json.dumps(
      {
        "model_type": "llama",
        "vocab_size": 131,
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
      }
    )
  )
  with pytest.raises(ConfigError, match="has no tokenizer.json. Expected .* or tokenizer.model"):
    tokenizers.pretrained(str(tmp_path))
  (tmp_path / "tokenizer.json").write_text("{}")
  digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"  # sha256 of {}
  assert tokenizers.pretrained(str(tmp_path), stream="words") == PretrainedText(
    str(tmp_path), 131, digest, stream="words"
  )
