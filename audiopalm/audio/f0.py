"""The fundamental frequency of speech: candidates by autocorrelation, and the best path of them.

Source: Boersma, "Accurate short-term analysis of the fundamental frequency", 1993, which Praat
implements; constants are Praat's defaults for speech, costs are for frames of 10 ms.
"""

import numpy as np
from scipy import fft

from audiopalm.audio import spectrum, waveform

PERIODS = 3  # of the lowest pitch in a window
CANDIDATES = 8  # voiced candidates per frame
VOICING, SILENCE = 0.45, 0.03  # least periodicity, and least level relative to the loudest frame
OCTAVE_COST, JUMP_COST, VOICE_COST = 0.01, 0.35, 0.14
QUIETEST = 1e-4  # peak of a wave that may have a pitch
BLOCK_FRAMES = 4_096  # analyzed at a time


def track(wave_S: np.ndarray, low_hz: float = 65.0, high_hz: float = 500.0) -> np.ndarray:
  """Returns pitch_T in Hz of the 10 ms frames of a 16 kHz wave, 0 for unvoiced frames.

  The candidates of a frame are the peaks of its autocorrelation, and "unvoiced". The pitch is that
  of the path with the largest sum of strengths minus costs of octave jumps and changes of voicing.
  """
  hop_samples = round(spectrum.HOP_S * waveform.RATE_HZ)
  loudest = float(np.abs(wave_S - wave_S.mean()).max()) if len(wave_S) else 0.0
  if loudest < QUIETEST:
    return np.zeros(-(-len(wave_S) // hop_samples), np.float32)
  frames_TS = spectrum.framed(wave_S, hop_samples, round(PERIODS * waveform.RATE_HZ / low_hz))
  blocks = [
    _candidates(frames_TS[first : first + BLOCK_FRAMES], loudest, low_hz, high_hz)
    for first in range(0, len(frames_TS), BLOCK_FRAMES)
  ]
  pitch_TK, strength_TK = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
  path_T = _best_path(pitch_TK, strength_TK)
  return np.take_along_axis(pitch_TK, path_T[:, None], axis=1)[:, 0].astype(np.float32)


def periodicity(frames_TS: np.ndarray, longest: int, size: int) -> np.ndarray:
  """Returns ratio_TS for lags up to `longest` samples: the autocorrelation of windows without their
  means, times Hann's, relative to their energy and corrected for the window, by FFTs of `size`."""
  window = spectrum.hann(frames_TS.shape[1])
  lags_TS = _autocorrelation(frames_TS * window, size)[:, : longest + 1]
  own_S = _autocorrelation(window[None], size)[0, : longest + 1]
  return lags_TS / (lags_TS[:, :1] + 1e-9) / (own_S / own_S[0])


def _candidates(
  frames_TS: np.ndarray, loudest: float, low_hz: float, high_hz: float
) -> tuple[np.ndarray, np.ndarray]:
  """Returns (pitch_TK, strength_TK): candidate 0 is unvoiced, with a pitch of 0."""
  frames_TS = frames_TS - frames_TS.mean(axis=1, keepdims=True)
  shortest = max(2, int(waveform.RATE_HZ / high_hz))
  longest = int(waveform.RATE_HZ / low_hz) + 1
  size = spectrum.fft_samples(frames_TS.shape[1] + longest)
  ratio_TS = periodicity(frames_TS, longest + 1, size)
  before_TS, inner_TS, after_TS = (ratio_TS[:, shortest + i : longest + i + 1] for i in (-1, 0, 1))
  peak_TS = (inner_TS >= before_TS) & (inner_TS > after_TS)
  bend_TS = np.where(peak_TS, before_TS + after_TS - 2 * inner_TS, -1)  # of a parabola: negative
  late_TS = np.where(peak_TS, 0.5 * (before_TS - after_TS) / bend_TS, 0)
  height_TS = inner_TS - 0.25 * (before_TS - after_TS) * late_TS
  lag_TS = np.arange(shortest, longest + 1) + late_TS
  height_TS = np.where(height_TS > 1, 1 / np.maximum(height_TS, 1), height_TS)
  octaves_TS = np.log2(low_hz * lag_TS / waveform.RATE_HZ)
  strength_TS = np.where(peak_TS & (height_TS > 0), height_TS - OCTAVE_COST * octaves_TS, -np.inf)
  count = min(CANDIDATES, strength_TS.shape[1])
  best_TK = np.argpartition(-strength_TS, count - 1, axis=1)[:, :count]
  level_T = np.abs(frames_TS).max(axis=1) / loudest
  unvoiced_T = VOICING + np.maximum(0, 2 - level_T / (SILENCE / (1 + VOICING)))
  pitch_TK = waveform.RATE_HZ / np.take_along_axis(lag_TS, best_TK, axis=1)
  strength_TK = np.take_along_axis(strength_TS, best_TK, axis=1)
  return np.pad(pitch_TK, ((0, 0), (1, 0))), np.c_[unvoiced_T, strength_TK]


def _best_path(pitch_TK: np.ndarray, strength_TK: np.ndarray) -> np.ndarray:
  """Returns path_T: the candidate of every frame on the strongest path."""
  voiced_TK = pitch_TK > 0
  log_TK = np.log2(np.where(voiced_TK, pitch_TK, 1))
  jump_TKK = JUMP_COST * np.abs(log_TK[1:, None, :] - log_TK[:-1, :, None])
  before_TKK, after_TKK = voiced_TK[:-1, :, None], voiced_TK[1:, None, :]
  cost_TKK = np.where(before_TKK & after_TKK, jump_TKK, VOICE_COST * (before_TKK != after_TKK))
  total_K = strength_TK[0]
  back_TK = np.zeros(pitch_TK.shape, int)
  for frame in range(1, len(pitch_TK)):
    reached_KK = total_K[:, None] - cost_TKK[frame - 1]
    back_TK[frame] = reached_KK.argmax(axis=0)
    total_K = reached_KK.max(axis=0) + strength_TK[frame]
  path_T = np.zeros(len(pitch_TK), int)
  path_T[-1] = total_K.argmax()
  for frame in range(len(pitch_TK) - 1, 0, -1):
    path_T[frame - 1] = back_TK[frame, path_T[frame]]
  return path_T


def _autocorrelation(frames_TS: np.ndarray, size: int) -> np.ndarray:
  spectrum_TE = fft.rfft(frames_TS, size, axis=1)
  return fft.irfft(np.square(spectrum_TE.real) + np.square(spectrum_TE.imag), axis=1)
