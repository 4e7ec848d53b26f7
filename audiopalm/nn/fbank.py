"""Log-mel filterbanks as Kaldi computes them, on the device."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

RATE_HZ, HOP, WINDOW, SIZE = 16_000, 160, 400, 512  # in samples: 10 ms hop, 25 ms window, FFT
FULL_SCALE = 2.0**15  # waves are 16-bit integers to Kaldi
PREEMPHASIS = 0.97
FLOOR = float(np.finfo(np.float32).eps)  # least power of a mel bin


def frames(samples):
  """Returns how many whole windows fit into so many samples: an int or an array."""
  count = (samples - WINDOW) // HOP + 1
  return count * (count > 0)


def fbank(wave_BS: jax.Array, bins: int) -> jax.Array:
  """Returns float32 [B, T, M], T = `frames(S)`: the log power of 16 kHz waves in `bins` mel bins.

  The window of frame t starts at sample t * HOP. Each window loses its mean, has its high
  frequencies raised, and is shaped by Povey's window; bins cover 20 to 8,000 Hz. Source: Kaldi,
  feature-window.cc and mel-computations.cc.
  """
  count = frames(wave_BS.shape[1])
  hops = -(-WINDOW // HOP)
  beyond = max(0, (count - 1 + hops) * HOP - wave_BS.shape[1])
  wave_BS = FULL_SCALE * jnp.pad(wave_BS, ((0, 0), (0, beyond)))
  parts = [
    wave_BS[:, start : start + count * HOP].reshape(len(wave_BS), count, HOP)
    for start in range(0, hops * HOP, HOP)
  ]
  frames_BTW = jnp.concatenate(parts, axis=-1)[..., :WINDOW]
  frames_BTW = frames_BTW - jnp.mean(frames_BTW, axis=-1, keepdims=True)
  before_BTW = jnp.concatenate([frames_BTW[..., :1], frames_BTW[..., :-1]], axis=-1)
  shaped_BTW = (frames_BTW - PREEMPHASIS * before_BTW) * _povey()
  spectrum_BTF = jnp.fft.rfft(shaped_BTW, SIZE)
  power_BTF = jnp.square(spectrum_BTF.real) + jnp.square(spectrum_BTF.imag)
  mel_BTM = jnp.einsum("BTF,FM->BTM", power_BTF, filters(bins), precision="highest")
  return jnp.log(jnp.maximum(mel_BTM, FLOOR))


@functools.cache
def _povey() -> np.ndarray:
  return (np.hanning(WINDOW) ** 0.85).astype(np.float32)


@functools.cache
def filters(bins: int) -> np.ndarray:
  """Returns float32 [SIZE / 2 + 1, M]: triangles that are even and linear in mel."""
  edges = np.linspace(_mel(20.0), _mel(RATE_HZ / 2), bins + 2)
  frequency = _mel(np.arange(SIZE // 2 + 1) * RATE_HZ / SIZE)[:, None]
  left, middle, right = edges[:-2], edges[1:-1], edges[2:]
  rising, falling = (frequency - left) / (middle - left), (right - frequency) / (right - middle)
  return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def _mel(hertz):
  return 1127.0 * np.log(1 + np.asarray(hertz) / 700.0)
