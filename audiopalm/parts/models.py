"""Decoders by name and size, for configs."""

from audiopalm.models.decoder import Decoder


def tiny(width: int = 256, layers: int = 4, dropout: float = 0.0) -> Decoder:
  """Returns a Llama-shaped decoder for a laptop: 3.1 million parameters at its defaults, vocabulary
  aside."""
  return Decoder(
    layers=layers,
    width=width,
    heads=width // 64,
    kv_heads=width // 64,
    head_width=64,
    hidden=width * 11 // 4,
    embed_scale=True,
    tied=False,
    dropout=dropout,
  )
