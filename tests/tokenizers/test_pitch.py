import numpy as np
import pytest

from audiopalm.audio import f0, waveform
from audiopalm.errors import ConfigError, DataError, RecordError, TokenSpaceError
from audiopalm.tokenizers.pitch import PitchUnits
from audiopalm.types import Utterance

SIZE = 8


def sung(*pitches_hz, seconds=0.4, speaker="anna"):
  """Returns an utterance that hums these pitches one after another; 0 is silence."""
  pitch_S = np.repeat(pitches_hz, round(seconds * waveform.RATE_HZ)).astype(float)
  phase_S = 2 * np.pi * np.cumsum(pitch_S) / waveform.RATE_HZ
  wave_S = sum(np.sin(n * phase_S) / n for n in range(1, 12)) * (pitch_S > 0)
  return Utterance((0.2 * wave_S).astype(np.float32), waveform.RATE_HZ, "la", "en", speaker)


def melodies():
  random = np.random.default_rng(0)
  for _ in range(12):
    middle_hz = random.uniform(90, 250)
    yield sung(*(middle_hz * 2 ** random.uniform(-0.4, 0.4, 6)))


@pytest.fixture(scope="module")
def fitted():
  return PitchUnits(size=SIZE).fit(melodies(), seed=0)


def test_ids_rise_with_the_pitch_and_a_pause_is_0(fitted):
  ids_T = fitted.encode(sung(120, 0, 150, 180))
  assert len(ids_T) == 20 and ids_T.dtype == np.int32
  low, pause, middle, high = (ids_T[5 * part + 2] for part in range(4))
  assert pause == 0 < low < middle < high <= SIZE
  assert fitted.spec.sizes == (1 + SIZE,)


def test_a_higher_speaker_with_the_same_melody_has_the_same_ids(fitted):
  low_T, high_T = fitted.encode(sung(100, 130, 110)), fitted.encode(sung(200, 260, 220))
  np.testing.assert_array_equal(low_T, high_T)


def test_an_id_stands_for_the_pitch_that_is_nearest(fitted):
  utterance = sung(130, 140, 170, 150)
  relative_T = fitted.settings.relative(utterance.wave_S)
  ids_T = fitted.encode(utterance)
  voiced_T = ids_T > 0
  distance_TV = np.abs(relative_T[voiced_T][:, None] - fitted.centers_V)
  np.testing.assert_array_equal(distance_TV.argmin(axis=1) + 1, ids_T[voiced_T])


def test_a_unit_has_the_mean_of_its_voiced_frames_if_they_are_half_of_them(monkeypatch):
  # Units of four frames: all voiced, half, a quarter, and the rest of one with one voiced frame.
  pitch_T = np.array([100, 110, 120, 130, 0, 200, 210, 0, 0, 0, 90, 0, 150.0])
  monkeypatch.setattr(f0, "track", lambda wave_S, low_hz, high_hz: pitch_T)
  relative_T = PitchUnits(rate_hz=25.0).relative(np.zeros(2_080, np.float32))
  mean = np.log(pitch_T[pitch_T > 0]).mean()
  expected_T = [np.log([100, 110, 120, 130]).mean() - mean, np.log([200, 210]).mean() - mean]
  np.testing.assert_allclose(relative_T, [*expected_T, np.nan, np.nan], atol=1e-12)


def test_fitting_stops_at_its_seconds():
  first, second = sung(100, 130, 115), sung(90, 200, 170)
  short = PitchUnits(size=2, fit_s=1.0)
  np.testing.assert_array_equal(
    short.fit([first, second], 0).centers_V, short.fit([first], 0).centers_V
  )
  both = PitchUnits(size=2).fit([first, second], 0)
  assert (both.centers_V != short.fit([first], 0).centers_V).any()


@pytest.mark.parametrize("rate_hz", [12.5, 25.0, 50.0])
def test_there_are_as_many_ids_as_units_of_that_rate(rate_hz):
  fitted = PitchUnits(size=SIZE, rate_hz=rate_hz).fit(melodies(), seed=0)
  for samples in (1, 48, 16_000, 16_001):
    wave_S = sung(120, 150).wave_S[:samples] if samples < 16_000 else np.zeros(samples, np.float32)
    utterance = Utterance(wave_S, waveform.RATE_HZ, "la", "en", "anna")
    assert len(fitted.encode(utterance)) == -(-len(wave_S) * rate_hz // waveform.RATE_HZ)


def test_3_ms_silence_and_noise_are_unvoiced(fitted):
  random = np.random.default_rng(0)
  for wave_S in (random.standard_normal(48), np.zeros(16_000), random.standard_normal(16_000)):
    utterance = Utterance((0.1 * wave_S).astype(np.float32), waveform.RATE_HZ, "", "en", "anna")
    assert not fitted.encode(utterance).any()


def test_save_and_load_are_inverse_and_fits_equal(fitted, tmp_path):
  fitted.save(tmp_path)
  loaded = PitchUnits(size=SIZE).load(tmp_path)
  assert loaded.spec == fitted.spec == PitchUnits(size=SIZE).fit(melodies(), seed=0).spec
  np.testing.assert_array_equal(loaded.encode(sung(120, 150)), fitted.encode(sung(120, 150)))
  with pytest.raises(TokenSpaceError, match="size: config 9, workdir 8"):
    PitchUnits(size=9).load(tmp_path)


def test_pitch_cannot_be_heard_alone(fitted):
  with pytest.raises(ConfigError, match="'pitch' is pitch, which is no sound by itself: expected"):
    fitted.decode([0, 1])


def test_bad_settings_and_recordings_are_named(fitted):
  with pytest.raises(ConfigError, match="rate_hz=30, expected a divisor of 100"):
    PitchUnits(rate_hz=30)
  with pytest.raises(ConfigError, match="low_hz=300 and high_hz=500.0, expected more than an oct"):
    PitchUnits(low_hz=300)
  with pytest.raises(RecordError, match="Expected a wave for the stream 'pitch'"):
    fitted.encode(Utterance(None, waveform.RATE_HZ, "la", "en", "anna"))
  with pytest.raises(DataError, match="Expected at least 64 voiced units .* has 5 "):
    PitchUnits().fit([sung(120)], seed=0)
  with pytest.raises(DataError, match=r"Expected at least 8 different pitches .* has \d\."):
    PitchUnits(size=8).fit([sung(100, seconds=1.0)], seed=0)
