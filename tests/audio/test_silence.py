import numpy as np
import pytest

from audiopalm.audio import silence


def tone(seconds, level=0.5):
  return (level * np.sin(np.arange(round(seconds * 16_000)) * 0.2)).astype(np.float32)


def hiss(seconds, spread):
  return np.random.default_rng(0).normal(0, spread, round(seconds * 16_000)).astype(np.float32)


@pytest.mark.parametrize("offset", (0.0, 0.03))
@pytest.mark.parametrize("level", (1.0, 0.1))
def test_pauses_are_the_quiet_spans(level, offset):
  quiet = np.full(4_800, 1e-4, np.float32)
  wave_S = np.concatenate([tone(0.5), quiet, tone(0.4), quiet[:800], tone(0.2), quiet])
  wave_S = level * wave_S + np.float32(offset)
  spans = silence.pauses(wave_S, 16_000)  # the middle one lasts 50 ms: too short
  np.testing.assert_allclose(spans, [(0.5, 0.8), (1.45, 1.75)], atol=0.021)


def test_a_wave_of_one_level_has_no_pause():
  assert silence.pauses(tone(1.0), 16_000) == []
  assert silence.pauses(tone(1.0)[:10], 16_000) == []


def test_pauses_are_found_in_the_noise_of_a_recording():
  wave_S = np.concatenate([tone(1.0), np.zeros(8_000, np.float32), tone(1.0)]) + hiss(2.5, 0.02)
  np.testing.assert_allclose(silence.pauses(wave_S, 16_000), [(1.0, 1.5)], atol=0.021)


def test_the_loud_level_does_not_depend_on_silence():
  level_T = np.linspace(-30, 0, 100)
  longer_T = np.concatenate([level_T, np.full(900, -100.0)])
  assert silence.loud_db(longer_T) == silence.loud_db(level_T) == pytest.approx(-3, abs=0.5)


@pytest.mark.parametrize("offset", (0.0, 0.03))
@pytest.mark.parametrize("silent_s", (0.0, 0.05, 0.4))
def test_ends_are_cut_or_filled_with_the_level_of_silence(silent_s, offset):
  quiet_S = np.zeros(round(silent_s * 16_000), np.float32)
  wave_S = np.concatenate([quiet_S, tone(1.0), quiet_S]) + np.float32(offset)
  found_S = silence.with_ends(wave_S, 16_000)
  margin = round(silence.ENDS_S * 16_000)
  assert len(found_S) == 16_000 + 2 * margin
  np.testing.assert_array_equal(found_S[margin:-margin], tone(1.0) + np.float32(offset))
  ends_S = np.concatenate([found_S[:margin], found_S[-margin:]])
  np.testing.assert_allclose(ends_S, offset, atol=1e-3)


def test_a_wave_that_has_its_ends_is_the_same_array():
  quiet_S = np.zeros(round(silence.ENDS_S * 16_000), np.float32)
  wave_S = np.concatenate([quiet_S, tone(1.0), quiet_S])
  assert silence.with_ends(wave_S, 16_000) is wave_S
