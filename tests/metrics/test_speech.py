"""Mel-cepstral distance: zero for equal waves, a case by hand, alignment."""

import numpy as np
import pytest

from audiopalm.metrics import speech, warping


def tone(hz, seconds=0.5, rate_hz=16_000):
  time_S = np.arange(int(seconds * rate_hz)) / rate_hz
  return (0.3 * np.sin(2 * np.pi * hz * time_S)).astype(np.float32)


def sweep():
  time_S = np.arange(16_000) / 16_000
  return (0.3 * np.sin(2 * np.pi * (200 * time_S + 900 * time_S**2))).astype(np.float32)


def distance_db(reference_S, generated_S, rate_hz=16_000):
  cepstra = [speech.mel_cepstra(wave_S, rate_hz) for wave_S in (reference_S, generated_S)]
  (mean,) = warping.mean_costs([speech.distances_db(*cepstra)])
  return mean


def test_equal_waves_have_no_distance():
  assert distance_db(sweep(), sweep()) == 0


def test_ids_do_not_depend_on_loudness():
  assert distance_db(sweep(), 0.5 * sweep()) < 1e-3


def test_distance_is_that_of_the_formula_by_hand():
  # Two frames each, two coefficients: differences (3, 4) and (0, 0) aligned frame by frame.
  reference_TE = np.array([[0.3, 0.4], [9.0, 9.0]])
  generated_TE = np.array([[0.0, 0.0], [9.0, 9.0]])
  distance_TT = speech.distances_db(reference_TE, generated_TE)
  # 10 / ln 10 * sqrt(2 * (0.09 + 0.16)) = 4.342945 * 0.707107
  assert distance_TT[0, 0] == pytest.approx(3.0709, abs=1e-4)
  assert distance_TT[1, 1] == 0
  assert warping.mean_costs([distance_TT]) == [distance_TT[0, 0] / 2]


def test_distance_is_the_rms_of_the_difference_of_the_spectra():
  # ln|spectrum| = a cos(w) has an rms of a / sqrt(2) nepers = 8.685890 a / sqrt(2) dB.
  distance_TT = speech.distances_db(np.array([[0.5]]), np.array([[0.0]]))
  assert distance_TT[0, 0] == pytest.approx(8.685890 * 0.5 / np.sqrt(2), abs=1e-5)


def test_slower_copy_is_nearer_than_another_sound():
  slow = np.repeat(sweep().reshape(-1, 160), 2, axis=0).ravel()
  assert distance_db(sweep(), slow) < 0.6 * distance_db(sweep(), tone(3_000))


def test_other_rates_have_a_distance_too():
  assert distance_db(tone(440, rate_hz=8_000), tone(440, rate_hz=8_000), 8_000) == 0
