"""What turns 16 kHz waves into the frames that a speech encoder starts from.

Each front has frozen settings, whose methods have no parameters, and a module with its arrays:

    settings.features(wave_BS, samples_B)  ->  features     what the publisher's preprocessor gives
    module(features, ...)                  ->  frames_BTC   one frame for each state

Samples after the first `samples_B` of a clip, which are padding, change no frame of the clip.
"""

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from audiopalm.errors import ConfigError
from audiopalm.nn import conv, fbank, layers, log_mel
from audiopalm.nn.fbank import Count

RATE_HZ = 16_000
NORM_EPS = 1e-5  # of norms in the convolutions
WAVE_EPS, BIN_EPS = 1e-7, 1e-7  # added to the variance of waves and of bins of filterbanks
MEL_EPS = 1e-5  # added to the deviation of log-mel bins
SUMMED = 256  # frames or samples summed at a time, so that long sums in float32 stay exact


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Moments:
  """Mean and variance of each channel over the frames of whole clips, [B, 1, C] each."""

  mean_B1C: jax.Array | np.ndarray
  variance_B1C: jax.Array | np.ndarray


@dataclasses.dataclass(frozen=True)
class Waves:
  """Strided convolutions over the wave itself, each with a norm and GELU.

  `norm`: "group" norms each channel over the frames of the clip, after the first convolution alone;
  "layer" norms each frame, after each. With `normalized`, waves get mean 0 and variance 1 first.
  Source: wav2vec 2.0, arXiv:2006.11477, section 2.
  """

  channels: tuple[int, ...]
  kernels: tuple[int, ...]
  strides: tuple[int, ...]
  norm: Literal["group", "layer"]
  bias: bool
  normalized: bool

  @property
  def hop_samples(self) -> int:
    return math.prod(self.strides)

  @property
  def field_samples(self) -> int:
    """The samples that one frame sees."""
    hops = [math.prod(self.strides[:number]) for number in range(len(self.strides))]
    return 1 + sum((width - 1) * hop for width, hop in zip(self.kernels, hops, strict=True))

  @property
  def width(self) -> int:
    return self.channels[-1]

  @property
  def multiplications(self) -> float:
    """What one frame takes."""
    into, outputs, total = 1, self.hop_samples, 0.0
    for out, kernel, stride in zip(self.channels, self.kernels, self.strides, strict=True):
      outputs /= stride
      total += outputs * kernel * into * out
      into = out
    return total

  def frames(self, samples: Count) -> Count:
    """Returns the frames of a clip of so many samples: an int or an array."""
    count = (samples - self.field_samples) // self.hop_samples + 1
    return count * (count > 0)

  def first_frames(self, samples: Count) -> Count:
    """Returns the frames after the first convolution."""
    count = (samples - self.kernels[0]) // self.strides[0] + 1
    return count * (count > 0)

  def features(self, wave_BS: jax.Array, samples_B: jax.Array) -> jax.Array:
    """Returns wave_BS, 0 in its padding."""
    wave_BS = jnp.where(inside(wave_BS.shape[1], samples_B), wave_BS, 0)
    if not self.normalized:
      return wave_BS
    over_wave = moments(wave_BS[..., None], samples_B)
    deviation_B1 = jnp.sqrt(over_wave.variance_B1C[..., 0] + WAVE_EPS)
    normed_BS = (wave_BS - over_wave.mean_B1C[..., 0]) / deviation_B1
    return jnp.where(inside(wave_BS.shape[1], samples_B), normed_BS, 0)


@dataclasses.dataclass(frozen=True)
class LogMels:
  """Whisper's log-mel spectrum in `bins` bins, two convolutions, and a position for each frame.

  A clip is padded with silence to `positions` frames of 20 ms, which all attend to each other. The
  published models take 30 s, 1,500 positions. `window_s` cuts the window and its positions: 30 s of
  states of a digit are mostly silence, but those of a shorter window are not what the published
  encoder computes. Source: arXiv:2212.04356.
  """

  bins: int
  positions: int
  width: int
  window_s: float | None = None

  hop_samples = 2 * log_mel.HOP
  field_samples = 1  # a frame that has any sample is one

  @property
  def multiplications(self) -> float:
    """What one frame takes."""
    return 3.0 * self.width * (2 * self.bins + self.width)

  def __post_init__(self):
    if self.window_s is None:
      return
    frames, longest_s = self.window_s * RATE_HZ / self.hop_samples, self._seconds(self.positions)
    if not 0 < self.window_s <= longest_s or frames != round(frames):
      raise ConfigError(
        f"window_s is {self.window_s}, expected a multiple of {self._seconds(1):g} s up to "
        f"{longest_s:g} s, for which the model has positions. Give None for all of them."
      )

  def _seconds(self, frames: int) -> float:
    return frames * self.hop_samples / RATE_HZ

  @property
  def window_frames(self) -> int:
    if self.window_s is None:
      return self.positions
    return round(self.window_s * RATE_HZ / self.hop_samples)

  @property
  def window_samples(self) -> int:
    return self.window_frames * self.hop_samples

  def frames(self, samples: Count) -> Count:
    """Returns the frames that hold samples of a clip: an int or an array."""
    return -(-samples // self.hop_samples)

  def features(self, wave_BS: jax.Array, samples_B: jax.Array) -> jax.Array:
    """Returns mel_BTM of the whole window; ConfigError for waves that are longer."""
    beyond = self.window_samples - wave_BS.shape[1]
    if beyond < 0:
      raise ConfigError(
        f"A wave has {wave_BS.shape[1]} samples, but the encoder has a window of "
        f"{self.window_samples} ({self._seconds(self.window_frames):g} s). Encode it in windows."
      )
    wave_BS = jnp.where(inside(wave_BS.shape[1], samples_B), wave_BS, 0)
    return log_mel.whisper_log_mel(jnp.pad(wave_BS, ((0, 0), (0, beyond))), self.bins)


@dataclasses.dataclass(frozen=True)
class Filterbanks:
  """Kaldi's filterbanks in `bins` bins, normed over each clip, `stacked` frames side by side.

  Each bin gets mean 0 and variance 1 (unbiased) over the frames of the clip; those that are left
  over at its end count there too. Source: w2v-BERT 2.0, arXiv:2312.05187.
  """

  bins: int
  stacked: int

  multiplications = 0.0  # of learned arrays

  @property
  def hop_samples(self) -> int:
    return self.stacked * fbank.HOP

  @property
  def field_samples(self) -> int:
    return (self.stacked - 1) * fbank.HOP + fbank.WINDOW

  @property
  def width(self) -> int:
    return self.stacked * self.bins

  def frames(self, samples: Count) -> Count:
    """Returns the frames of a clip of so many samples: an int or an array."""
    return fbank.frames(samples) // self.stacked

  def features(self, wave_BS: jax.Array, samples_B: jax.Array) -> jax.Array:
    """Returns features_BTE, two frames side by side."""
    mel_BTM = fbank.fbank(wave_BS, self.bins)
    counts_B = fbank.frames(samples_B)
    over_clip = moments(mel_BTM, counts_B)
    unbiased_B = counts_B / jnp.maximum(counts_B - 1, 1)
    variance_B1M = over_clip.variance_B1C * unbiased_B[:, None, None]
    return self.stack((mel_BTM - over_clip.mean_B1C) / jnp.sqrt(variance_B1M + BIN_EPS))

  def stack(self, normed_BTM: jax.Array) -> jax.Array:
    """Returns features_BTE of normed frames; those that fill no stack are left out."""
    count = normed_BTM.shape[1] // self.stacked
    return normed_BTM[:, : count * self.stacked].reshape(len(normed_BTM), count, self.width)


@dataclasses.dataclass(frozen=True)
class Mels:
  """Log-mel frames of 10 ms in `bins` bins, and convolutions of these `strides`, each with GELU.

  The bins end at `high_hz`: 3,800 where some of the speech has the band of telephones. Each has
  mean 0 and deviation 1 over the frames of its clip. On a CPU this front takes a small part of the
  time of `Waves`. Source: BEST-RQ, arXiv:2202.01855, and w2v-BERT, arXiv:2108.06209.
  """

  bins: int
  strides: tuple[int, ...]
  width: int
  high_hz: float = log_mel.HIGH_HZ

  def __post_init__(self):
    check_band(self.bins, self.high_hz)

  @property
  def hop_samples(self) -> int:
    return math.prod(self.strides) * log_mel.HOP

  @property
  def field_samples(self) -> int:
    """The samples of a frame that no neighbor shares: what comes after a clip is silence."""
    return self.hop_samples

  @property
  def multiplications(self) -> float:
    """What one frame takes."""
    channels, outputs, total = self.bins, math.prod(self.strides), 0.0
    for stride in self.strides:
      outputs /= stride
      total += outputs * (stride + 1) * channels * self.width
      channels = self.width
    return total

  def frames(self, samples: Count) -> Count:
    """Returns the whole frames of a clip of so many samples: an int or an array."""
    return samples // self.hop_samples

  def features(self, wave_BS: jax.Array, samples_B: jax.Array) -> jax.Array:
    """Returns mel_BTM, 0 in padding."""
    return normed_log_mel(wave_BS, samples_B, self.bins, self.high_hz)


FrontSettings = Waves | LogMels | Filterbanks | Mels


class WaveFront(nnx.Module):
  """The convolutions of `Waves`, named "0", "1" and so on, with their norms."""

  def __init__(self, settings: Waves, key: jax.Array):
    s = settings
    self.convolutions, self.norms = nnx.Module(), nnx.Module()
    channels = 1
    sizes = zip(s.channels, s.kernels, s.strides, strict=True)
    for number, (width, kernel, stride) in enumerate(sizes):
      own_key = jax.random.fold_in(key, number)
      convolution = layers.Convolution(
        channels, width, kernel, own_key, stride=stride, biased=s.bias
      )
      setattr(self.convolutions, str(number), convolution)
      if s.norm == "layer" or number == 0:
        setattr(self.norms, str(number), layers.LayerNorm(width, NORM_EPS))
      channels = width
    self.settings = s

  def __call__(
    self,
    wave_BS: jax.Array,
    samples_B: jax.Array,
    of_clip: Moments | None = None,
  ) -> jax.Array:
    """Returns frames_BTC. `of_clip` are the moments of the first convolution where the wave is a
    part of a clip."""
    s = self.settings
    x_BTC = wave_BS[..., None]
    for number in range(len(s.channels)):
      x_BTC = getattr(self.convolutions, str(number))(x_BTC)
      norm = getattr(self.norms, str(number), None)
      if s.norm == "group" and number == 0:
        over_clip = of_clip or moments(x_BTC, s.first_frames(samples_B))
        factor_B1C = norm.scale[...] / jnp.sqrt(over_clip.variance_B1C + NORM_EPS)
        x_BTC = (x_BTC - over_clip.mean_B1C) * factor_B1C + norm.bias[...]
      elif norm is not None:
        x_BTC = norm(x_BTC)
      x_BTC = layers.gelu(x_BTC)
    return x_BTC

  def first_moments(self, wave_BS: jax.Array, samples_B: jax.Array) -> Moments:
    """Returns the moments of the first convolution over the frames of each wave."""
    x_BTC = getattr(self.convolutions, "0")(wave_BS[..., None])
    return moments(x_BTC, self.settings.first_frames(samples_B))


class MelFront(nnx.Module):
  """The convolutions of `Mels`, named "0", "1" and so on."""

  def __init__(self, settings: Mels, key: jax.Array):
    self.convolutions = nnx.Module()
    channels = settings.bins
    for number, stride in enumerate(settings.strides):
      own_key = jax.random.fold_in(key, number)
      setattr(
        self.convolutions, str(number), conv.Strided(channels, settings.width, stride, own_key)
      )
      channels = settings.width
    self.count = len(settings.strides)

  def __call__(self, mel_BTM: jax.Array, products: jax.typing.DTypeLike | None = None) -> jax.Array:
    """Returns frames_BTC; a frame sees its own frames of 10 ms and some of the frame before."""
    x_BTC = mel_BTM
    for number in range(self.count):
      x_BTC = layers.gelu(getattr(self.convolutions, str(number))(x_BTC, products))
    return x_BTC


class LogMelFront(nnx.Module):
  """Two convolutions over three frames, the second of stride 2, and stored positions."""

  def __init__(self, settings: LogMels, key: jax.Array):
    s = settings
    keys = jax.random.split(key, 3)
    self.first = layers.Convolution(s.bins, s.width, 3, keys[0])
    self.second = layers.Convolution(s.width, s.width, 3, keys[1], stride=2)
    self.positions = layers.normal(keys[2], (s.positions, s.width), 0.02, (None, "embed"))

  def __call__(self, mel_BTM: jax.Array) -> jax.Array:
    """Returns frames_BTD of the whole window, whatever the clip has of it."""
    x_BTD = layers.gelu(self.first(mel_BTM, (1, 1)))
    x_BTD = layers.gelu(self.second(x_BTD, (1, 1)))
    return x_BTD + self.positions[...][: x_BTD.shape[1]]


def inside(length: int, counts_B: jax.Array) -> jax.Array:
  """Returns bool [B, length]: which frames or samples belong to the clips."""
  return jnp.arange(length) < counts_B[:, None]


def check_band(bins: int, high_hz: float) -> None:
  """Raises ConfigError unless so many mel bins can end there."""
  if bins < 1 or not 100 <= high_hz <= RATE_HZ / 2:
    raise ConfigError(
      f"A log-mel spectrum has bins={bins} that end at high_hz={high_hz:g}, expected at least one "
      f"that ends between 100 and {RATE_HZ // 2:,} Hz, half of what waves are sampled at."
    )


def normed_log_mel(
  wave_BS: jax.Array, samples_B: jax.Array, bins: int, high_hz: float = log_mel.HIGH_HZ
) -> jax.Array:
  """Returns mel_BTM of frames of 10 ms: each bin has mean 0 and deviation 1 over the whole frames
  of its clip, and is 0 behind them."""
  wave_BS = jnp.where(inside(wave_BS.shape[1], samples_B), wave_BS, 0)
  mel_BTM = log_mel.log_mel(wave_BS, bins, high_hz)
  counts_B = samples_B // log_mel.HOP
  inside_BT1 = inside(mel_BTM.shape[1], counts_B)[..., None]
  count_B11 = jnp.maximum(counts_B, 1)[:, None, None]
  mean_B1M = jnp.sum(mel_BTM * inside_BT1, axis=1, keepdims=True) / count_B11
  far_BTM = (mel_BTM - mean_B1M) * inside_BT1
  variance_B1M = jnp.sum(jnp.square(far_BTM), axis=1, keepdims=True) / count_B11
  return far_BTM / (jnp.sqrt(variance_B1M) + MEL_EPS)


def moments(x_BTC: jax.Array, counts_B: jax.Array) -> Moments:
  """Returns the moments of the first `counts_B` frames of each clip, in float32."""
  x_BTC = x_BTC.astype(jnp.float32)
  within_BT1 = inside(x_BTC.shape[1], counts_B)[..., None]
  count_B11 = jnp.maximum(counts_B, 1)[:, None, None]
  mean_B1C = _summed(jnp.where(within_BT1, x_BTC, 0)) / count_B11
  centered_BTC = jnp.where(within_BT1, x_BTC - mean_B1C, 0)
  return Moments(mean_B1C, _summed(jnp.square(centered_BTC)) / count_B11)


def _summed(x_BTC: jax.Array) -> jax.Array:
  """Returns the sum over time, [B, 1, C]."""
  batch, length, channels = x_BTC.shape
  parts = max(1, -(-length // SUMMED))
  padded_BTC = jnp.pad(x_BTC, ((0, 0), (0, parts * SUMMED - length), (0, 0)))
  part_sums = padded_BTC.reshape(batch, parts, SUMMED, channels).sum(axis=2)
  return part_sums.sum(axis=1, keepdims=True)
