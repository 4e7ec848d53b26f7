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


def test_a_weak_sound_that_begins_a_word_is_kept_beside_the_noise_of_a_room():
  random = np.random.default_rng(0)
  spoken_S = tone(1.0)
  level = float(np.sqrt(np.mean(np.square(spoken_S))))
  weak_S = random.normal(0, level * 10 ** (-27 / 20), 1_600)
  wave_S = np.concatenate([np.zeros(8_000), weak_S, spoken_S, np.zeros(8_000)])
  wave_S += random.normal(0, level * 10 ** (-29 / 20), len(wave_S))
  found_S = silence.with_ends(wave_S.astype(np.float32), 16_000)
  wanted = len(weak_S) + len(spoken_S) + 2 * round(silence.ENDS_S * 16_000)
  assert abs(len(found_S) - wanted) <= 320


def test_a_wave_with_correct_ends_is_returned_unchanged():
  quiet_S = np.zeros(round(silence.ENDS_S * 16_000), np.float32)
  wave_S = np.concatenate([quiet_S, tone(1.0), quiet_S])
  assert silence.with_ends(wave_S, 16_000) is wave_S


@pytest.mark.parametrize("offset", (0.0, 0.03))
@pytest.mark.parametrize("silent_samples", (0, 333, 640, 5_000))
def test_speech_begins_at_the_same_sound_after_any_silence(silent_samples, offset):
  random = np.random.default_rng(0)
  wave_S = np.concatenate([np.zeros(silent_samples, np.float32), tone(1.0)]) + np.float32(offset)
  hissing_S = wave_S + random.normal(0, 1e-4, len(wave_S)).astype(np.float32)
  for one_S in (wave_S, hissing_S):
    assert abs(silence.onset_samples(one_S, 16_000) - silent_samples) <= 80  # half a frame


def test_a_click_and_its_echo_are_no_speech():
  quiet_S = np.zeros(8_000, np.float32)
  quiet_S[[3_000, 3_200]] = 0.5
  found = silence.onset_samples(np.concatenate([quiet_S, tone(1.0)]), 16_000)
  assert abs(found - 8_000) <= 80


@pytest.mark.parametrize("count", (0, 1, 100, 5_000))
def test_silence_of_any_length_has_no_onset_and_is_left_alone(count):
  wave_S = np.zeros(count, np.float32)
  assert silence.onset_samples(wave_S, 16_000) == 0
  assert silence.align_onset(wave_S, 640, 16_000) is wave_S


@pytest.mark.parametrize("silent_samples", (30, 333, 610))
@pytest.mark.parametrize("samples", (1, 700, 12_810, 16_000))
def test_speech_is_shifted_by_half_a_step_and_the_number_of_frames_kept(silent_samples, samples):
  wave_S = np.concatenate([np.zeros(silent_samples, np.float32), tone(1.0)[:samples]])
  found_S = silence.align_onset(wave_S, 640, 16_000)
  assert -(-len(found_S) // 640) == -(-len(wave_S) // 640)
  if samples > 1_000:
    late = (silence.onset_samples(found_S, 16_000) + 320) % 640 - 320
    assert abs(late) <= 10


def test_waves_are_joined_by_silence_between_neighbors_alone():
  one_S, two_S = np.ones(3, np.float32), np.full(2, 0.5, np.float32)
  joined_S = silence.joined([one_S, two_S, one_S], 0.2, 10)
  assert joined_S.tolist() == [1, 1, 1, 0, 0, 0.5, 0.5, 0, 0, 1, 1, 1]
  assert silence.joined([two_S], 0.2, 10).tolist() == two_S.tolist()
  assert silence.joined([], 0.2, 10).shape == (0,)
