"""A vocoder: sound from a log-mel spectrum and a pitch (filtered pulses and noise), and pitch."""

import functools

import numpy as np
from scipy import fft

from audiopalm.audio import f0, spectrum, waveform

LOWEST_HZ, HIGHEST_HZ = 65.0, 420.0
PITCH_WINDOW_S = 0.04
VOICED = 0.5  # a frame with a higher periodicity is voiced
HOP_SAMPLES, WINDOW_SAMPLES, FFT_SAMPLES = 160, 320, 512  # of synthesis: 10 ms, 20 ms
BREATH_HZ = 4_500.0  # voiced sound is partly noise above


def pitch(wave_S: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns (pitch_T in Hz, periodicity_T in 0..1) of the 10 ms frames of a 16 kHz wave.

  The pitch is that of the highest peak of the autocorrelation, corrected for the window; among
  peaks of nearly the same height, the one with the shortest lag. Source: Boersma, "Accurate
  short-term analysis of the fundamental frequency", 1993.
  """
  rate_hz = waveform.RATE_HZ
  window_samples = round(PITCH_WINDOW_S * rate_hz)
  hop_samples = round(spectrum.HOP_S * rate_hz)
  frames_TS = spectrum.framed(wave_S, hop_samples, window_samples)
  frames_TS = frames_TS - frames_TS.mean(axis=1, keepdims=True)
  size = spectrum.fft_samples(window_samples + round(rate_hz / LOWEST_HZ))
  shortest, longest = int(rate_hz / HIGHEST_HZ), int(rate_hz / LOWEST_HZ) + 1
  ratio_TS = f0.periodicity(frames_TS, longest, size)
  inner_TS = ratio_TS[:, shortest:-1]
  peak_TS = (inner_TS >= ratio_TS[:, shortest - 1 : -2]) & (inner_TS > ratio_TS[:, shortest + 1 :])
  height_TS = np.where(peak_TS, inner_TS, 0)
  highest_T = height_TS.max(axis=1)
  lag_T = (height_TS >= 0.8 * highest_T[:, None]).argmax(axis=1)
  return rate_hz / (lag_T + shortest), np.clip(highest_T, 0, 1)


def excitation(pitch_T: np.ndarray, voicing_T: np.ndarray) -> np.ndarray:
  """Returns excitation_TE (10 ms frames): the spectrum of a source that is flat in frequency.

  It is pulses at `pitch_T` (Hz) where `voicing_T` is 1, noise where it is 0, a mixture between;
  above BREATH_HZ voiced sound is half noise. The noise is the same in every call.
  """
  samples = len(pitch_T) * HOP_SAMPLES
  centers = (np.arange(len(pitch_T)) + 0.5) * HOP_SAMPLES
  step_S = np.exp(np.interp(np.arange(samples), centers, np.log(pitch_T))) / waveform.RATE_HZ
  phase_S = np.cumsum(step_S)
  pulse = np.flatnonzero(np.floor(phase_S[1:]) > np.floor(phase_S[:-1])) + 1
  # A pulse falls between two samples and is split over both; rounding it would sound rough.
  late = (phase_S[pulse] % 1) / step_S[pulse]
  height = 1 / np.sqrt(step_S[pulse])
  pulses_S = np.zeros(samples, np.float32)
  pulses_S[pulse] = height * (1 - late)
  pulses_S[pulse - 1] += height * late
  noise_S = np.random.default_rng(0).standard_normal(samples, np.float32)
  hz_E = np.arange(FFT_SAMPLES // 2 + 1) * waveform.RATE_HZ / FFT_SAMPLES
  # The mean power that splitting leaves of a pulse, which attenuates high frequencies:
  left_E = (2 + np.cos(2 * np.pi * hz_E / waveform.RATE_HZ)) / 3
  pulses_TE = _spectrum(pulses_S) / np.sqrt(left_E).astype(np.float32)
  breath_E = 0.5 / (1 + np.exp(-(hz_E - BREATH_HZ) / 500))
  voiced_TE = (voicing_T[:, None] * (1 - breath_E)).astype(np.float32)
  return np.sqrt(voiced_TE) * pulses_TE + np.sqrt(1 - voiced_TE) * _spectrum(noise_S)


def sound(
  log_mel_TM: np.ndarray,
  excitation_TE: np.ndarray,
  *,
  low_hz: float = 60.0,
  high_hz: float = 7_600.0,
) -> np.ndarray:
  """Returns wave_S at 16 kHz: the excitation, filtered (minimum phase) to have the spectrum
  `log_mel_TM` of `spectrum.log_mel`, in 10 ms frames of 25 ms windows."""
  weights_ME = _to_linear(log_mel_TM.shape[1], low_hz, high_hz)
  return _overlap_add(excitation_TE * _minimum_phase(0.5 * (log_mel_TM @ weights_ME)))


def _spectrum(wave_S: np.ndarray) -> np.ndarray:
  """Returns spectrum_TE of Hann windows, one per 10 ms frame."""
  frames_TS = spectrum.framed(wave_S, HOP_SAMPLES, WINDOW_SAMPLES)
  return fft.rfft(frames_TS * spectrum.hann(WINDOW_SAMPLES), FFT_SAMPLES, axis=1)


def _minimum_phase(log_amplitude_TE: np.ndarray) -> np.ndarray:
  """Returns filter_TE: minimum-phase filters with that log amplitude, by the folded cepstrum
  (Oppenheim and Schafer, "Discrete-time signal processing", section 12.2)."""
  cepstrum_TS = fft.irfft(log_amplitude_TE, FFT_SAMPLES, axis=1)
  cepstrum_TS[:, 1 : FFT_SAMPLES // 2] *= 2
  cepstrum_TS[:, FFT_SAMPLES // 2 + 1 :] = 0
  folded_TE = fft.rfft(cepstrum_TS, axis=1)
  filter_TE = np.empty_like(folded_TE)
  amplitude_TE = np.exp(folded_TE.real)  # numpy's complex exponential is far slower
  filter_TE.real = amplitude_TE * np.cos(folded_TE.imag)
  filter_TE.imag = amplitude_TE * np.sin(folded_TE.imag)
  return filter_TE


def _overlap_add(spectrum_TE: np.ndarray) -> np.ndarray:
  """Returns wave_S: the filtered windows, overlapped and added."""
  frames_TS = fft.irfft(spectrum_TE, FFT_SAMPLES, axis=1)
  frames = len(frames_TS)
  parts = -(-FFT_SAMPLES // HOP_SAMPLES)
  total_TS = np.zeros((frames + parts, HOP_SAMPLES), np.float32)
  for part in range(parts):
    piece_TS = frames_TS[:, part * HOP_SAMPLES : (part + 1) * HOP_SAMPLES]
    total_TS[part : part + frames, : piece_TS.shape[1]] += piece_TS
  before = (WINDOW_SAMPLES - HOP_SAMPLES) // 2
  return total_TS.ravel()[before : before + frames * HOP_SAMPLES]


@functools.lru_cache
def _to_linear(bins: int, low_hz: float, high_hz: float) -> np.ndarray:
  """Returns weights_ME that interpolate mel bins to the frequencies of a spectrum."""
  hz_E = np.arange(FFT_SAMPLES // 2 + 1) * waveform.RATE_HZ / FFT_SAMPLES
  return spectrum.interpolation(spectrum.centers_hz(bins, low_hz, high_hz)[1:-1], hz_E)
