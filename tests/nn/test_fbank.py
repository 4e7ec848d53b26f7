"""Kaldi's filterbanks against windows taken one by one, and their bins."""

import jax.numpy as jnp
import numpy as np

from audiopalm.nn import fbank


def by_hand(wave_S, bins):
  rows = []
  for start in range(0, len(wave_S) - 399, 160):
    frame = wave_S[start : start + 400].astype(np.float64) * 32_768
    frame -= frame.mean()
    frame = np.append(frame[0] * 0.03, frame[1:] - 0.97 * frame[:-1])
    power = np.abs(np.fft.rfft(frame * np.hanning(400) ** 0.85, 512)) ** 2
    rows.append(np.log(np.maximum(power @ fbank.filters(bins), 2.0**-23)))
  return np.array(rows)


def test_frames_equal_windows_taken_one_by_one():
  waves = np.random.default_rng(0).normal(0.2, 0.1, (2, 2_000)).astype(np.float32)
  found_BTM = fbank.fbank(jnp.asarray(waves), 80)
  assert found_BTM.shape == (2, 11, 80)
  for row in (0, 1):
    np.testing.assert_allclose(found_BTM[row], by_hand(waves[row], 80), atol=2e-3)


def test_silence_is_at_the_floor_and_frames_are_whole_windows():
  assert np.asarray(fbank.fbank(jnp.zeros((1, 400)), 8) == np.log(fbank.FLOOR)).all()
  assert [fbank.frames(samples) for samples in (0, 399, 400, 559, 560)] == [0, 0, 1, 1, 2]


def test_filters_overlap_by_half_from_20_hz_on():
  weights_FM = fbank.filters(10)
  assert weights_FM[0].sum() == 0 and weights_FM[-1].sum() < 1e-6
  inside = weights_FM.sum(axis=1)
  np.testing.assert_allclose(inside[15:150], 1.0, atol=1e-5)
