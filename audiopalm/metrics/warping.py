"""Dynamic time warping of many pairs at once: the same values as one by one, much faster."""

from collections.abc import Sequence

import numpy as np

AT_ONCE = 16  # pairs whose costs lie in memory together


def mean_costs(costs: Sequence[np.ndarray]) -> list[float]:
  """Returns for each cost_TT the mean cost along its cheapest path from corner to corner.

  Steps are (1, 1), (1, 0) and (0, 1); of equally cheap ones the first in this order is taken.
  Totals and lengths of the best paths advance together, an anti-diagonal of all pairs per step.
  """
  means: list[float] = []
  # Pairs of like size share a block, so that little of it is padding.
  order = sorted(range(len(costs)), key=lambda number: sum(costs[number].shape))
  for start in range(0, len(costs), AT_ONCE):
    means += _block([costs[number] for number in order[start : start + AT_ONCE]])
  return [mean for _, mean in sorted(zip(order, means, strict=True))]


def _block(costs: Sequence[np.ndarray]) -> list[float]:
  rows = max(len(cost_TT) for cost_TT in costs)
  columns = max(cost_TT.shape[1] for cost_TT in costs)
  leaning = _leaning(costs, rows, columns)
  ends: dict[int, list[tuple[int, int]]] = {}
  for number, cost_TT in enumerate(costs):
    ends.setdefault(sum(cost_TT.shape) - 2, []).append((len(cost_TT) - 1, number))
  means = [0.0] * len(costs)
  # The last three anti-diagonals. Row 0 stands before the first: only the first cell comes from it.
  totals = [np.full((rows + 1, len(costs)), np.inf) for _ in range(3)]
  lengths = [np.zeros((rows + 1, len(costs))) for _ in range(3)]
  totals[0][0] = 0
  for diagonal in range(rows + columns - 1):
    (across, beside, total), (across_length, beside_length, length) = totals, lengths
    first, last = max(0, diagonal - columns + 1), min(rows, diagonal + 1)
    current, above = slice(first + 1, last + 1), slice(first, last)
    across_wins = across[above] <= beside[above]
    cheaper = np.where(across_wins, across[above], beside[above])
    steps = np.where(across_wins, across_length[above], beside_length[above])
    beside_loses = cheaper <= beside[current]
    total[:] = np.inf
    total[current] = np.where(beside_loses, cheaper, beside[current]) + leaning[diagonal, above]
    length[current] = np.where(beside_loses, steps, beside_length[current]) + 1
    for row, number in ends.get(diagonal, ()):
      means[number] = float(total[row + 1, number] / length[row + 1, number])
    totals, lengths = [*totals[1:], totals[0]], [*lengths[1:], lengths[0]]
  return means


def _leaning(costs: Sequence[np.ndarray], rows: int, columns: int) -> np.ndarray:
  """Returns every anti-diagonal of all costs together: [diagonal, row, pair]."""
  wide = np.full((len(costs), rows, rows + columns), np.inf)
  for pair_TT, cost_TT in zip(wide, costs, strict=True):
    pair_TT[: len(cost_TT), : cost_TT.shape[1]] = cost_TT
  # A row that is one shorter moves each next row one to the right.
  flat = wide.reshape(len(costs), -1)[:, : rows * (rows + columns - 1)]
  return np.ascontiguousarray(flat.reshape(len(costs), rows, -1).transpose(2, 1, 0))
