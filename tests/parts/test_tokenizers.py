"""Builders give the settings they name."""

from audiopalm.parts import tokenizers
from audiopalm.tokenizers.text import SentencePieceText
from audiopalm.tokenizers.units import KMeansUnits


def test_builders_give_settings():
  assert tokenizers.text(size=400) == SentencePieceText(size=400)
  assert tokenizers.units(size=100, rate_hz=50, warps=1) == KMeansUnits(
    size=100, rate_hz=50, warps=1
  )
  assert tokenizers.units(collapse=True).collapse
