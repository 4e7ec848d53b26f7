"""Downmixing: one wave from the channels of a recording, even if their mean loses the speech."""

import numpy as np
from scipy import fft

AS_LOUD = 0.9  # share of the highest energy: the first channel above it counts as the loudest
SILENT = 1e-4  # share of the loudest channel's energy (-40 dB) below which a channel is silent
CANCELED = 0.25  # share of the energy that a mean of unrelated channels keeps; below it they cancel
ALIKE = 0.3  # correlation at the best delay from which two channels have the same sound
LONGEST_DELAY_S = 0.02  # between two microphones, 7 m apart
FRAME_S, LOUD = 0.1, 0.01  # a frame is loud above 1 % of the energy of the channel's loudest frame
TURNS = 0.1  # share of a channel's loud frames that may overlap if talkers take turns


def mono(wave_SC: np.ndarray, rate_hz: int) -> tuple[np.ndarray, tuple[str, ...]]:
  """Returns (wave_S, notes): the mean of the channels with the recording.

  Channels are left out, with a note, if they have NaN, are silent, or have other sound than the
  loudest channel at the same time. If channels cancel in the mean, only the loudest is used, the
  first if several are equally loud.

      left and right equal, or talkers who take turns     (left + right) / 2
      right silent, NaN, or another talker all the time   left, and a note
      right = -left                                       left, and a note
  """
  channels = wave_SC.shape[1]
  finite_C = np.isfinite(wave_SC).all(axis=0)
  if channels == 1 or not len(wave_SC) or not finite_C.any():
    return wave_SC.mean(axis=1, dtype=np.float32), ()
  energy_C = np.array(
    [wave_SC[:, c].var(dtype=np.float64) if finite_C[c] else 0 for c in range(channels)]
  )
  loudest = int((energy_C >= AS_LOUD * energy_C.max()).argmax())
  silent_C = finite_C & (energy_C < SILENT * energy_C[loudest])
  other_C = np.zeros(channels, bool)
  for c in np.flatnonzero(finite_C & ~silent_C & (np.arange(channels) != loudest)):
    pair = wave_SC[:, loudest], wave_SC[:, c]
    other_C[c] = not _alike(*pair, rate_hz) and not _take_turns(*pair, rate_hz)
  notes = [
    f"{kind} left out: {_numbers(left_out_C)}"
    for left_out_C, kind in (
      (~finite_C, "channels with NaN or infinite samples"),
      (silent_C, "silent channels"),
      (other_C, "channels with other sound at the same time"),
    )
    if left_out_C.any()
  ]
  kept_C = finite_C & ~silent_C & ~other_C
  wave_S = wave_SC[:, kept_C].mean(axis=1, dtype=np.float32)
  if wave_S.var(dtype=np.float64) < CANCELED * energy_C[kept_C].mean() / kept_C.sum():
    notes.append(f"channels cancel in the mean: only channel {loudest + 1} of {channels} is used")
    wave_S = np.ascontiguousarray(wave_SC[:, loudest])
  return wave_S, tuple(notes)


def _alike(a_S: np.ndarray, b_S: np.ndarray, rate_hz: int) -> bool:
  """Returns whether two channels have the same sound, even inverted, delayed or with noise."""
  a_S, b_S = a_S - a_S.mean(), b_S - b_S.mean()
  scale = float(np.linalg.norm(a_S)) * float(np.linalg.norm(b_S))
  if abs(float(a_S @ b_S)) >= ALIKE * scale:
    return True
  delay = min(round(LONGEST_DELAY_S * rate_hz), len(a_S) - 1)
  size = fft.next_fast_len(len(a_S) + delay, real=True)
  product_E = fft.rfft(a_S, size) * np.conj(fft.rfft(b_S, size))
  lags_S = np.abs(fft.irfft(product_E, size))
  return max(lags_S[: delay + 1].max(), lags_S[size - delay :].max(initial=0)) >= ALIKE * scale


def _take_turns(a_S: np.ndarray, b_S: np.ndarray, rate_hz: int) -> bool:
  """Returns whether two channels are rarely loud at the same time."""
  loud_a_T, loud_b_T = _loud_frames(a_S, rate_hz), _loud_frames(b_S, rate_hz)
  both = np.count_nonzero(loud_a_T & loud_b_T)
  return both <= TURNS * min(np.count_nonzero(loud_a_T), np.count_nonzero(loud_b_T))


def _loud_frames(wave_S: np.ndarray, rate_hz: int) -> np.ndarray:
  starts = np.arange(0, len(wave_S), max(1, round(FRAME_S * rate_hz)))
  energy_T = np.add.reduceat(np.square(wave_S - wave_S.mean(), dtype=np.float64), starts)
  return energy_T > LOUD * energy_T.max()


def _numbers(mask_C: np.ndarray) -> str:
  """Returns the channels of a mask as text, counted from 1: "2, 3 of 5"."""
  return f"{', '.join(str(c + 1) for c in np.flatnonzero(mask_C))} of {len(mask_C)}"
