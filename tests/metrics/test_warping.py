import numpy as np
import pytest

from audiopalm.metrics import speech, warping


def test_the_mean_goes_along_the_cheapest_path():
  cost_TT = np.array([[1.0, 9.0, 9.0], [9.0, 2.0, 9.0], [9.0, 2.0, 3.0]])
  assert warping.mean_costs([cost_TT]) == [2.0]  # 1, 2, 3 down the diagonal


def test_one_row_is_walked_from_end_to_end():
  assert warping.mean_costs([np.array([[1.0, 2.0, 6.0]])]) == [3.0]
  assert warping.mean_costs([np.array([[4.0]])]) == [4.0]


def test_many_pairs_of_all_sizes_give_the_means_of_one_path_each():
  random = np.random.default_rng(0)
  costs = [random.random(random.integers(1, 30, 2)) for _ in range(40)]
  expected = [np.mean([cost[place] for place in speech.warping_path(cost)]) for cost in costs]
  assert warping.mean_costs(costs) == pytest.approx(expected)


def test_no_pairs_have_no_means():
  assert warping.mean_costs([]) == []
