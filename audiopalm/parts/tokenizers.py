"""Tokenizers that configs name."""

from audiopalm.tokenizers.text import SentencePieceText
from audiopalm.tokenizers.units import KMeansUnits
from audiopalm.types import LANGUAGES

# What the tags of parts/mixtures are spelled with: [S2ST English French] in 7 ids, not in 22.
TAG_WORDS = (
  "[ASR",
  "[AST",
  "[S2ST",
  "[TTS",
  "[MT",
  "AST",
  "S2ST",
  "[CONTINUE",
  "[DIALOGUE",
  "[TEXT",
  "]",
)


def text(size: int = 512, stream: str = "text") -> SentencePieceText:
  """Returns SentencePiece text with byte fallback, `size` ids at most; tags take few of them."""
  words = TAG_WORDS + tuple(LANGUAGES.values())
  return SentencePieceText(stream=stream, size=size, words=words)


def units(
  size: int = 256,
  rate_hz: float = 25.0,
  collapse: bool = False,
  stream: str = "units",
  **options,
) -> KMeansUnits:
  """Returns semantic units: `size` clusters of speaker-normalised MFCCs, `rate_hz` a second.

  `collapse` writes each run of one unit once. `options` are further fields of `KMeansUnits`.
  """
  return KMeansUnits(stream=stream, size=size, rate_hz=rate_hz, collapse=collapse, **options)
