"""Which parts of a recording hold speech: its loud frames, its pauses, silence at its ends.

Every rule counts from the loud frames of the recording itself, so that neither its level nor how
much silence it has changes what counts as speech. It needs numpy alone, and exported folders have a
copy.
"""

from collections.abc import Iterable

import numpy as np

FRAME_S = 0.01
PAUSE_DB = 30.0  # under the loud frames: quieter frames are no speech
NOISE_DB = 4.0  # over the noise of a recording, which frames without speech reach
NOISIEST_DB = 20.0  # under the loud frames: noise above it is not told from speech
SILENT_DB = -90.0  # of full scale: silence whatever else is in the recording
ENDS_S = 0.08  # of silence at either end: whole frames of any stream, two of 25 Hz
NOISE_SHARE = 0.05  # of the frames of a recording, the quietest, that show its noise
ONSET_DB = 20.0  # under the loud frames: speech has begun, whatever the noise before it
ONSET_S = 0.02  # that speech lasts at least; a click does not
ONSET_STEP_S = 1 / 1_600  # between the frames that are tried for it


def loud_db(level_T: np.ndarray) -> float:
  """Returns the level in dB of the loud frames: half of the energy lies in frames above it.

  Silence has no energy, however much of it there is.
  """
  rising_T = np.sort(level_T).astype(np.float64)
  energy_T = np.cumsum(10 ** (rising_T / 10))
  return float(rising_T[np.searchsorted(energy_T, energy_T[-1] / 2)])


def pauses(wave_S: np.ndarray, rate_hz: int, shortest_s: float = 0.1) -> list[tuple[float, float]]:
  """Returns [(start_s, end_s), ...] of the quiet spans: places where a recording may be cut.

  A 10 ms frame is quiet PAUSE_DB under the loud ones (30 ms means, so that one zero crossing is no
  pause), or at the level of the recording's own noise. Spans shorter than `shortest_s` are left
  out.
  """
  quiet_T = _quiet(wave_S, rate_hz, smoothed=True)
  hop_s = _hop_samples(rate_hz) / rate_hz
  edges = np.flatnonzero(np.diff(np.concatenate(([0], quiet_T.astype(np.int8), [0]))))
  # The last frame's span runs to the last sample, which need not fill a frame.
  ends_s = [len(wave_S) / rate_hz if end == len(quiet_T) else end * hop_s for end in edges[1::2]]
  spans = zip((start * hop_s for start in edges[::2]), ends_s, strict=True)
  return [(float(start), float(end)) for start, end in spans if end - start >= shortest_s - 1e-9]


def with_ends(wave_S: np.ndarray, rate_hz: int) -> np.ndarray:
  """Returns wave_S with ENDS_S of silence before and after what it says.

  Silence beyond that is cut off, what is missing is added, so that a recording is the same however
  much silence it came with. The same array where nothing changes or nobody speaks.
  """
  spoken = np.flatnonzero(~_quiet(wave_S, rate_hz, smoothed=False))
  if not len(spoken):
    return wave_S
  hop_samples, margin = _hop_samples(rate_hz), round(ENDS_S * rate_hz)
  first, last = int(spoken[0]) * hop_samples, int(spoken[-1] + 1) * hop_samples
  before, after = margin - first, margin - (len(wave_S) - last)
  if not before and not after:
    return wave_S
  kept_S = wave_S[max(0, -before) : len(wave_S) - max(0, -after)]
  # The middle of the wave, which an offset moves from 0: a step would be heard.
  return np.pad(kept_S, (max(0, before), max(0, after)), constant_values=wave_S.mean())


def joined(waves: Iterable[np.ndarray], silence_s: float, rate_hz: int) -> np.ndarray:
  """Returns the waves one after another, `silence_s` of silence between neighbors."""
  silence_S = np.zeros(round(silence_s * rate_hz), np.float32)
  parts = [part for wave_S in waves for part in (silence_S, np.asarray(wave_S, np.float32))]
  return np.concatenate(parts[1:]) if parts else silence_S[:0]


def on_grid(wave_S: np.ndarray, step_samples: int, rate_hz: int) -> np.ndarray:
  """Returns wave_S moved by at most half a step, so that speech begins at a multiple of the step.

  Frames of `step_samples` are then the same ones however long it was silent before. There are as
  many of them: what is moved beyond either end is cut off, what is missing is silence.
  """
  late = onset_samples(wave_S, rate_hz) % step_samples
  if not late:
    return wave_S
  frames = -(-len(wave_S) // step_samples)
  before = step_samples - late if 2 * late > step_samples else 0
  moved_S = np.pad(wave_S[0 if before else late :], (before, 0), constant_values=wave_S.mean())
  missing = max(0, (frames - 1) * step_samples + 1 - len(moved_S))
  return np.pad(moved_S[: frames * step_samples], (0, missing), constant_values=wave_S.mean())


def onset_samples(wave_S: np.ndarray, rate_hz: int) -> int:
  """Returns where speech begins: the middle of the first frame that is at most ONSET_DB under the
  loud ones, as all are for ONSET_S after it, so that a click is none.

  Half a frame before the wave at the earliest, as if it was silent there; 0 where nobody speaks.
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
  heard_T = level_T > max(loud_db(level_T) - ONSET_DB, SILENT_DB)
  steps = min(round(ONSET_S / ONSET_STEP_S), len(heard_T))
  begun_T = np.lib.stride_tricks.sliding_window_view(heard_T, steps).all(axis=1)
  if not begun_T.any():
    begun_T = heard_T
  return int(begun_T.argmax()) * step - frame // 2 if begun_T.any() else 0


def _quiet(wave_S: np.ndarray, rate_hz: int, *, smoothed: bool) -> np.ndarray:
  """Returns quiet_T of the whole 10 ms frames; nothing is quiet where nothing is loud."""
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
