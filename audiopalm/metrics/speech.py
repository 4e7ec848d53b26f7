"""How far generated speech lies from a recording of the same words."""

import numpy as np

from audiopalm.audio import spectrum

BINS = 40
COEFFICIENTS = 13  # after c0, which is loudness
FLOOR_DB = 60.0  # under the loudest point: what is quieter is silence to both
MCD_RULE = (
  f"dB between {COEFFICIENTS} cepstra without c0 of {BINS} mel bins, 25 ms windows every 10 ms, "
  f"{FLOOR_DB:g} dB deep, aligned by dynamic time warping"
)


def mel_cepstral_distance(
  reference_S: np.ndarray, generated_S: np.ndarray, rate_hz: int = 16_000
) -> float:
  """Returns the mel-cepstral distance of two waves in dB, over the best alignment in time.

  13 mel-cepstral coefficients without c0 (25 ms windows, 10 ms hops), aligned by dynamic time
  warping; the mean over the aligned pairs of frames. 0 for equal waves, whatever their loudness.
  Values compare only with others of this function: filters and floors differ elsewhere.
  Source: Kubichek, "Mel-cepstral distance measure for objective speech quality assessment", 1993.
  """
  reference_TE = mel_cepstra(reference_S, rate_hz)
  generated_TE = mel_cepstra(generated_S, rate_hz)
  distance_TT = distances_db(reference_TE, generated_TE)
  return float(np.mean([distance_TT[place] for place in warping_path(distance_TT)]))


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


def warping_path(cost_TT: np.ndarray) -> list[tuple[int, int]]:
  """Returns the cheapest path from corner to corner in steps (1, 1), (1, 0) and (0, 1)."""
  rows, columns = cost_TT.shape
  total = np.full((rows + 1, columns + 1), np.inf)
  total[0, 0] = 0
  # Cells on one anti-diagonal do not need each other: one vector step each.
  for diagonal in range(rows + columns - 1):
    row = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
    column = diagonal - row
    before = np.minimum(
      total[row, column], np.minimum(total[row, column + 1], total[row + 1, column])
    )
    total[row + 1, column + 1] = cost_TT[row, column] + before
  path = [(rows - 1, columns - 1)]
  while path[-1] != (0, 0):
    row, column = path[-1]
    steps = ((row - 1, column - 1), (row - 1, column), (row, column - 1))
    path.append(min(steps, key=lambda step: total[step[0] + 1, step[1] + 1]))
  return path[::-1]
