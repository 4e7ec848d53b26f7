import numpy as np
import pytest

from audiopalm.audio import f0, waveform

CENTERS = (np.arange(100) + 0.5) * 160  # samples, of the frames of a second


def harmonics(pitch_S, amplitude):
  """Returns wave_S: the harmonics of a pitch in Hz, the n-th with an amplitude of amplitude(n)."""
  phase_S = 2 * np.pi * np.cumsum(pitch_S) / waveform.RATE_HZ
  numbers = range(1, 60)
  tones = [np.where(n * pitch_S < 7_500, amplitude(n) * np.sin(n * phase_S), 0) for n in numbers]
  wave_S = np.sum(tones, axis=0)
  return (0.3 * wave_S / np.abs(wave_S).max()).astype(np.float32)


def test_the_pitch_of_harmonic_tones_is_right():
  random = np.random.default_rng(0)
  seconds_S = np.arange(waveform.RATE_HZ) / waveform.RATE_HZ
  tracked, right = [], []
  amplitudes = (lambda n: 1 / n, lambda n: n < 12, lambda n: (n > 1) / n)  # the last has no lowest
  for amplitude in amplitudes:
    for middle_hz in np.geomspace(80, 420, 8):
      pitch_S = middle_hz * 2 ** (0.2 * np.sin(4 * np.pi * seconds_S))  # vibrato
      noise_S = 0.003 * random.standard_normal(len(pitch_S)).astype(np.float32)
      tracked.append(f0.track(harmonics(pitch_S, amplitude) + noise_S))
      right.append(pitch_S[CENTERS.astype(int)])
  tracked_T, right_T = np.concatenate(tracked), np.concatenate(right)
  assert (tracked_T > 0).mean() > 0.99
  error_T = np.abs(tracked_T / right_T - 1)[tracked_T > 0]
  assert (error_T > 0.2).mean() < 0.02  # gross errors: octaves
  assert np.median(error_T) < 0.001
  assert np.quantile(error_T, 0.95) < 0.01


def test_the_level_does_not_matter_and_pauses_have_no_pitch():
  tone_S = harmonics(np.full(8_000, 150.0), lambda n: 1 / n)
  wave_S = np.concatenate([tone_S, np.zeros(8_000, np.float32), tone_S])
  pitch_T = f0.track(wave_S)
  assert np.all(pitch_T[54:96] == 0)
  assert pitch_T[4:46] == pytest.approx(150.0, rel=1e-3)
  np.testing.assert_allclose(f0.track(wave_S / 64), pitch_T, rtol=1e-5)


@pytest.mark.parametrize("samples", [1, 48, 160, 161, 16_000])
def test_noise_silence_and_a_constant_have_no_pitch_however_short(samples):
  noise_S = 0.1 * np.random.default_rng(1).standard_normal(samples).astype(np.float32)
  for wave_S in (noise_S, np.zeros(samples, np.float32), np.full(samples, 0.3, np.float32)):
    assert f0.track(wave_S).tolist() == [0.0] * (-(-samples // 160))


def test_no_wave_has_no_frames():
  assert len(f0.track(np.zeros(0, np.float32))) == 0


def test_blocks_of_frames_do_not_show(monkeypatch):
  pitch_S = np.linspace(100, 200, 32_000)
  wave_S = harmonics(pitch_S, lambda n: 1 / n)
  whole_T = f0.track(wave_S)
  monkeypatch.setattr(f0, "BLOCK_FRAMES", 7)
  np.testing.assert_array_equal(f0.track(wave_S), whole_T)
