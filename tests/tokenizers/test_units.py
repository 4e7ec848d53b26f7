"""Units: speakers do not show, loudness does not count, speech comes back, files and errors."""

import dataclasses
import json
import pickle

import numpy as np
import pytest

from audiopalm.audio import vocoder, waveform
from audiopalm.errors import ConfigError, DataError, TokenSpaceError
from audiopalm.tokenizers import units
from audiopalm.tokenizers.units import KMeansUnits
from audiopalm.types import Utterance

SETTINGS = KMeansUnits(size=32)
PITCH_HZ = {"ada": 210.0, "bob": 110.0, "cy": 150.0}
TRACT = {"ada": 1.15, "bob": 0.95, "cy": 1.05}  # how far up a speaker's formants lie
PHONES = np.random.default_rng(7).uniform(0, 1, (12, 3))


def said(phones, speaker="bob", frames=9):
  """Returns an utterance of phones: spectra with three hills, where the speaker has them."""
  hills_P = (np.array([[400, 1_300, 2_800]]) + PHONES[phones] * [[400, 1_200, 1_200]]) * TRACT[
    speaker
  ]
  centers_hz = np.geomspace(100, 7_500, 40)
  heights_PM = np.exp(-18 * np.log(hills_P[:, :, None] / centers_hz) ** 2).sum(axis=1)
  log_mel_TM = np.repeat(6 * heights_PM - 9, frames, axis=0).astype(np.float32)
  count = len(log_mel_TM)
  excitation_TE = vocoder.excitation(np.full(count, PITCH_HZ[speaker]), np.full(count, 0.9))
  wave_S = vocoder.sound(log_mel_TM, excitation_TE)
  return Utterance(wave_S / np.abs(wave_S).max() / 2, 16_000, "la la", "en", speaker)


def sentences(count, seed, speakers=tuple(PITCH_HZ)):
  random = np.random.default_rng(seed)
  return [
    said(random.integers(len(PHONES), size=16), speakers[place % len(speakers)])
    for place in range(count)
  ]


def collapsing(fitted):
  return dataclasses.replace(fitted, settings=dataclasses.replace(SETTINGS, collapse=True))


@pytest.fixture(scope="module")
def fitted():
  return SETTINGS.fit(sentences(60, seed=0), seed=0)


def test_ids_are_int32_at_the_rate_of_the_settings(fitted):
  ids_T = fitted.encode(said([1, 2, 3, 4]))  # 0.36 s
  assert ids_T.dtype == np.int32
  assert ids_T.shape == (9,)
  assert 0 <= ids_T.min() and ids_T.max() < 32
  assert fitted.spec.sizes == (32,)
  assert fitted.spec.rate_hz == 25
  assert fitted.spec.modality == "speech"


@pytest.mark.parametrize("samples, ids", [(1, 1), (640, 1), (641, 2), (16_000, 25)])
def test_a_wave_has_one_id_per_period_the_last_one_padded(fitted, samples, ids):
  noise_S = np.random.default_rng(0).normal(scale=0.1, size=samples).astype(np.float32)
  assert len(fitted.encode(Utterance(noise_S, 16_000, "", "en", "x"))) == ids


def test_ids_do_not_depend_on_loudness(fitted):
  utterance = said([1, 5, 2, 8, 3])
  quiet = dataclasses.replace(utterance, wave_S=0.05 * utterance.wave_S)
  np.testing.assert_array_equal(fitted.encode(quiet), fitted.encode(utterance))


def test_another_sampling_rate_gives_nearly_the_same_ids(fitted):
  utterance = sentences(1, seed=5)[0]
  wave_S = waveform.resample(utterance.wave_S, 16_000, 24_000)
  again_T = fitted.encode(dataclasses.replace(utterance, wave_S=wave_S, rate_hz=24_000))
  assert np.mean(again_T == fitted.encode(utterance)) > 0.9


def test_speakers_of_one_sentence_share_more_ids_than_speakers_of_two(fitted):
  random = np.random.default_rng(3)
  same, other = [], []
  for _ in range(10):
    one, two = random.integers(len(PHONES), size=(2, 16))
    ada, bob, else_ = (
      fitted.encode(said(phones, name))
      for phones, name in ((one, "ada"), (one, "bob"), (two, "bob"))
    )
    same.append(np.mean(ada == bob))
    other.append(np.mean(ada == else_))
  assert np.mean(same) > 0.5
  assert np.mean(same) > 3 * np.mean(other)


def test_warping_makes_the_ids_of_speakers_more_alike():
  train, test = sentences(60, seed=0), np.random.default_rng(3).integers(12, size=(8, 16))

  def agreement(warps):
    fitted = KMeansUnits(size=32, warps=warps).fit(train, seed=0)
    return np.mean([
      np.mean(fitted.encode(said(phones, "ada")) == fitted.encode(said(phones, "bob")))
      for phones in test
    ])  # fmt: skip

  assert agreement(warps=11) > agreement(warps=1)


@pytest.mark.parametrize("voice", ["ada", "bob"])
def test_decoded_speech_encodes_to_the_same_ids(fitted, voice):
  for utterance in sentences(5, seed=11):
    ids_T = fitted.encode(utterance)
    wave_S = fitted.decode(ids_T, voice=voice)
    assert wave_S.dtype == np.float32
    assert len(wave_S) == 640 * len(ids_T)
    again_T = fitted.encode(Utterance(wave_S, 16_000, "", "en", voice))
    assert np.mean(again_T == ids_T) > 0.85


def test_decoded_speech_has_the_pitch_of_its_voice(fitted):
  ids_T = fitted.encode(sentences(1, seed=11)[0])
  for voice, hz in PITCH_HZ.items():
    pitch_T, periodicity_T = vocoder.pitch(fitted.decode(ids_T, voice=voice))
    assert np.median(pitch_T[periodicity_T > 0.5]) == pytest.approx(hz, rel=0.08)


def test_any_ids_decode_and_none_is_silence(fitted):
  random = np.random.default_rng(0)
  for length in (1, 2, 50):
    wave_S = fitted.decode(random.integers(32, size=length))
    assert np.isfinite(wave_S).all() and np.abs(wave_S).max() <= 1
  assert fitted.decode([]).shape == (0,)


def test_decode_defaults_to_a_known_voice(fitted):
  ids = [1, 2, 3]
  assert fitted.voices == ("ada", "bob", "cy")
  np.testing.assert_array_equal(fitted.decode(ids), fitted.decode(ids, voice=fitted.default_voice))


def test_unknown_voice_lists_the_known(fitted):
  with pytest.raises(ConfigError, match="Unknown voice 'eve'. Known voices: ada, bob, cy"):
    fitted.decode([1], voice="eve")


def test_ids_of_another_stream_are_an_error(fitted):
  with pytest.raises(DataError, match="from 0 to 31, got 3 to 32"):
    fitted.decode([3, 32])


def test_collapsed_units_are_the_runs_of_the_plain_ones(fitted):
  collapsed = collapsing(fitted)
  utterance = said([1, 1, 2, 2, 2, 3])
  plain_T = fitted.encode(utterance)
  ids_T, durations_T = units.runs(plain_T)
  np.testing.assert_array_equal(np.repeat(ids_T, durations_T), plain_T)
  np.testing.assert_array_equal(collapsed.encode(utterance), ids_T)
  assert (ids_T[1:] != ids_T[:-1]).all()
  assert collapsed.spec.rate_hz is None


def test_collapsed_units_have_their_mean_duration(fitted):
  collapsed = collapsing(fitted)
  utterance = sentences(1, seed=9)[0]
  seconds = len(collapsed.decode(collapsed.encode(utterance))) / 16_000
  assert seconds == pytest.approx(len(utterance.wave_S) / 16_000, rel=0.2)


def test_fit_is_deterministic_and_depends_on_the_seed():
  one, again, other = (
    KMeansUnits(size=8).fit(sentences(9, seed=0), seed=seed) for seed in (0, 0, 1)
  )
  assert again.spec == one.spec
  assert other.spec.fingerprint != one.spec.fingerprint


def test_fit_reads_no_more_than_it_needs():
  def endless():
    for utterance in sentences(20, seed=0) * 1_000:
      yield utterance
      taken.append(utterance)

  taken = []
  KMeansUnits(size=8, fit_s=10).fit(endless(), seed=0)
  assert len(taken) <= 8  # of 1.44 s each


def test_saved_and_pickled_equal_the_fitted(fitted, tmp_path):
  fitted.save(tmp_path / "units")
  utterance = said([4, 5, 6])
  for copy in (SETTINGS.load(tmp_path / "units"), pickle.loads(pickle.dumps(fitted))):
    assert copy.spec == fitted.spec
    assert copy.voices == fitted.voices
    assert copy.default_voice == fitted.default_voice
    np.testing.assert_array_equal(copy.encode(utterance), fitted.encode(utterance))
    np.testing.assert_array_equal(copy.decode([1, 2]), fitted.decode([1, 2]))


def test_loading_with_other_settings_says_which(fitted, tmp_path):
  fitted.save(tmp_path)
  with pytest.raises(TokenSpaceError, match="warps: config 1, workdir 11"):
    KMeansUnits(size=32, warps=1).load(tmp_path)


def test_runs_have_ids_and_lengths():
  ids_T, durations_T = units.runs(np.array([3, 3, 1, 3, 3, 3]))
  assert ids_T.tolist() == [3, 1, 3]
  assert durations_T.tolist() == [2, 1, 3]


def test_text_alone_cannot_be_encoded(fitted):
  with pytest.raises(DataError, match="Expected a wave .* 'hello' of 'bob' has none"):
    fitted.encode(Utterance(None, 16_000, "hello", "en", "bob"))


def test_too_little_speech_says_how_much_there_is():
  with pytest.raises(DataError, match=r"at least 256 units .* has 72 \(2.9 s\)"):
    KMeansUnits(size=256).fit(sentences(2, seed=0), seed=0)


@pytest.mark.parametrize(
  "fields, text",
  [
    ({"rate_hz": 30.0}, "rate_hz=30.0, expected a divisor of 100"),
    ({"size": 1}, "size=1, expected at least 2"),
    ({"warps": 4}, "warps=4, expected an odd number"),
    ({"coefficients": 30}, "coefficients=30, expected 2 to bins=24"),
    ({"high_hz": 9_000.0}, "high_hz=9000.0, expected 0 <= low_hz < high_hz <= 8000"),
  ],
)
def test_invalid_settings_are_an_error_that_says_why(fields, text):
  with pytest.raises(ConfigError, match=text):
    KMeansUnits(**fields)


def around(wave_S, seconds, spread=0.0):
  """Returns the wave between two stretches of zeros, or of hiss."""
  random = np.random.default_rng(0)
  before_S, after_S = random.normal(0, 1, (2, round(seconds * 16_000)))
  return np.concatenate([spread * before_S, wave_S, spread * after_S]).astype(np.float32)


def changed(fitted, before_s, change):
  """Returns the share of units of speech that a change of the wave changes, over ten sentences."""
  different = []
  for utterance in sentences(10, seed=21):
    ids_T = fitted.encode(utterance)
    found_T = fitted.encode(dataclasses.replace(utterance, wave_S=change(utterance.wave_S)))
    start = round(before_s * 25)
    different.append(found_T[start : start + len(ids_T)] != ids_T)
  return np.mean(np.concatenate(different))


@pytest.mark.parametrize("spread", (0.0, 1e-3))
@pytest.mark.parametrize("seconds", (0.2, 0.4, 1.0, 3.0))
def test_silence_at_both_ends_leaves_the_units_of_speech(fitted, seconds, spread):
  assert changed(fitted, seconds, lambda wave_S: around(wave_S, seconds, spread)) <= 0.03


@pytest.mark.parametrize("seconds", (0.203, 0.4101, 0.59))
def test_units_begin_where_speech_does(fitted, seconds):
  same = []
  for utterance in sentences(10, seed=21):
    ids_T = fitted.encode(utterance)
    longer = dataclasses.replace(utterance, wave_S=around(utterance.wave_S, seconds))
    found_T = fitted.encode(longer)
    assert len(found_T) == -(-len(longer.wave_S) // 640)  # however far they were moved
    same.append(found_T[round(seconds / 0.04) :][: len(ids_T)] == ids_T)
  assert np.mean(same) >= 0.97


@pytest.mark.parametrize("offset", (0.01, -0.03))
def test_an_offset_leaves_the_units(fitted, offset):
  assert changed(fitted, 0, lambda wave_S: wave_S + np.float32(offset)) <= 0.01


@pytest.mark.parametrize(("quiet_s", "least"), ((0.08, 0.95), (0.0, 0.9)))
def test_an_offset_beside_zeros_changes_little_but_the_units_at_its_steps(fitted, quiet_s, least):
  same = []
  for utterance in sentences(10, seed=21):
    wave_S = around(utterance.wave_S, quiet_s)
    stepping_S = around(wave_S + np.float32(0.03), 0.4)
    found_T = fitted.encode(dataclasses.replace(utterance, wave_S=stepping_S))[10:-10]
    ids_T = fitted.encode(dataclasses.replace(utterance, wave_S=wave_S))
    same.append((found_T == ids_T)[2:-2])
  # A step is a click, which is heard: where speech begins with it, units begin with the click.
  assert np.mean(same) >= least


def test_20_db_more_or_less_leave_the_units(fitted):
  for factor in (0.1, 10):
    assert changed(fitted, 0, lambda wave_S, factor=factor: factor * wave_S) <= 0.01


def silent_unit(tokenizer):
  (unit,) = set(tokenizer.encode(Utterance(np.zeros(16_000, np.float32), 16_000, "", "en", "x")))
  return unit


def recorded(heard, longest_s=0.4):
  """Returns the utterances with zeros or hiss around them, none like the next."""
  random = np.random.default_rng(0)
  return [
    dataclasses.replace(
      one, wave_S=around(one.wave_S, random.uniform(0, longest_s), (0.0, 1e-3)[place % 2])
    )
    for place, one in enumerate(heard)
  ]


@pytest.fixture(scope="module")
def fitted_with_silence():
  return SETTINGS.fit(recorded(sentences(60, seed=0)), seed=0)


@pytest.mark.parametrize("under_db", (np.inf, 60, 40))
def test_silence_is_one_unit_with_zeros_and_with_hiss_far_under_the_speech(
  fitted_with_silence, under_db
):
  quiet = silent_unit(fitted_with_silence)
  for utterance in sentences(5, seed=21):
    spread = np.sqrt(np.mean(np.square(utterance.wave_S))) * 10 ** (-under_db / 20)
    longer = dataclasses.replace(utterance, wave_S=around(utterance.wave_S, 1.0, spread))
    ids_T = fitted_with_silence.encode(longer)
    assert (ids_T[:23] == quiet).all() and (ids_T[-23:] == quiet).all()


def test_silence_is_decoded_as_silence(fitted_with_silence):
  silence = [silent_unit(fitted_with_silence)] * 25
  assert np.abs(fitted_with_silence.decode(silence)).max() < 0.05
  spoken = list(fitted_with_silence.encode(sentences(1, seed=21)[0]))
  wave_S = fitted_with_silence.decode(silence + spoken + silence)
  loud, quiet = (
    10 * np.log10(np.mean(np.square(part_S)))
    for part_S in (wave_S[16_000:-16_000], wave_S[:12_800])
  )
  assert quiet < loud - 30


def test_decoded_speech_with_silence_around_it_encodes_to_the_same_ids(fitted_with_silence):
  for utterance in recorded(sentences(5, seed=11)):
    ids_T = fitted_with_silence.encode(utterance)
    wave_S = fitted_with_silence.decode(ids_T)
    again_T = fitted_with_silence.encode(Utterance(wave_S, 16_000, "", "en", "bob"))
    assert np.mean(again_T == ids_T) > 0.85


def test_voices_do_not_depend_on_the_silence_in_their_recordings():
  heard = sentences(24, seed=0)
  ada_waits = [
    dataclasses.replace(one, wave_S=around(one.wave_S, 0.8 if one.speaker == "ada" else 0.2))
    for one in heard
  ]
  plain, waiting = (KMeansUnits(size=24).fit(some, seed=0) for some in (heard, ada_waits))
  assert waiting.durations_V.max() < 8  # not the 20 units of silence before ada speaks

  def loudness(tokenizer):
    """Returns how much louder than all each voice is in nepers, over the units of speech."""
    log_mel_NVPM = tokenizer.sounds.log_mel_NVPM
    if tokenizer is waiting:
      log_mel_NVPM = np.delete(log_mel_NVPM, silent_unit(waiting), axis=1)
    mean_N = log_mel_NVPM.mean(axis=(1, 2, 3))
    return mean_N - mean_N.mean()

  np.testing.assert_allclose(loudness(waiting), loudness(plain), atol=0.1)
  pitch_hz = np.exp(np.median(waiting.sounds.log_pitch_NV, axis=1))
  np.testing.assert_allclose(pitch_hz, [PITCH_HZ[name] for name in waiting.voices], rtol=0.05)


def test_units_fitted_by_an_older_rule_are_an_error_that_says_what_to_do(fitted, tmp_path):
  fitted.save(tmp_path)
  path = tmp_path / "settings.json"
  settings = json.loads(path.read_text())
  assert settings.pop("rule") == 3
  path.write_text(json.dumps(settings))
  with pytest.raises(
    TokenSpaceError, match="by rule 1, this version of audiopalm by rule 3.*Prepare"
  ):
    SETTINGS.load(tmp_path)
