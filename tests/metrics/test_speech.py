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


def test_loudness_does_not_count():
  assert speech.mel_cepstral_distance(sweep(), 0.5 * sweep()) < 1e-3


def test_distance_is_that_of_the_formula_by_hand():
  # Two frames each, two coefficients: differences (3, 4) and (0, 0) aligned frame by frame.
  reference_TE = np.array([[0.3, 0.4], [9.0, 9.0]])
  generated_TE = np.array([[0.0, 0.0], [9.0, 9.0]])
  distance_TT = speech.distances_db(reference_TE, generated_TE)
  # 10 / ln 10 * sqrt(2 * (0.09 + 0.16)) = 4.342945 * 0.707107
  assert distance_TT[0, 0] == pytest.approx(3.0709, abs=1e-4)
  assert distance_TT[1, 1] == 0
  assert speech.warping_path(distance_TT) == [(0, 0), (1, 1)]


def test_distance_is_the_rms_of_the_difference_of_the_spectra():
  # ln|spectrum| = a cos(w) has an rms of a / sqrt(2) nepers = 8.685890 a / sqrt(2) dB.
  distance_TT = speech.distances_db(np.array([[0.5]]), np.array([[0.0]]))
  assert distance_TT[0, 0] == pytest.approx(8.685890 * 0.5 / np.sqrt(2), abs=1e-5)


def test_path_waits_where_one_side_is_slower():
  slow, fast = [0, 0, 0, 5, 9], [0, 5, 5, 9]
  cost_TT = np.abs(np.subtract.outer(slow, fast)).astype(float)
  path = speech.warping_path(cost_TT)
  assert path[0] == (0, 0) and path[-1] == (4, 3)
  assert sum(cost_TT[place] for place in path) == 0


def test_slower_copy_is_nearer_than_another_sound():
  slow = np.repeat(sweep().reshape(-1, 160), 2, axis=0).ravel()
  near = speech.mel_cepstral_distance(sweep(), slow)
  far = speech.mel_cepstral_distance(sweep(), tone(3_000))
  assert near < 0.6 * far


def test_other_rates_have_a_distance_too():
  assert (
    speech.mel_cepstral_distance(tone(440, rate_hz=8_000), tone(440, rate_hz=8_000), 8_000) == 0
  )
