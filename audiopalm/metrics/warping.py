"""Dynamic time warping of many pairs of sequences at once."""

import numpy as np


def mean_costs(cost_BTU: np.ndarray, rows_B: np.ndarray, columns_B: np.ndarray) -> np.ndarray:
  """Returns mean_B: the mean of costs along the cheapest path of each pair, from corner to corner.

  Pair b has the costs of its first `rows_B[b]` frames with its first `columns_B[b]` others; the
  rest is padding. Steps are (1, 1), (0, 1) and (1, 0); ties are broken in this order, as in
  libri-light. Totals and lengths of the best paths are computed together, one anti-diagonal per
  step.
  """
  batch, rows, columns = cost_BTU.shape
  diagonals = rows + columns - 1
  skewed = np.full((diagonals, rows, batch), np.inf, cost_BTU.dtype)  # [diagonal, row, pair]
  for row in range(rows):
    skewed[row : row + columns, row] = cost_BTU[:, row].T
  ends_B = rows_B + columns_B - 2
  means_B = np.zeros(batch, cost_BTU.dtype)
  # The last three anti-diagonals. Row 0 is a border before the first row, reached only by the first
  # cell.
  totals = [np.full((rows + 1, batch), np.inf, cost_BTU.dtype) for _ in range(3)]
  lengths = [np.zeros((rows + 1, batch), cost_BTU.dtype) for _ in range(3)]
  totals[0][0] = 0
  for diagonal in range(diagonals):
    (across, beside, total), (across_length, beside_length, length) = totals, lengths
    first, last = max(0, diagonal - columns + 1), min(rows, diagonal + 1)
    current, above = slice(first + 1, last + 1), slice(first, last)
    cheaper = np.minimum(across[above], beside[current])
    steps = np.where(across[above] <= beside[current], across_length[above], beside_length[current])
    steps = np.where(cheaper <= beside[above], steps, beside_length[above])
    total.fill(np.inf)
    total[current] = np.minimum(cheaper, beside[above]) + skewed[diagonal, first:last]
    length[current] = steps + 1
    ended = np.flatnonzero(ends_B == diagonal)
    means_B[ended] = total[rows_B[ended], ended] / length[rows_B[ended], ended]
    totals, lengths = [beside, total, across], [beside_length, length, across_length]
  return means_B
