"""Spectrum: frames tile the wave, scales are what they say, transforms have their inverse."""

import numpy as np
import pytest

from audiopalm.audio import spectrum


def test_frames_are_centered_on_their_hop():
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


def test_filter_weights_sum_to_one_and_keep_a_flat_spectrum_flat():
  filters_EM = spectrum.mel_filters(80)
  np.testing.assert_allclose(filters_EM.sum(axis=0), 1, rtol=1e-5)
  log_mel_TM = spectrum.log_mel(np.ones((3, 257), np.float32), filters_EM)
  np.testing.assert_allclose(log_mel_TM, 0, atol=1e-5)


def test_a_warped_filter_finds_its_sound_higher():
  plain = spectrum.mel_filters(24).argmax(axis=0) * 31.25
  warped = spectrum.mel_filters(24, warp=1.2).argmax(axis=0) * 31.25
  np.testing.assert_allclose(warped[8:18], 1.2 * plain[8:18], atol=32)
  assert warped[-1] <= 7_600


def test_the_floor_clips_quiet_bins():
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


def noise(samples, spread=0.1):
  return np.random.default_rng(0).normal(0, spread, samples).astype(np.float32)


def test_an_offset_is_removed():
  plain_TE = spectrum.power(noise(8_000))
  np.testing.assert_allclose(spectrum.power(noise(8_000) + np.float32(0.3)), plain_TE, atol=1e-5)
  assert spectrum.power(np.full(8_000, 0.3, np.float32)).max() < 1e-6


def test_an_offset_that_starts_later_is_removed_from_all_frames_but_those_where_it_starts():
  stepping_S = noise(8_000)
  stepping_S[4_000:] += np.float32(0.3)
  steps_TE, plain_TE = spectrum.power(stepping_S), spectrum.power(noise(8_000))
  for part in (slice(1, 23), slice(27, -1)):
    assert plain_TE[part].mean() == pytest.approx(steps_TE[part].mean(), rel=1e-3)


def test_frames_beyond_the_wave_are_those_of_the_wave_between_zeros():
  beyond_TE = spectrum.power(noise(1_610), beyond=1)
  assert beyond_TE.shape == (13, 257)
  padded_S = np.concatenate([np.zeros(160), noise(1_610) - noise(1_610).mean(), np.zeros(310)])
  np.testing.assert_allclose(beyond_TE, spectrum.power(padded_S), atol=1e-6)


def test_speech_and_silence_are_separated_relative_to_the_loud_frames():
  wave_S = np.concatenate([np.zeros(16_000), noise(8_000), noise(16_000, 1e-4)])
  found = spectrum.voice_activity(spectrum.power(wave_S))
  for weights_T in (found.speech_T, found.clear_T):
    assert (weights_T[101:149] == 1).all()
    assert (weights_T[:99] == 0).all() and (weights_T[151:] == 0).all()
  assert found.loud_db == pytest.approx(-20, abs=1)


def test_neither_level_nor_silence_moves_what_is_speech():
  wave_S = noise(8_000) * np.geomspace(1, 1e-2, 8_000).astype(np.float32)
  plain, quiet = (spectrum.voice_activity(spectrum.power(factor * wave_S)) for factor in (1, 0.1))
  longer = spectrum.voice_activity(spectrum.power(np.concatenate([wave_S, np.zeros(64_000)])))
  np.testing.assert_allclose(quiet.speech_T, plain.speech_T, atol=0.01)
  np.testing.assert_allclose(longer.speech_T[:49], plain.speech_T[:49], atol=0.01)
  assert 0 < plain.speech_T[-5] < 1 and plain.clear_T[-5] < plain.speech_T[-5]


def test_a_wave_of_zeros_holds_no_speech():
  assert spectrum.voice_activity(spectrum.power(np.zeros(1_600))).speech_T.max() == 0
