"""Tokenizers that configs name."""

from audiopalm.tokenizers.text import SentencePieceText
from audiopalm.tokenizers.units import KMeansUnits


def text(size: int = 512, stream: str = "text") -> SentencePieceText:
  """Returns SentencePiece text with byte fallback, `size` ids at most."""
  return SentencePieceText(stream=stream, size=size)


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
