"""Log-mel filterbanks as Kaldi computes them, on the device."""

import functools
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from audiopalm.audio import spectrum
from audiopalm.nn import log_mel
from audiopalm.nn.log_mel import HOP, RATE_HZ, SIZE, WINDOW  # in samples

FULL_SCALE = 2.0**15  # waves are 16-bit integers to Kaldi
PREEMPHASIS = 0.97
FLOOR = float(np.finfo(np.float32).eps)  # least power of a mel bin


Count = TypeVar("Count", int, jax.Array)


def frames(samples: Count) -> Count:
  """Returns how many whole windows fit into so many samples: an int or an array."""
  count = (samples - WINDOW) // HOP + 1
  return count * (count > 0)


def fbank(wave_BS: jax.Array, bins: int) -> jax.Array:
  """Returns float32 [B, T, M], T = `frames(S)`: the log power of 16 kHz waves in `bins` mel bins.

  The window of frame t starts at sample t * HOP. Each window loses its mean, has its high
  frequencies raised, and is shaped by Povey's window; bins cover 20 to 8,000 Hz. Source: Kaldi,
  feature-window.cc and mel-computations.cc.
  """
  frames_BTW = FULL_SCALE * log_mel.framed(wave_BS, frames(wave_BS.shape[1]))
  frames_BTW = frames_BTW - jnp.mean(frames_BTW, axis=-1, keepdims=True)
  before_BTW = jnp.concatenate([frames_BTW[..., :1], frames_BTW[..., :-1]], axis=-1)
  shaped_BTW = (frames_BTW - PREEMPHASIS * before_BTW) * _povey()
  return jnp.log(jnp.maximum(log_mel.in_bins(shaped_BTW, SIZE, filters(bins)), FLOOR))


@functools.cache
def _povey() -> np.ndarray:
  return (np.hanning(WINDOW) ** 0.85).astype(np.float32)


@functools.cache
def filters(bins: int) -> np.ndarray:
  """Returns float32 [SIZE / 2 + 1, M]: triangles that are even and linear in mel."""
  edges = np.linspace(_mel(20.0), _mel(RATE_HZ / 2), bins + 2)
  frequency_F = _mel(np.arange(SIZE // 2 + 1) * RATE_HZ / SIZE)
  return spectrum.triangles(edges, frequency_F).astype(np.float32)


def _mel(hertz: float | np.ndarray) -> np.ndarray:
  return 1127.0 * np.log(1 + np.asarray(hertz) / 700.0)
