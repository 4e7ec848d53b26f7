"""Mel-cepstral distance: zero for equal waves, a case by hand, alignment."""

import numpy as np
import pytest

from audiopalm.metrics import speech


def tone(hz, seconds=0.5, rate_hz=16_000):
  time_S = np.arange(int(seconds * rate_hz)) / rate_hz
  return (0.3 * np.sin(2 * np.pi * hz * time_S)).astype(np.float32)


def sweep():
  time_S = np.arange(16_000) / 16_000
  return (0.3 * np.sin(2 * np.pi * (200 * time_S + 900 * time_S**2))).astype(np.float32)


def test_equal_waves_have_no_distance():
  assert speech.mel_cepstral_distance(sweep(), sweep()) == 0


def test_ids_do_not_depend_on_loudness():
  assert speech.mel_cepstral_distance(sweep(), 0.5 * sweep()) < 1e-3


def test_distance_is_that_of_the_formula_by_hand():
  # Two frames each, two coefficients: differences (3, 4) and (0, 0) aligned frame by frame.
  reference_TE = np.array([[0.3, 0.4], [9.0, 9.0]])
  generated_TE = np.array([[0.0, 0.0], [9.0, 9.0]])
  distance_TT = speech.distances_db(reference_TE, generated_TE)
  # 10 / ln 10 * sqrt(2 * (0.09 + 0.16)) = 4.342945 * 0.707107
  assert distance_TT[0, 0] == pytest.approx(3.0709, abs=1e-4)
  assert distance_TT[1, 1] == 0
  assert speech.mean_cost(distance_TT) == distance_TT[0, 0] / 2


def test_distance_is_the_rms_of_the_difference_of_the_spectra():
  # ln|spectrum| = a cos(w) has an rms of a / sqrt(2) nepers = 8.685890 a / sqrt(2) dB.
  distance_TT = speech.distances_db(np.array([[0.5]]), np.array([[0.0]]))
  assert distance_TT[0, 0] == pytest.approx(8.685890 * 0.5 / np.sqrt(2), abs=1e-5)


def test_slower_copy_is_nearer_than_another_sound():
  slow = np.repeat(sweep().reshape(-1, 160), 2, axis=0).ravel()
  assert speech.mel_cepstral_distance(sweep(), slow) < 0.6 * speech.mel_cepstral_distance(
    sweep(), tone(3_000)
  )


def test_other_rates_have_a_distance_too():
  assert (
    speech.mel_cepstral_distance(tone(440, rate_hz=8_000), tone(440, rate_hz=8_000), 8_000) == 0
  )


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
  assert speech.mean_cost(cost_TT) == 2.0  # 1, 2, 3 down the diagonal


def test_the_path_waits_where_one_side_is_slower():
  slow, fast = [0, 0, 0, 5, 9], [0, 5, 5, 9]
  assert speech.mean_cost(np.abs(np.subtract.outer(slow, fast)).astype(float)) == 0


def test_one_row_is_walked_from_end_to_end():
  assert speech.mean_cost(np.array([[1.0, 2.0, 6.0]])) == 3.0
  assert speech.mean_cost(np.array([[4.0]])) == 4.0


def test_the_means_of_all_sizes_are_those_of_a_path_found_cell_by_cell():
  random = np.random.default_rng(0)
  for _ in range(40):
    cost_TT = random.random(random.integers(1, 30, 2))
    expected = np.mean([cost_TT[place] for place in path_of(cost_TT)])
    assert speech.mean_cost(cost_TT) == pytest.approx(expected)
