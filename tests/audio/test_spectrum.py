"""Spectrum: frames tile the wave, scales are what they say, transforms have their inverse."""

import numpy as np
import pytest

from audiopalm.audio import spectrum


def test_frames_are_centred_on_their_hop():
  frames_TS = spectrum.framed(np.arange(1, 11, dtype=np.float32), 2, 4)
  assert frames_TS.tolist() == [
    [0, 1, 2, 3],
    [2, 3, 4, 5],
    [4, 5, 6, 7],
    [6, 7, 8, 9],
    [8, 9, 10, 0],
  ]


@pytest.mark.parametrize("samples, frames", [(1, 1), (160, 1), (161, 2), (16_000, 100)])
def test_a_wave_has_one_frame_per_hop_begun(samples, frames):
  assert spectrum.power(np.zeros(samples, np.float32)).shape == (frames, 257)


def test_white_noise_of_variance_one_has_a_mean_power_of_one():
  noise_S = np.random.default_rng(0).standard_normal(32_000)
  power_TE = spectrum.power(noise_S)
  assert power_TE.dtype == np.float32
  assert power_TE[2:-2].mean() == pytest.approx(1, abs=0.03)


def test_hann_windows_at_half_their_length_add_up_to_one():
  window = spectrum.hann(400)
  np.testing.assert_allclose(window[:200] + window[200:], 1, atol=1e-6)


def test_mel_and_back():
  np.testing.assert_allclose(spectrum.from_mel(spectrum.to_mel([60.0, 1000.0])), [60, 1000])
  assert spectrum.to_mel(1000.0) == pytest.approx(1000, abs=0.1)


def test_filters_weigh_to_one_and_leave_a_flat_spectrum_flat():
  filters_EM = spectrum.mel_filters(80)
  np.testing.assert_allclose(filters_EM.sum(axis=0), 1, rtol=1e-5)
  log_mel_TM = spectrum.log_mel(np.ones((3, 257), np.float32), filters_EM)
  np.testing.assert_allclose(log_mel_TM, 0, atol=1e-5)


def test_a_warped_filter_finds_its_sound_higher():
  plain = spectrum.mel_filters(24).argmax(axis=0) * 31.25
  warped = spectrum.mel_filters(24, warp=1.2).argmax(axis=0) * 31.25
  np.testing.assert_allclose(warped[8:18], 1.2 * plain[8:18], atol=32)
  assert warped[-1] <= 7_600


def test_floor_holds_quiet_bins_up():
  power_TE = np.array([[1.0, 1e-9]], np.float32)
  log_mel_TM = spectrum.log_mel(power_TE, np.eye(2, dtype=np.float32), floor_db=20)
  np.testing.assert_allclose(log_mel_TM, [[0, -2 * np.log(10)]], rtol=1e-5)


def test_cosines_keep_lengths_and_invert():
  values_TM = np.random.default_rng(0).standard_normal((5, 24)).astype(np.float32)
  coefficients_TE = spectrum.cosines(values_TM, 24)
  np.testing.assert_allclose(
    coefficients_TE @ spectrum.cosine_basis(24, 24).T, values_TM, atol=1e-5
  )
  np.testing.assert_allclose(spectrum.cosines(np.ones((1, 24)), 2), [[np.sqrt(24), 0]], atol=1e-5)


def test_slope_of_a_straight_line_is_its_rise_per_frame():
  line_TE = 3 * np.arange(10, dtype=np.float32)[:, None] + 7
  np.testing.assert_allclose(spectrum.slopes(line_TE)[2:-2], 3, rtol=1e-6)
  assert spectrum.slopes(np.ones((1, 2), np.float32)).tolist() == [[0, 0]]
