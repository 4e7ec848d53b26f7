"""Log-mel frames against numpy, and where each of them lies."""

import jax
import jax.numpy as jnp
import numpy as np

from audiopalm import sharding
from audiopalm.audio import spectrum
from audiopalm.nn import log_mel
from audiopalm.settings import Machine


def wave(samples, seed=0):
  return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def by_hand(wave_S, bins):
  """Returns log-mel frames, one window after another."""
  window = np.hanning(401)[:-1]
  frames = len(wave_S) // 160
  padded_S = np.pad(wave_S, (0, 400))
  power = [
    np.abs(np.fft.rfft(padded_S[160 * t : 160 * t + 400] * window, 512)) ** 2 for t in range(frames)
  ]
  return np.log(np.maximum(np.array(power) @ log_mel.filters(bins), 1e-6))


def test_frames_equal_windows_taken_one_by_one():
  waves = np.stack([wave(1_650), wave(1_650, 1)])
  found = log_mel.log_mel(jnp.asarray(waves), 20)
  assert found.shape == (2, 10, 20)
  np.testing.assert_allclose(found[1], by_hand(waves[1], 20), atol=1e-3)


def test_a_tone_is_loudest_in_the_bin_of_its_frequency():
  time_S = np.arange(16_000) / 16_000
  mels = np.linspace(spectrum.to_mel(20.0), spectrum.to_mel(7_600.0), 42)[1:-1]
  centers = 700 * (10 ** (mels / 2595) - 1)
  for place in (10, 20, 35):
    tone_BS = np.sin(2 * np.pi * centers[place] * time_S)[None].astype(np.float32)
    assert int(np.argmax(log_mel.log_mel(jnp.asarray(tone_BS), 40)[0, 50])) == place


def test_filters_overlap_by_half_and_sum_to_one_between_the_centers():
  weights_FM = log_mel.filters(10)
  inside = weights_FM.sum(axis=1)
  np.testing.assert_allclose(inside[(inside > 0)][30:150], 1.0, atol=1e-5)


def test_devices_together_give_the_frames_of_one():
  waves = np.stack([wave(3_200, seed) for seed in range(8)])
  alone = log_mel.log_mel(jnp.asarray(waves), 16)
  mesh = sharding.mesh(Machine(name="eight", data=2, fsdp=4))
  with jax.set_mesh(mesh):
    placed = sharding.place(waves, mesh, ("batch",))
    together = log_mel.log_mel(placed, 16)
  np.testing.assert_allclose(together, alone, atol=1e-5)


def whisper_by_hand(wave_S, bins):
  """Returns Whisper's log-mel frames, one window after another."""
  mirrored_S = np.pad(wave_S, 200, mode="reflect").astype(np.float64)
  windows = [mirrored_S[start : start + 400] for start in range(0, len(wave_S), 160)]
  power_TF = np.abs(np.fft.rfft(np.array(windows) * np.hanning(401)[:-1])) ** 2
  log_TM = np.log10(np.maximum(power_TF @ log_mel.slaney_filters(bins), 1e-10))
  return (np.maximum(log_TM, log_TM.max() - 8) + 4) / 4


def test_whisper_frames_equal_windows_taken_one_by_one():
  waves = np.stack([wave(1_600), np.append(wave(800), np.zeros(800, np.float32))])
  found = log_mel.whisper_log_mel(jnp.asarray(waves), 80)
  assert found.shape == (2, 10, 80)
  for row in (0, 1):
    np.testing.assert_allclose(found[row], whisper_by_hand(waves[row], 80), atol=1e-4)


def test_slaney_filters_have_an_area_of_1_hz_and_are_linear_below_1_khz():
  weights_FM = log_mel.slaney_filters(20)  # wide enough to see their area in bins of 40 Hz
  np.testing.assert_allclose(weights_FM.sum(axis=0) * 40, 1, atol=0.05)
  peaks = weights_FM.argmax(axis=0)
  steps = np.diff(peaks)
  assert np.ptp(steps[:6]) <= 1 and steps[-1] > 2 * steps[0]
