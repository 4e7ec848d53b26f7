"""Mel-cepstral distance of generated speech to a recording of the same words."""

import numpy as np

from audiopalm.audio import spectrum, waveform
from audiopalm.metrics import warping

BINS = 40
COEFFICIENTS = 13  # after c0, which is loudness
FLOOR_DB = 60.0  # below the loudest point: anything quieter counts as silence
MCD_RULE = (
  f"dB between {COEFFICIENTS} cepstra without c0 of {BINS} mel bins, 25 ms windows every 10 ms, "
  f"{FLOOR_DB:g} dB deep, aligned by dynamic time warping"
)


def mel_cepstral_distance(
  reference_S: np.ndarray, generated_S: np.ndarray, rate_hz: int = waveform.RATE_HZ
) -> float:
  """Returns the mean distance in dB along the best alignment in time.

  It is 0 for equal waves of any loudness. Values can only be compared with others of this function:
  filters and floors differ elsewhere. Source: Kubichek, "Mel-cepstral distance measure for
  objective speech quality assessment", 1993.
  """
  cepstra = (mel_cepstra(wave_S, rate_hz) for wave_S in (reference_S, generated_S))
  return mean_cost(distances_db(*cepstra))


def mel_cepstra(wave_S: np.ndarray, rate_hz: int) -> np.ndarray:
  """Returns cepstra_TE: coefficients 1 to 13 of ln|spectrum| = c0 + sum of c_k cos(k w)."""
  power_TE = spectrum.power(wave_S, rate_hz=rate_hz)
  filters = spectrum.mel_filters(BINS, high_hz=min(7_600, rate_hz / 2), rate_hz=rate_hz)
  log_mel_TM = spectrum.log_mel(power_TE, filters, floor_db=FLOOR_DB)
  cosines_TE = spectrum.cosines(log_mel_TM, COEFFICIENTS + 1)[:, 1:]
  return cosines_TE / np.sqrt(2 * BINS)  # from an orthonormal transform of ln power


def distances_db(reference_TE: np.ndarray, generated_TE: np.ndarray) -> np.ndarray:
  """Returns distance_TT: 10 / ln 10 sqrt(2 sum of squared differences), each frame with each."""
  squares_TT = np.square(reference_TE[:, None] - generated_TE[None]).sum(axis=2)
  return 10 / np.log(10) * np.sqrt(2 * squares_TT)


def mean_cost(cost_TT: np.ndarray) -> float:
  """Returns the mean of costs along their cheapest path from corner to corner: time warping."""
  rows, columns = cost_TT.shape
  return float(warping.mean_costs(cost_TT[None], np.array([rows]), np.array([columns]))[0])
