import numpy as np
import pytest

from audiopalm.metrics import warping


def path_of(cost_TT):
  """Returns the cheapest path from corner to corner, found cell by cell and walked back."""
  total = {(-1, -1): 0.0}
  before = {}
  for row, column in np.ndindex(cost_TT.shape):
    steps = ((row - 1, column - 1), (row - 1, column), (row, column - 1))
    before[row, column] = min(steps, key=lambda step: total.get(step, np.inf))
    total[row, column] = cost_TT[row, column] + total[before[row, column]]
  path = [(cost_TT.shape[0] - 1, cost_TT.shape[1] - 1)]
  while path[-1] != (0, 0):
    path.append(before[path[-1]])
  return path[::-1]


def test_the_mean_goes_along_the_cheapest_path():
  cost_TT = np.array([[1.0, 9.0, 9.0], [9.0, 2.0, 9.0], [9.0, 2.0, 3.0]])
  assert warping.mean_costs([cost_TT]) == [2.0]  # 1, 2, 3 down the diagonal


def test_the_path_waits_where_one_side_is_slower():
  slow, fast = [0, 0, 0, 5, 9], [0, 5, 5, 9]
  assert warping.mean_costs([np.abs(np.subtract.outer(slow, fast)).astype(float)]) == [0.0]


def test_one_row_is_walked_from_end_to_end():
  assert warping.mean_costs([np.array([[1.0, 2.0, 6.0]])]) == [3.0]
  assert warping.mean_costs([np.array([[4.0]])]) == [4.0]


def test_many_pairs_of_all_sizes_give_the_means_of_one_path_each():
  random = np.random.default_rng(0)
  costs = [random.random(random.integers(1, 30, 2)) for _ in range(40)]
  expected = [np.mean([cost[place] for place in path_of(cost)]) for cost in costs]
  assert warping.mean_costs(costs) == pytest.approx(expected)


def test_no_pairs_have_no_means():
  assert warping.mean_costs([]) == []
