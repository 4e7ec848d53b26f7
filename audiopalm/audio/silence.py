"""Silence in a recording: pauses, silence at the ends, where speech starts.

All thresholds are relative to the loud frames of the recording, so its level and the amount of
silence do not change what counts as speech. Needs only numpy: exported folders have a copy.
"""

from collections.abc import Iterable

import numpy as np

FRAME_S = 0.01
PAUSE_DB = 30.0  # below the loud frames: quieter frames are silence
SHORTEST_S = 0.1  # of a pause
NOISE_DB = 4.0  # above the noise level: frames without speech stay below it
NOISIEST_DB = 20.0  # below the loud frames: louder noise cannot be separated from speech
SILENT_DB = -90.0  # relative to full scale: always silence
ENDS_S = 0.08  # silence at either end: whole frames of any stream, two of 25 Hz
NOISE_SHARE = 0.05  # share of the quietest frames, from which the noise level is estimated
ONSET_DB = 20.0  # below the loud frames: the level from which speech has started
ONSET_S = 0.02  # least duration of speech; a click is shorter
ONSET_STEP_S = 1 / 1_600  # hop of the frames in which the onset is searched


def loud_db(level_T: np.ndarray) -> float:
  """Returns the level in dB above which frames have half of the energy; silence does not affect
  it."""
  rising_T = np.sort(level_T).astype(np.float64)
  energy_T = np.cumsum(10 ** (rising_T / 10))
  return float(rising_T[np.searchsorted(energy_T, energy_T[-1] / 2)])


def pauses(wave_S: np.ndarray, rate_hz: int) -> list[tuple[float, float]]:
  """Returns [(start_s, end_s), ...] of the quiet spans, where a recording may be cut.

  A 10 ms frame is quiet if its mean over 30 ms (which bridges zero crossings) is PAUSE_DB below the
  loud frames, or at the noise level of the recording. Spans shorter than SHORTEST_S are dropped.
  """
  quiet_T = _quiet(wave_S, rate_hz, smoothed=True)
  hop_s = _hop_samples(rate_hz) / rate_hz
  edges = np.flatnonzero(np.diff(np.concatenate(([0], quiet_T.astype(np.int8), [0]))))
  # The last span reaches the last sample, even if that does not fill a frame.
  ends_s = [len(wave_S) / rate_hz if end == len(quiet_T) else end * hop_s for end in edges[1::2]]
  spans = zip((start * hop_s for start in edges[::2]), ends_s, strict=True)
  return [(float(start), float(end)) for start, end in spans if end - start >= SHORTEST_S - 1e-9]


def with_ends(wave_S: np.ndarray, rate_hz: int) -> np.ndarray:
  """Returns wave_S with exactly ENDS_S of silence before and after its speech.

  Longer silence is cut and shorter silence padded. Returns the same array if nothing changes or if
  there is no speech.
  """
  speech = np.flatnonzero(~_quiet(wave_S, rate_hz, smoothed=False))
  if not len(speech):
    return wave_S
  hop_samples, margin = _hop_samples(rate_hz), round(ENDS_S * rate_hz)
  first, last = int(speech[0]) * hop_samples, int(speech[-1] + 1) * hop_samples
  before, after = margin - first, margin - (len(wave_S) - last)
  if not before and not after:
    return wave_S
  kept_S = wave_S[max(0, -before) : len(wave_S) - max(0, -after)]
  # Padded with the mean: a step from a DC offset to 0 would be audible.
  return np.pad(kept_S, (max(0, before), max(0, after)), constant_values=wave_S.mean())


def joined(waves: Iterable[np.ndarray], silence_s: float, rate_hz: int) -> np.ndarray:
  """Returns the waves concatenated, with `silence_s` of silence between neighbors."""
  silence_S = np.zeros(round(silence_s * rate_hz), np.float32)
  parts = [part for wave_S in waves for part in (silence_S, np.asarray(wave_S, np.float32))]
  return np.concatenate(parts[1:]) if parts else silence_S[:0]


def align_onset(wave_S: np.ndarray, step_samples: int, rate_hz: int) -> np.ndarray:
  """Returns wave_S shifted by at most half a step, so that speech starts at a multiple of the step.

  Frames of `step_samples` are then the same for any amount of initial silence, and their number
  does not change: samples shifted beyond an end are cut, missing ones are silence.
  """
  late = onset_samples(wave_S, rate_hz) % step_samples
  if not late:
    return wave_S
  frames = -(-len(wave_S) // step_samples)
  before = step_samples - late if 2 * late > step_samples else 0
  shifted_S = np.pad(wave_S[0 if before else late :], (before, 0), constant_values=wave_S.mean())
  missing = max(0, (frames - 1) * step_samples + 1 - len(shifted_S))
  return np.pad(shifted_S[: frames * step_samples], (0, missing), constant_values=wave_S.mean())


def onset_samples(wave_S: np.ndarray, rate_hz: int) -> int:
  """Returns the sample at which speech starts, 0 if there is none.

  It is the center of the first frame from which the level stays within ONSET_DB of the loud frames
  for ONSET_S; a click is shorter. Silence is assumed before the wave, so the center can be up to
  half a frame before it.
  """
  frame, step = _hop_samples(rate_hz), max(1, round(ONSET_STEP_S * rate_hz))
  if not len(wave_S):
    return 0
  padded_S = np.pad(wave_S - wave_S.mean(dtype=np.float64), (frame + 1, 0))

  def means(values_S: np.ndarray) -> np.ndarray:
    total_S = np.cumsum(values_S)
    return (total_S[frame:] - total_S[:-frame])[::step] / frame

  power_T = np.maximum(means(np.square(padded_S)) - np.square(means(padded_S)), 0)
  level_T = 10 * np.log10(power_T + 1e-10)
  loud_T = level_T > max(loud_db(level_T) - ONSET_DB, SILENT_DB)
  steps = min(round(ONSET_S / ONSET_STEP_S), len(loud_T))
  onset_T = np.lib.stride_tricks.sliding_window_view(loud_T, steps).all(axis=1)
  if not onset_T.any():
    onset_T = loud_T
  return int(onset_T.argmax()) * step - frame // 2 if onset_T.any() else 0


def _quiet(wave_S: np.ndarray, rate_hz: int, *, smoothed: bool) -> np.ndarray:
  """Returns quiet_T of the complete 10 ms frames."""
  hop_samples = _hop_samples(rate_hz)
  frames = len(wave_S) // hop_samples
  if not frames:
    return np.zeros(0, bool)
  frames_TS = wave_S[: frames * hop_samples].reshape(frames, hop_samples)
  power_T = np.square(frames_TS - wave_S.mean()).mean(axis=1)
  level_T = 10 * np.log10(power_T + 1e-10)
  loud = loud_db(level_T)
  noise = np.sort(level_T)[int(NOISE_SHARE * frames)]
  if smoothed:
    power_T = np.convolve(np.pad(power_T, 1, mode="edge"), np.full(3, 1 / 3), mode="valid")
    level_T = 10 * np.log10(power_T + 1e-10)
  return level_T <= max(loud - PAUSE_DB, min(noise + NOISE_DB, loud - NOISIEST_DB), SILENT_DB)


def _hop_samples(rate_hz: int) -> int:
  return max(1, round(FRAME_S * rate_hz))
