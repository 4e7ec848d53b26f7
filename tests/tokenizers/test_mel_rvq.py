"""Residual codes of log-mel frames: every stage helps, sound comes back, files and errors."""

import dataclasses
import pickle

import numpy as np
import pytest

from audiopalm.audio import vocoder
from audiopalm.errors import ConfigError, DataError, TokenSpaceError
from audiopalm.tokenizers.mel_rvq import MelRVQ
from audiopalm.types import Utterance

SETTINGS = MelRVQ(codebooks=4, size=16)
DB = 10 / np.log(10)  # decibels in a neper of power


def said(seed, pitch_hz=120.0, phones=10, frames=8, level=0.0):
  """Returns an utterance of phones, each a spectrum with three hills for `frames` of 10 ms."""
  random = np.random.default_rng(seed)
  centers_hz = np.geomspace(100, 7_500, 40)
  hills_PH = np.array([400, 1_300, 2_800]) + random.uniform(0, 1, (phones, 3)) * [400, 1_000, 900]
  heights_PM = np.exp(-18 * np.log(hills_PH[:, :, None] / centers_hz) ** 2).sum(axis=1)
  log_mel_TM = np.repeat(6 * heights_PM - 9 + level, frames, axis=0).astype(np.float32)
  count = len(log_mel_TM)
  excitation_TE = vocoder.excitation(np.full(count, pitch_hz), np.full(count, 0.95))
  return Utterance(vocoder.sound(log_mel_TM, excitation_TE), 16_000, "la la", "en", "bob")


TRAIN = [said(seed, pitch_hz) for seed in range(12) for pitch_hz in (110.0, 200.0)]
TEST = [said(seed, 150.0) for seed in range(100, 104)]


@pytest.fixture(scope="module")
def fitted():
  return SETTINGS.fit(TRAIN, seed=0)


def test_codes_are_int32_with_a_row_per_period_and_a_column_per_codebook(fitted):
  codes_TQ = fitted.encode(TEST[0])  # 0.8 s
  assert codes_TQ.dtype == np.int32
  assert codes_TQ.shape == (20, 4)
  assert 0 <= codes_TQ.min() and codes_TQ.max() < 16
  assert (fitted.spec.sizes, fitted.spec.rate_hz, fitted.spec.modality) == (
    (16,) * 4, 25.0, "speech",
  )  # fmt: skip
  assert fitted.voices == ()


@pytest.mark.parametrize("samples, rows", [(1, 1), (640, 1), (641, 2), (16_000, 25)])
def test_any_length_has_a_row_per_period_the_last_one_padded(fitted, samples, rows):
  noise_S = np.random.default_rng(0).normal(scale=0.1, size=samples).astype(np.float32)
  assert fitted.encode(Utterance(noise_S, 16_000, "", "en", "x")).shape == (rows, 4)


def errors_db(fitted, utterances):
  """Returns errors_Q: root mean square error in dB of the log-mel spectra, rebuilt from the first
  codebook, the first two, ... all of them."""
  errors = []
  for levels in range(1, len(fitted.centroids_QVE) + 1):
    squares = []
    for utterance in utterances:
      codes_TQ = fitted.encode(utterance)[:, :levels]
      rebuilt_TE = fitted.centroids_QVE[np.arange(levels), codes_TQ].sum(axis=1)
      log_mel_TM, _, _ = SETTINGS.parts(SETTINGS.frames(utterance.wave_S))
      squares.append(np.square(DB * (SETTINGS.parts(rebuilt_TE)[0] - log_mel_TM)).ravel())
    errors.append(np.sqrt(np.concatenate(squares).mean()))
  return np.array(errors)


def test_the_log_mel_error_falls_with_every_stage(fitted):
  for utterances in (TRAIN, TEST):
    assert (np.diff(errors_db(fitted, utterances)) < 0).all()
  first, *_, last = errors_db(fitted, TRAIN)
  assert last < 0.6 * first


def test_the_parts_of_a_frame_are_what_it_was_made_from():
  frames_TE = SETTINGS.frames(TEST[0].wave_S)
  log_mel_TM, pitch_T, voicing_T = SETTINGS.parts(frames_TE)
  assert log_mel_TM.shape == (80, 40)
  assert np.median(pitch_T) == pytest.approx(150, rel=0.03)
  assert voicing_T.mean() > 0.9
  stacked_TE = log_mel_TM.reshape(20, 160)
  apart = np.sqrt(np.mean(np.square(stacked_TE[0] - stacked_TE[9])))
  assert apart == pytest.approx(np.linalg.norm(frames_TE[0, :-2] - frames_TE[9, :-2]), rel=1e-4)


def test_decoded_sound_has_the_length_spectrum_pitch_and_loudness_of_its_codes(fitted):
  for pitch_hz in (110.0, 200.0):
    utterance = said(3, pitch_hz)
    codes_TQ = fitted.encode(utterance)
    wave_S = fitted.decode(codes_TQ)
    assert wave_S.dtype == np.float32
    assert len(wave_S) == 640 * len(codes_TQ)
    again = SETTINGS.parts(SETTINGS.frames(wave_S))[0]
    wanted = SETTINGS.parts(SETTINGS.frames(utterance.wave_S))[0]
    assert DB * np.sqrt(np.mean(np.square(again - wanted))) < 6
    pitch_T, periodicity_T = vocoder.pitch(wave_S)
    assert np.median(pitch_T[periodicity_T > 0.5]) == pytest.approx(pitch_hz, rel=0.08)
    assert np.square(wave_S).mean() == pytest.approx(np.square(utterance.wave_S).mean(), rel=0.5)


def test_any_ids_decode_and_none_is_silence(fitted):
  random = np.random.default_rng(0)
  for length in (1, 2, 50):
    wave_S = fitted.decode(random.integers(16, size=(length, 4)))
    assert len(wave_S) == 640 * length
    assert np.isfinite(wave_S).all() and np.abs(wave_S).max() <= 1
  assert fitted.decode(np.zeros(0, np.int32)).shape == (0,)


def test_silence_and_noise_have_codes_too(fitted):
  for wave_S in (np.zeros(3_200), np.random.default_rng(0).normal(scale=0.1, size=3_200)):
    codes_TQ = fitted.encode(Utterance(wave_S.astype(np.float32), 16_000, "", "en", "x"))
    assert np.isfinite(fitted.decode(codes_TQ)).all()


def test_an_offset_leaves_nearly_all_codes(fitted):
  for utterance in TEST:
    moved = dataclasses.replace(utterance, wave_S=utterance.wave_S + np.float32(0.03))
    assert np.mean(fitted.encode(moved) == fitted.encode(utterance)) > 0.97


def test_silence_at_both_ends_leaves_nearly_all_codes_between(fitted):
  quiet_S = np.zeros(6_400, np.float32)
  for utterance in TEST:
    longer = dataclasses.replace(
      utterance, wave_S=np.concatenate([quiet_S, utterance.wave_S, quiet_S])
    )
    same_TQ = fitted.encode(longer)[10:-10] == fitted.encode(utterance)
    assert np.mean(same_TQ) > 0.97


def test_ids_of_another_stream_and_voices_are_errors(fitted):
  with pytest.raises(DataError, match="from 0 to 15, got 3 to 16 in codebook 1"):
    fitted.decode([[0, 3, 0, 0], [0, 16, 0, 0]])
  with pytest.raises(ConfigError, match="'codes' determine the voice"):
    fitted.decode([[0, 0, 0, 0]], voice="bob")


def test_fit_is_deterministic_and_depends_on_the_seed():
  settings = MelRVQ(codebooks=2, size=4)
  one, again, other = (settings.fit(TRAIN[:6], seed=seed) for seed in (0, 0, 1))
  assert again.spec == one.spec
  assert other.spec.fingerprint != one.spec.fingerprint


def test_saved_and_pickled_equal_the_fitted(fitted, tmp_path):
  fitted.save(tmp_path / "codes")
  for copy in (SETTINGS.load(tmp_path / "codes"), pickle.loads(pickle.dumps(fitted))):
    assert copy.spec == fitted.spec
    np.testing.assert_array_equal(copy.encode(TEST[1]), fitted.encode(TEST[1]))
    np.testing.assert_array_equal(copy.decode([[1, 2, 3, 4]]), fitted.decode([[1, 2, 3, 4]]))


def test_loading_with_other_settings_says_which(fitted, tmp_path):
  fitted.save(tmp_path)
  with pytest.raises(TokenSpaceError, match="mels: config 80, workdir 40"):
    dataclasses.replace(SETTINGS, mels=80).load(tmp_path)


def test_text_alone_cannot_be_encoded(fitted):
  with pytest.raises(DataError, match="Expected a wave for the stream 'codes'"):
    fitted.encode(Utterance(None, 16_000, "hello", "en", "bob"))


@pytest.mark.parametrize(
  "utterances, text", [([], r"has 0 \(0.0 s\)"), (TEST[:1], r"has 20 \(0.8")]
)
def test_too_little_speech_says_how_much_there_is(utterances, text):
  with pytest.raises(DataError, match=f"at least 256 frames of speech .* {text}"):
    MelRVQ().fit(utterances, seed=0)


@pytest.mark.parametrize(
  "fields, text",
  [
    ({"rate_hz": 30.0}, "rate_hz=30.0, expected a divisor of 100"),
    ({"codebooks": 0}, "codebooks=0, expected at least 1"),
    ({"size": 1}, "size=1, expected at least 2"),
    ({"mels": 1}, "mels=1, expected at least 2"),
    ({"high_hz": 9_000.0}, "high_hz=9000.0, expected 0 <= low_hz < high_hz"),
  ],
)
def test_invalid_settings_are_an_error_that_says_why(fields, text):
  with pytest.raises(ConfigError, match=text):
    MelRVQ(**fields)
