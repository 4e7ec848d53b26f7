"""Lyra V2: the published quantizer to the id, what is missing is said.

With the package ai-edge-litert, and the published files in the folder AUDIOPALM_LYRA.
"""

import dataclasses
import os
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from audiopalm.audio import waveform
from audiopalm.errors import ConfigError, DataError, TokenSpaceError
from audiopalm.tokenizers import lyra
from audiopalm.tokenizers.lyra import Lyra
from audiopalm.types import Utterance

FOLDER = os.environ.get("AUDIOPALM_LYRA", "")


@pytest.fixture(scope="module")
def fitted():
  pytest.importorskip("ai_edge_litert.interpreter", reason="needs audiopalm[lyra]")
  if not all((Path(FOLDER) / name).is_file() for name in lyra.FILES):
    pytest.skip("AUDIOPALM_LYRA names no folder with the files of Lyra V2")
  return Lyra(folder=FOLDER).fit([], seed=0)


@pytest.fixture(scope="module")
def speech():
  """A second of something like speech: a buzz of changing timbre, with a pause."""
  time_S = np.arange(16_000) / 16_000
  buzz_S = sum(np.sin(2 * np.pi * 130 * k * time_S) / k for k in range(1, 30))
  timbre_S = np.sin(2 * np.pi * (500 + 900 * time_S) * time_S)
  wave_S = 0.1 * buzz_S * (1 + timbre_S) * (np.abs(time_S - 0.5) > 0.08)
  return wave_S.astype(np.float32)


def utterance(wave_S, rate_hz=16_000):
  return Utterance(wave_S, rate_hz, "la", "en", "x")


def test_sixteen_levels_are_eight_codes_of_256_fifty_times_a_second(fitted, speech):
  codes_TQ = fitted.encode(utterance(speech))
  assert codes_TQ.shape == (50, 8)
  assert codes_TQ.dtype == np.int32
  assert (fitted.spec.sizes, fitted.spec.rate_hz) == ((256,) * 8, 50.0)
  assert fitted.spec.modality == "speech"
  assert len(np.unique(codes_TQ[:, 0])) > 3


@pytest.mark.parametrize("samples, rows", [(1, 1), (320, 1), (321, 2), (960, 3)])
def test_a_wave_has_a_row_per_20_ms_the_last_one_padded(fitted, samples, rows):
  assert fitted.encode(utterance(np.full(samples, 0.1, np.float32))).shape == (rows, 8)


def test_an_utterance_does_not_depend_on_the_one_before(fitted, speech):
  first_TQ = fitted.encode(utterance(speech))
  fitted.encode(utterance(speech[5_000:]))
  np.testing.assert_array_equal(fitted.encode(utterance(speech)), first_TQ)


def test_ids_are_those_of_the_published_quantizer(fitted, speech):
  from ai_edge_litert.interpreter import Interpreter

  features_TE = lyra._Network(fitted.files, lyra.ENCODER).run(speech[: 320 * 40].reshape(40, 320))
  quantizer = Interpreter(model_content=fitted.files[lyra.QUANTIZER])
  encode, decode = (quantizer.get_signature_runner(name) for name in ("encode", "decode"))
  every = Lyra(folder=FOLDER, levels=46, levels_per_code=1).fit([], 0)
  codes_TQ = every.codes(features_TE)
  for features_E, codes_Q in zip(features_TE, codes_TQ, strict=True):
    found = encode(input_frames=features_E[None, None], num_quantizers=np.int32(46))
    np.testing.assert_array_equal(found["output_0"].reshape(-1), codes_Q)
    rebuilt = decode(encoding_indices=codes_Q[:, None, None])["output_0"].reshape(-1)
    np.testing.assert_allclose(
      every.codebooks_QVE[np.arange(46), codes_Q].sum(axis=0), rebuilt, atol=1e-4
    )


def test_a_code_is_its_levels_with_the_first_as_the_high_digit(fitted, speech):
  single = dataclasses.replace(fitted, settings=Lyra(folder=FOLDER, levels_per_code=1))
  levels_TQ, codes_TQ = (one.encode(utterance(speech)) for one in (single, fitted))
  assert levels_TQ.shape == (50, 16)
  np.testing.assert_array_equal(16 * levels_TQ[:, ::2] + levels_TQ[:, 1::2], codes_TQ)
  np.testing.assert_array_equal(single.decode(levels_TQ), fitted.decode(codes_TQ))


def test_decoded_sound_is_like_the_wave_and_aligned_with_it(fitted, speech):
  wave_S = fitted.decode(fitted.encode(utterance(speech)))
  assert wave_S.dtype == np.float32
  assert len(wave_S) == len(speech)

  def loudness(wave_S):
    return np.sqrt(np.square(wave_S.reshape(-1, 800)).mean(axis=1))

  assert np.corrcoef(loudness(wave_S), loudness(speech))[0, 1] > 0.8


def test_any_ids_decode_and_none_is_silence(fitted):
  wave_S = fitted.decode(np.random.default_rng(0).integers(256, size=(20, 8)))
  assert len(wave_S) == 6_400
  assert np.isfinite(wave_S).all() and np.abs(wave_S).max() <= 1
  assert fitted.decode([]).shape == (0,)
  with pytest.raises(DataError, match="from 0 to 255, got 256 to 256 in codebook 7"):
    fitted.decode([[0] * 7 + [256]])


def test_saved_and_pickled_equal_the_fitted_without_the_folder(fitted, speech, tmp_path):
  fitted.save(tmp_path)
  for copy in (fitted.settings.load(tmp_path), pickle.loads(pickle.dumps(fitted))):
    assert copy.spec == fitted.spec
    np.testing.assert_array_equal(copy.encode(utterance(speech)), fitted.encode(utterance(speech)))
    np.testing.assert_array_equal(copy.decode([[1] * 8]), fitted.decode([[1] * 8]))
  with pytest.raises(TokenSpaceError, match="levels: config 8, workdir 16"):
    dataclasses.replace(fitted.settings, levels=8).load(tmp_path)


def test_the_fingerprint_depends_on_the_files_and_not_on_their_folder(fitted, tmp_path):
  for name in lyra.FILES:
    shutil.copy(Path(FOLDER) / name, tmp_path)
  elsewhere = Lyra(folder=str(tmp_path)).fit([], 0)
  assert elsewhere.spec == fitted.spec
  other = dataclasses.replace(fitted, files={**fitted.files, lyra.DECODER: b"another"})
  assert other.spec.fingerprint != fitted.spec.fingerprint


def test_another_rate_is_resampled(fitted, speech):
  again_S = waveform.resample(speech, 16_000, 8_000)
  assert fitted.encode(utterance(again_S, 8_000)).shape == (50, 8)


@pytest.mark.parametrize("name", lyra.FILES)
def test_a_wrong_or_damaged_file_is_named(fitted, tmp_path, name):
  for file in lyra.FILES:
    shutil.copy(Path(FOLDER) / file, tmp_path)
  other = {lyra.ENCODER: lyra.DECODER}.get(name, lyra.ENCODER)
  for content in ((Path(FOLDER) / other).read_bytes(), b"this is no network"):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=f"{name} is not the file of Lyra V2"):
      Lyra(folder=str(tmp_path)).fit([], 0)


def test_without_the_package_the_error_says_how_to_install_it(monkeypatch, tmp_path):
  monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
  with pytest.raises(ConfigError, match=r"needs the package ai-edge-litert.*'audiopalm\[lyra\]'"):
    Lyra(folder=str(tmp_path)).check()


@pytest.mark.parametrize(
  "names, text",
  [
    (None, "no folder is set"),
    ((), "lacks soundstream_encoder.tflite, quantizer.tflite, lyragan.tflite"),
    (lyra.FILES[:2], "lacks lyragan.tflite"),
  ],
)
def test_an_incomplete_folder_says_what_is_missing(monkeypatch, tmp_path, names, text):
  monkeypatch.setattr(lyra, "_litert", lambda: None)
  for name in names or ():
    (tmp_path / name).write_bytes(b"")
  folder = "" if names is None else str(tmp_path)
  with pytest.raises(ConfigError, match=f"{text}.*Clone github.com/google/lyra .*codes.folder=DIR"):
    Lyra(folder=folder).check()


@pytest.mark.parametrize(
  "fields, text",
  [
    ({"levels": 47}, "levels=47, expected 1 to 46"),
    ({"levels": 0}, "levels=0, expected 1 to 46"),
    ({"levels": 15}, "levels_per_code=2, expected 1 to 4, a divisor of levels=15"),
    ({"levels_per_code": 8}, "levels_per_code=8, expected 1 to 4"),
  ],
)
def test_invalid_settings_are_an_error_that_says_why(fields, text):
  with pytest.raises(ConfigError, match=text):
    Lyra(**fields)
