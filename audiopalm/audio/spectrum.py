"""Spectral features in numpy: power spectrum, log-mel, cosine transform, slopes over time.

Frame t is centered on sample (t + 1/2) hop, so frames tile the wave, and a frame of a slower rate
covers whole frames of a faster one. A wave of S samples has ceil(S / hop) frames.
"""

import dataclasses
import functools

import numpy as np
from scipy import fft

from audiopalm.audio import silence, waveform

HOP_S = 0.01
WINDOW_S = 0.025
SILENCE = 1e-10  # added to every power (full scale is 1), as digital silence has none
SPEECH_DB = (27.0, 37.0)  # below the loud frames: speech above the first, silence below the second
CLEAR_DB = (22.0, 32.0)  # likewise for speech above the noise of a room
SLOPE_REACH = 2
LEAK_BINS = 16  # lowest bins of a transform, into which a window spreads a constant


def power(wave_S: np.ndarray, *, rate_hz: int = waveform.RATE_HZ, beyond: int = 0) -> np.ndarray:
  """Returns power_TE: |spectrum|^2 of Hann windows, zero-padded to the next power of two.

  White noise of variance 1 has a mean power of 1 in every bin but the lowest. A DC offset is
  removed from the wave, and then from every window: next to digital silence, which editors insert,
  the mean of the wave is not the offset. `beyond` adds frames before and after the wave; the first
  one on each side overlaps it.
  """
  hop_samples, window_samples = round(HOP_S * rate_hz), round(WINDOW_S * rate_hz)
  window = hann(window_samples)
  wave_S = np.asarray(wave_S, np.float32)
  centered_S = wave_S - wave_S.mean(dtype=np.float64).astype(np.float32) if len(wave_S) else wave_S
  frames_TS = framed(centered_S, hop_samples, window_samples, beyond) * window
  size = fft_samples(window_samples)
  spectrum_TE = fft.rfft(frames_TS, size, axis=1)
  spectrum_TE[:, :LEAK_BINS] -= spectrum_TE[:, :1] * _constant(window_samples, size)
  power_TE = np.square(spectrum_TE.real) + np.square(spectrum_TE.imag)
  return power_TE / np.square(window).sum()


def framed(
  wave_S: np.ndarray, hop_samples: int, window_samples: int, beyond: int = 0
) -> np.ndarray:
  """Returns frames_TS: one window per hop of the zero-padded wave, as a view, and `beyond` more
  before the first and after the last."""
  count = -(-len(wave_S) // hop_samples) + 2 * beyond
  before = (window_samples - hop_samples) // 2 + beyond * hop_samples
  after = max(0, (count - 1) * hop_samples + window_samples - before - len(wave_S))
  padded_S = np.pad(np.asarray(wave_S, np.float32), (before, after))
  frames_TS = np.lib.stride_tricks.sliding_window_view(padded_S, window_samples)
  return frames_TS[::hop_samples][:count]


@dataclasses.dataclass(frozen=True, eq=False)
class VoiceActivity:
  """Which frames of a wave have speech, as weights from 0 to 1 that ramp linearly in dB.

  `speech_T` is 1 in speech and 0 in silence (SPEECH_DB); `clear_T` is 1 where speech is well above
  noise (CLEAR_DB). `loud_db` is the level of the loud frames.
  """

  speech_T: np.ndarray
  clear_T: np.ndarray
  loud_db: float


def voice_activity(power_TE: np.ndarray) -> VoiceActivity:
  """Returns the voice activity of a wave by its `power`; it does not depend on the level."""
  level_T = 10 * np.log10(power_TE @ _audible() + np.float32(SILENCE))
  loud_db = silence.loud_db(level_T)

  def above(highest_db: float, lowest_db: float) -> np.ndarray:
    from_db = max(loud_db - lowest_db, silence.SILENT_DB)
    return np.clip((level_T - from_db) / (lowest_db - highest_db), 0, 1).astype(np.float32)

  return VoiceActivity(above(*SPEECH_DB), above(*CLEAR_DB), loud_db)


@functools.lru_cache
def _constant(window_samples: int, size: int) -> np.ndarray:
  """Returns the lowest bins of the window's transform, scaled to 1 at frequency 0."""
  leak_E = fft.rfft(hann(window_samples), size)[:LEAK_BINS]
  return leak_E / leak_E[0]


@functools.lru_cache
def _audible() -> np.ndarray:
  """Returns weights_E that sum to 1, uniform in mel from 60 Hz to 7,600 Hz."""
  return mel_filters(24).mean(axis=1)


@functools.lru_cache
def hann(window_samples: int) -> np.ndarray:
  """Returns a periodic Hann window: copies shifted by half its length add up to 1."""
  phase = 2 * np.pi * np.arange(window_samples) / window_samples
  return (0.5 - 0.5 * np.cos(phase)).astype(np.float32)


def fft_samples(window_samples: int) -> int:
  """Returns the transform length of a window: the next power of two."""
  return 1 << (window_samples - 1).bit_length()


def to_mel(hz: float | np.ndarray) -> float | np.ndarray:
  """Returns the pitch of a frequency in mel. Source: O'Shaughnessy, Speech communication, 1987."""
  return 2595 * np.log10(1 + np.asarray(hz) / 700)


def from_mel(mel: float | np.ndarray) -> float | np.ndarray:
  """Returns the frequency in Hz of a pitch in mel."""
  return 700 * (10 ** (np.asarray(mel) / 2595) - 1)


def centers_hz(bins: int, low_hz: float, high_hz: float) -> np.ndarray:
  """Returns bins + 2 frequencies, evenly spaced in mel: the edges and centers of mel filters."""
  return from_mel(np.linspace(to_mel(low_hz), to_mel(high_hz), bins + 2))


def interpolation(from_hz: np.ndarray, to_hz: np.ndarray) -> np.ndarray:
  """Returns weights_ME that interpolate values_TM at `from_hz` to `to_hz`, linearly in mel."""
  from_mels, to_mels = to_mel(from_hz), to_mel(to_hz)
  return np.array([np.interp(to_mels, from_mels, row) for row in np.eye(len(from_hz))], np.float32)


def warped_hz(hz: np.ndarray, warp: float, high_hz: float) -> np.ndarray:
  """Returns `warp` times each frequency up to a knee, then a line from there to `high_hz`.

  Filters at frequencies warped with warp > 1 see the speech of a short vocal tract as that of a
  longer one. Source: Lee and Rose, "Speaker normalization using efficient frequency warping
  procedures", 1996.
  """
  knee_hz = 0.8 * high_hz / max(warp, 1.0)
  return np.interp(hz, (0, knee_hz, high_hz), (0, warp * knee_hz, high_hz))


def triangles(edges: np.ndarray, frequency_E: np.ndarray) -> np.ndarray:
  """Returns float64 [E, M]: triangles that rise from each edge to 1 at the next edge and fall to 0
  at the one after; edges and frequencies on the same scale."""
  left, middle, right, frequency_E1 = edges[:-2], edges[1:-1], edges[2:], frequency_E[:, None]
  rising, falling = (
    (frequency_E1 - left) / (middle - left),
    (right - frequency_E1) / (right - middle),
  )
  return np.maximum(0, np.minimum(rising, falling))


@functools.lru_cache(maxsize=64)
def mel_filters(
  bins: int,
  low_hz: float = 60.0,
  high_hz: float = 7_600.0,
  *,
  warp: float = 1.0,
  rate_hz: int = waveform.RATE_HZ,
) -> np.ndarray:
  """Returns filters_EM: triangles evenly spaced in mel, edges moved by `warped_hz`; each one's
  weights sum to 1."""
  edges_hz = warped_hz(centers_hz(bins, low_hz, high_hz), warp, high_hz)
  count = fft_samples(round(WINDOW_S * rate_hz)) // 2 + 1
  bins_hz = np.arange(count) * rate_hz / 2 / (count - 1)
  filters_EM = triangles(edges_hz, bins_hz)
  # A triangle that is too narrow to contain a bin gets the nearest one.
  empty = np.flatnonzero(filters_EM.sum(axis=0) == 0)
  filters_EM[np.abs(bins_hz[:, None] - edges_hz[1 + empty]).argmin(axis=0), empty] = 1
  filters_EM = (filters_EM / filters_EM.sum(axis=0)).astype(np.float32)
  filters_EM.flags.writeable = False
  return filters_EM


def log_mel(
  power_TE: np.ndarray, filters_EM: np.ndarray, floor_db: float | None = None
) -> np.ndarray:
  """Returns log_mel_TM in nepers of power, clipped at `floor_db` below its maximum."""
  log_mel_TM = np.log(power_TE @ filters_EM + np.float32(SILENCE))
  if floor_db is None:
    return log_mel_TM
  return np.maximum(log_mel_TM, log_mel_TM.max() - np.float32(floor_db * np.log(10) / 10))


def cosines(values_TM: np.ndarray, count: int) -> np.ndarray:
  """Returns coefficients_TE: the first `count` of each frame's orthonormal cosine transform, for a
  log-mel spectrum its MFCCs (Davis and Mermelstein, 1980)."""
  return values_TM @ cosine_basis(values_TM.shape[-1], count)


@functools.lru_cache
def cosine_basis(bins: int, count: int) -> np.ndarray:
  """Returns basis_ME, whose columns are orthonormal: its transpose is the inverse."""
  basis_ME = fft.dct(np.eye(bins), axis=1, norm="ortho")[:, :count].astype(np.float32)
  basis_ME.flags.writeable = False
  return basis_ME


def slopes(values_TE: np.ndarray) -> np.ndarray:
  """Returns slopes_TE: the change per frame, from a line fitted to SLOPE_REACH frames on either
  side; end frames are repeated. Source: Furui, 1986 (delta coefficients)."""
  count, reach = len(values_TE), SLOPE_REACH
  padded_TE = np.pad(values_TE, ((reach, reach), (0, 0)), mode="edge")
  steps = range(1, reach + 1)
  total_TE = sum(
    step * (padded_TE[reach + step :][:count] - padded_TE[reach - step :][:count]) for step in steps
  )
  return total_TE / (2 * sum(step * step for step in steps))
