"""Log-mel spectra on the device; on a mesh each device computes those of its own waves."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from audiopalm import sharding

RATE_HZ, HOP, WINDOW, SIZE = 16_000, 160, 400, 512  # in samples: 10 ms hop, 25 ms window, FFT
FLOOR = 1e-6  # least power of a mel bin: silence in 16-bit recordings


def log_mel(wave_BS: jax.Array, bins: int) -> jax.Array:
  """Returns float32 [B, T, M], T = S / HOP: the log power of 16 kHz waves in `bins` mel bins.

  The bins cover 20 to 7,600 Hz on HTK's scale; the window of frame t starts at sample t * HOP.
  """
  batch = PartitionSpec(*sharding.layout_of(wave_BS)[:1], None)
  out = PartitionSpec(*batch, None)
  return sharding.mapped(functools.partial(_log_mel, bins=bins), (batch,), out)(wave_BS)


def _log_mel(wave_BS, *, bins: int):
  frames = wave_BS.shape[1] // HOP
  wave_BS = jnp.pad(wave_BS, ((0, 0), (0, WINDOW)))
  hops = [wave_BS[:, start : start + frames * HOP] for start in range(0, WINDOW, HOP)]
  parts = [hop.reshape(len(wave_BS), frames, HOP) for hop in hops]
  window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
  frames_BTW = jnp.concatenate(parts, axis=-1)[..., :WINDOW] * window
  spectrum_BTF = jnp.fft.rfft(frames_BTW, SIZE)
  power_BTF = jnp.square(spectrum_BTF.real) + jnp.square(spectrum_BTF.imag)
  mel_BTM = jnp.einsum("BTF,FM->BTM", power_BTF, filters(bins), precision="highest")
  return jnp.log(jnp.maximum(mel_BTM, FLOOR))


@functools.cache
def filters(bins: int) -> np.ndarray:
  """Returns float32 [SIZE / 2 + 1, M]: the weight of each frequency in each triangular mel bin."""
  edges = np.linspace(_mel(20.0), _mel(7_600.0), bins + 2)
  frequency = _mel(np.arange(SIZE // 2 + 1) * RATE_HZ / SIZE)[:, None]
  left, middle, right = edges[:-2], edges[1:-1], edges[2:]
  rising, falling = (frequency - left) / (middle - left), (right - frequency) / (right - middle)
  return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def _mel(hertz):
  return 2595.0 * np.log10(1 + np.asarray(hertz) / 700.0)
