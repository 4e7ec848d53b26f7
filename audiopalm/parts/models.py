"""Decoders and speech encoders by size, for configs.

`tiny` is for a laptop, `decoder_1b` has Llama's shape (arXiv:2302.13971), and `decoder_8b` and
`decoder_62b` those of PaLM (arXiv:2204.02311, table 1), from which AudioPaLM starts
(arXiv:2306.12925, section 3.1).
"""

import dataclasses
from typing import Literal

from audiopalm import experiment as experiments
from audiopalm import runs
from audiopalm.errors import ConfigError
from audiopalm.models import clip_heads
from audiopalm.models.base import ModelSettings
from audiopalm.models.decoder import Decoder
from audiopalm.models.depth import DepthTransformer
from audiopalm.models.encoder import Encoder
from audiopalm.models.speech_encoder import SpeechEncoder
from audiopalm.nn import distances, encoding, fronts, log_mel


def pretrained(folder: str, dropout: float = 0.0, trust: tuple[str, ...] = ()) -> ModelSettings:
  """Returns the settings of the model of an earlier run, or of a text model in a Hugging Face
  folder, with which a run can start from its parameters.

  ConfigError for a text model that no `Decoder` can represent. `trust` names the packages outside
  of audiopalm whose classes the earlier run's config uses.
  """
  from audiopalm.pretrained import source  # needs safetensors, unlike the functions below

  if runs.holds(folder):
    return dataclasses.replace(experiments.of_run(folder, trust).model, dropout=dropout)
  return dataclasses.replace(source.described(folder)[0], dropout=dropout)


def tiny(
  width: int = 256,
  layers: int = 4,
  dropout: float = 0.0,
  depth_head: DepthTransformer | None = None,
) -> Decoder:
  """Returns a Llama-shaped decoder for a laptop: 3.1 million parameters by default, without the
  vocabulary."""
  return Decoder(
    layers=layers, width=width, heads=width // 64, kv_heads=width // 64, head_width=64,
    hidden=width * 11 // 4, embed_scale=True, tied=False, dropout=dropout, depth_head=depth_head,
  )  # fmt: skip


def depth_head(width: int = 128, layers: int = 2) -> DepthTransformer:
  """Returns a depth head for a laptop: 0.4 million parameters by default, without tables and input
  projections."""
  return DepthTransformer(layers=layers, width=width, heads=width // 64, hidden=width * 11 // 4)


Codes, Labels = clip_heads.Codes, clip_heads.Labels
Quantizer, Transcript = clip_heads.Quantizer, clip_heads.Transcript

FRONTS = {  # name: function of the width and of where log-mel bins end
  "mel": lambda width, high_hz: fronts.Mels(80, (2,), width, high_hz),  # 20 ms
  "mel_40ms": lambda width, high_hz: fronts.Mels(80, (2, 2), width, high_hz),
  "wave": lambda width, high_hz: fronts.Waves(  # 20 ms; that of wav2vec 2.0, HuBERT, WavLM base
    channels=(512,) * 7, kernels=(10, 3, 3, 3, 3, 2, 2), strides=(5, 2, 2, 2, 2, 2, 2),
    norm="group", bias=False, normalized=False,
  ),
}  # fmt: skip
POSITIONS = {  # name: (convolutional positions, biases or rotation by distance)
  "rotary": (None, distances.Rotary()),
  "convolved": (distances.ConvolutionSettings(kernel=128, groups=16), None),
  "gated": (
    distances.ConvolutionSettings(kernel=128, groups=16),
    distances.Buckets(count=320, farthest=800),
  ),
  "buckets": (None, distances.Buckets(count=320, farthest=800)),
  "clipped": (None, distances.Clipped(before=64, after=8)),
}


def speech_encoder(
  *heads: clip_heads.HeadSettings,
  layers: int = 4,
  width: int = 256,
  heads_per_layer: int | None = None,
  hidden: int | None = None,
  front: Literal["mel", "mel_40ms", "wave"] = "mel",
  positions: Literal["rotary", "convolved", "gated", "buckets", "clipped"] = "rotary",
  order: Literal["pre", "post", "conformer"] = "pre",
  dropout: float = 0.0,
  front_gradient: float = 1.0,
  high_hz: float = log_mel.HIGH_HZ,
) -> SpeechEncoder:
  """Returns an encoder of waves with `heads` (models/clip_heads.py), for `objectives.ClipLosses`.

  By default it has 3.4 million parameters, without heads, and a log-mel front of 80 bins that end
  at `high_hz`, which suits a CPU. For other encoders, construct `SpeechEncoder` with any `Encoder`.
  """
  for name, value, known in (("front", front, FRONTS), ("positions", positions, POSITIONS)):
    if value not in known:
      raise ConfigError(f"{name} must be one of {', '.join(known)}, not {value!r}.")
  convolved, by_distance = POSITIONS[positions]
  block = encoding.EncoderBlockSettings(
    layers=layers, width=width, heads=heads_per_layer or width // 64, hidden=hidden or 4 * width,
    order=order, activation="silu" if order == "conformer" else "gelu", key_bias=True,
    norm_eps=1e-5, distances=by_distance, conv_width=31 if order == "conformer" else 0,
  )  # fmt: skip
  encoder = Encoder(FRONTS[front](width, high_hz), block, projection_norm=True, positions=convolved)
  return SpeechEncoder(encoder, heads, dropout, front_gradient)


def decoder_1b(dropout: float = 0.0) -> Decoder:
  """Returns a Llama-shaped decoder of 1.0 billion parameters, without the vocabulary."""
  return Decoder(
    layers=16, width=2_048, heads=16, kv_heads=8, head_width=128, hidden=8_192,
    rope_base=500_000.0, dropout=dropout,
  )  # fmt: skip


def decoder_8b(dropout: float = 0.1) -> Decoder:
  """Returns PaLM 8B: 7.6 billion parameters without the vocabulary; AudioPaLM's dropout."""
  return _palm(layers=32, width=4_096, heads=16, dropout=dropout)


def decoder_62b(dropout: float = 0.1) -> Decoder:
  """Returns PaLM 62B: 60.4 billion parameters without the vocabulary; AudioPaLM's dropout."""
  return _palm(layers=64, width=8_192, heads=32, dropout=dropout)


def _palm(*, layers: int, width: int, heads: int, dropout: float) -> Decoder:
  return Decoder(
    layers=layers, width=width, heads=heads, kv_heads=1, head_width=256, hidden=4 * width,
    parallel_block=True, embed_scale=True, dropout=dropout,
  )  # fmt: skip
