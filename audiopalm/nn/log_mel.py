"""Log-mel spectra on the device; on a mesh each device computes those of its own waves."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from audiopalm import sharding
from audiopalm.audio import spectrum

RATE_HZ, HOP, WINDOW, SIZE = 16_000, 160, 400, 512  # in samples: 10 ms hop, 25 ms window, FFT
HIGH_HZ = 7_600.0  # where mel bins end, unless told
FLOOR = 1e-6  # least power of a mel bin: silence in 16-bit recordings
WHISPER_FLOOR = 1e-10


def log_mel(wave_BS: jax.Array, bins: int, high_hz: float = HIGH_HZ) -> jax.Array:
  """Returns float32 [B, T, M], T = S / HOP: the log power of 16 kHz waves in `bins` mel bins.

  The bins cover 20 to `high_hz` on HTK's scale; the window of frame t starts at sample t * HOP.
  """
  batch = PartitionSpec(*sharding.layout_of(wave_BS)[:1], None)
  out = PartitionSpec(*batch, None)
  local = functools.partial(_log_mel, bins=bins, high_hz=high_hz)
  return sharding.mapped(local, (batch,), out)(wave_BS)


def _log_mel(wave_BS: jax.Array, *, bins: int, high_hz: float) -> jax.Array:
  frames_BTW = framed(wave_BS, wave_BS.shape[1] // HOP) * _hann()
  return jnp.log(jnp.maximum(in_bins(frames_BTW, SIZE, filters(bins, high_hz)), FLOOR))


def framed(wave_BS: jax.Array, count: int) -> jax.Array:
  """Returns frames_BTW: `count` windows, HOP samples apart, zero beyond the end of the wave."""
  hops = -(-WINDOW // HOP)
  beyond = max(0, (count - 1 + hops) * HOP - wave_BS.shape[1])
  wave_BS = jnp.pad(wave_BS, ((0, 0), (0, beyond)))
  parts = [
    wave_BS[:, start : start + count * HOP].reshape(len(wave_BS), count, HOP)
    for start in range(0, hops * HOP, HOP)
  ]
  return jnp.concatenate(parts, axis=-1)[..., :WINDOW]


def in_bins(frames_BTW: jax.Array, size: int, filters_FM: np.ndarray) -> jax.Array:
  """Returns mel_BTM: the power spectra of an FFT of `size`, summed with the weights of the bins."""
  spectrum_BTF = jnp.fft.rfft(frames_BTW, size)
  power_BTF = jnp.square(spectrum_BTF.real) + jnp.square(spectrum_BTF.imag)
  return jnp.einsum("BTF,FM->BTM", power_BTF, filters_FM, precision="highest")


def _hann() -> np.ndarray:
  return np.hanning(WINDOW + 1)[:-1].astype(np.float32)


@functools.cache
def filters(bins: int, high_hz: float = HIGH_HZ) -> np.ndarray:
  """Returns float32 [SIZE / 2 + 1, M]: the weight of each frequency in each triangular mel bin."""
  edges = np.linspace(spectrum.to_mel(20.0), spectrum.to_mel(high_hz), bins + 2)
  frequency_F = spectrum.to_mel(np.arange(SIZE // 2 + 1) * RATE_HZ / SIZE)
  return spectrum.triangles(edges, frequency_F).astype(np.float32)


def whisper_log_mel(wave_BS: jax.Array, bins: int) -> jax.Array:
  """Returns float32 [B, S / HOP, M] of 16 kHz waves as Whisper takes them.

  Frame t is centered on sample t * HOP of the wave, which is mirrored at both ends. The floor is 80
  dB below the loudest bin of the clip, and a factor of 10 in power is 1/4. Source: Radford et al.,
  arXiv:2212.04356, section 2.2.
  """
  half = WINDOW // 2
  padded_BS = jnp.pad(wave_BS, ((0, 0), (half, half)), mode="reflect")
  frames_BTW = framed(padded_BS, wave_BS.shape[1] // HOP) * _hann()
  mel_BTM = in_bins(frames_BTW, WINDOW, slaney_filters(bins))
  log_BTM = jnp.log10(jnp.maximum(mel_BTM, WHISPER_FLOOR))
  loudest_B11 = jnp.max(log_BTM, axis=(1, 2), keepdims=True)
  return (jnp.maximum(log_BTM, loudest_B11 - 8.0) + 4.0) / 4.0


@functools.cache
def slaney_filters(bins: int) -> np.ndarray:
  """Returns float32 [WINDOW / 2 + 1, M]: triangles from 0 to 8,000 Hz on Slaney's scale, each with
  an area of 1 Hz. The scale is linear below 1,000 Hz and logarithmic above."""
  highest = 15.0 + 27.0 * np.log(RATE_HZ / 2 / 1_000.0) / np.log(6.4)
  mels = np.linspace(0.0, highest, bins + 2)
  edges_hz = np.where(mels < 15.0, mels * 200.0 / 3.0, 1_000.0 * 6.4 ** ((mels - 15.0) / 27.0))
  frequency_hz = np.linspace(0, RATE_HZ / 2, WINDOW // 2 + 1)
  weights_FM = spectrum.triangles(edges_hz, frequency_hz) * 2.0 / (edges_hz[2:] - edges_hz[:-2])
  return weights_FM.astype(np.float32)
