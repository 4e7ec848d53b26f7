"""What tokenizers share: checks of codes and voices, and the waves they are fitted on."""

import functools

import numpy as np
import pytest

from audiopalm.errors import ConfigError, DataError
from audiopalm.parts import tokenizers
from audiopalm.tokenizers import base
from audiopalm.types import StreamSpec, Utterance

SPEC = StreamSpec("codes", "speech", (4, 8), 50.0, "made up")


def test_codes_of_the_spec_are_returned_unchanged():
  np.testing.assert_array_equal(base.check_codes([[3, 7], [0, 0]], SPEC), [[3, 7], [0, 0]])


@pytest.mark.parametrize("nothing", [[], np.zeros(0, np.int32), np.zeros((0, 2), np.int32)])
def test_no_ids_are_no_frames(nothing):
  assert base.check_codes(nothing, SPEC).shape == (0, 2)


@pytest.mark.parametrize("ids", [[1, 2], [[1], [2]], [[1, 2, 3]], [[[1, 2]]]])
def test_codes_of_another_shape_are_an_error_that_says_the_expected_shape(ids):
  with pytest.raises(DataError, match=r"codes of the stream 'codes' as \[frames, 2\], got the sha"):
    base.check_codes(ids, SPEC)


@pytest.mark.parametrize(
  "ids, text",
  [
    ([[4, 0], [1, 0]], "from 0 to 3, got 1 to 4 in codebook 0"),
    ([[3, 8], [1, 2]], "from 0 to 7, got 2 to 8 in codebook 1"),
    ([[-1, 0]], "from 0 to 3, got -1 to -1 in codebook 0"),
  ],
)
def test_ids_that_a_codebook_does_not_have_are_an_error(ids, text):
  with pytest.raises(DataError, match=text):
    base.check_codes(ids, SPEC)


def test_ids_of_one_codebook_are_checked_without_naming_it():
  spec = StreamSpec("units", "speech", (4,), 25.0, "made up")
  np.testing.assert_array_equal(base.check_ids([3, 0], spec), [3, 0])
  assert base.check_ids([], spec).shape == (0,)
  with pytest.raises(DataError, match="'units' from 0 to 3, got 1 to 4. Pass only ids"):
    base.check_ids(np.array([1, 4]), spec)


def test_a_voice_is_one_of_the_known_or_none():
  base.check_voice(None, SPEC, ())
  base.check_voice("ada", SPEC, ("ada", "bob"))
  with pytest.raises(ConfigError, match="Unknown voice 'eve'. Known voices: ada, bob."):
    base.check_voice("eve", SPEC, ("ada", "bob"))
  with pytest.raises(ConfigError, match="'codes' determine the voice, so voice='eve' cannot be"):
    base.check_voice("eve", SPEC, ())


@pytest.mark.parametrize(
  "make",
  (tokenizers.units, functools.partial(tokenizers.neural, "folder"), tokenizers.mel_rvq,
   tokenizers.pitch),
)  # fmt: skip
def test_no_speech_and_no_voice_are_refused(make):
  for seconds in (0, -5, float("nan")):
    with pytest.raises(ConfigError, match=f"has fit_s={seconds}, expected seconds above 0. Set"):
      make(fit_s=seconds)
  if hasattr(make(), "voices"):
    with pytest.raises(ConfigError, match="has voices=0, expected at least 1. Set voices=64"):
      make(voices=0)


def test_waves_are_resampled_to_the_working_rate_until_there_are_enough():
  def second(rate_hz):
    return Utterance(np.ones(rate_hz, np.float32), rate_hz, "", "en", "x")

  utterances = [Utterance(None, 16_000, "text alone", "en", "x"), second(8_000), second(16_000)]
  assert [len(wave_S) for _, wave_S in base.speech_waves(utterances, 60.0)] == [16_000, 16_000]
  assert len(base.speech_waves(utterances, 1.0)) == 1
