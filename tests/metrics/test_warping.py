"""Pairs aligned together have the costs that each has alone, cell by cell."""

import numpy as np

from audiopalm.metrics import warping


def by_hand(cost_TU):
  """Returns the mean cost of the cheapest path, each cell in turn."""
  best = {(-1, -1): (0.0, 0)}
  for row, column in np.ndindex(cost_TU.shape):
    steps = ((row - 1, column - 1), (row, column - 1), (row - 1, column))
    total, length = min((best[step] for step in steps if step in best), key=lambda pair: pair[0])
    best[row, column] = total + cost_TU[row, column], length + 1
  total, length = best[cost_TU.shape[0] - 1, cost_TU.shape[1] - 1]
  return total / length


def test_pairs_of_other_lengths_and_with_ties_equal_each_alone():
  random = np.random.default_rng(0)
  rows_B, columns_B = random.integers(1, 8, (2, 60))
  for cost_BTU in (random.random((60, 7, 7)), random.integers(0, 2, (60, 7, 7)).astype(float)):
    means_B = warping.mean_costs(cost_BTU, rows_B, columns_B)
    for mean, cost_TU, rows, columns in zip(means_B, cost_BTU, rows_B, columns_B, strict=True):
      assert abs(mean - by_hand(cost_TU[:rows, :columns])) < 1e-12


def test_of_equally_cheap_steps_the_diagonal_comes_first_then_the_one_along_the_row():
  tied = np.array([[[0.0, 0, 1], [0, 1, 1], [1, 1, 0]]])
  assert warping.mean_costs(tied, np.array([3]), np.array([3])) == [1 / 3]
  along = np.array([[[0, 0, 0, 1.0], [0, 1, 1, 0], [0, 1, 1, 0]]])
  assert warping.mean_costs(along, np.array([3]), np.array([4])) == [by_hand(along[0])]
