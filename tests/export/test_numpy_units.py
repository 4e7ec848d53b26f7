"""The file of plain numpy: the same units as ours, the same sound of them."""

import ast
import sys
from pathlib import Path

import numpy as np
import pytest

from audiopalm.audio import waveform
from audiopalm.export import folder, numpy_units, speech
from audiopalm.parts import tokenizers

SPEAKERS = ("en-anna", "fr-alice")


@pytest.fixture(scope="module")
def ours(run):
  return run[0].tokenizers["units"]


@pytest.fixture(scope="module")
def units(ours, tmp_path_factory):
  """The exported tokenizer, read from its file."""
  pytest.importorskip("safetensors", reason="needs pip install '.[export]'")
  path = tmp_path_factory.mktemp("units")
  arrays, texts = speech.SPEECH[type(ours.settings)].packed(ours)
  folder.save_arrays(path / "speech_tokenizer.safetensors", arrays, texts)
  return numpy_units.load(path)


def heard(small, seeds):
  return [small.said(seed, SPEAKERS[seed % 2]) for seed in seeds]


def test_ids_equal_ours(units, ours, small):
  for spoken in heard(small, range(100, 110)):
    found_T = units.encode(spoken.wave_S)
    assert found_T.dtype == np.int32
    np.testing.assert_array_equal(found_T, ours.encode(spoken))


@pytest.mark.long
def test_ids_equal_ours_on_a_hundred_recordings(units, ours, small):
  for spoken in heard(small, range(1_000, 1_100)):
    np.testing.assert_array_equal(units.encode(spoken.wave_S), ours.encode(spoken))


def test_ids_equal_ours_for_a_wave_of_any_length(units, ours, small):
  (spoken,) = heard(small, (5,))
  for samples in (1, 159, 161, 640, 641):
    short = small.Utterance(spoken.wave_S[:samples], 16_000, "", "en", "")
    np.testing.assert_array_equal(units.encode(short.wave_S), ours.encode(short))


@pytest.mark.parametrize("voice", (None, *SPEAKERS))
def test_sound_equals_ours_in_every_voice(units, ours, small, voice):
  ids_T = ours.encode(small.said(3))
  wave_S = units.decode(ids_T, voice)
  assert wave_S.dtype == np.float32
  np.testing.assert_allclose(wave_S, ours.decode(ids_T, voice=voice), atol=1e-5, rtol=0)


def test_no_units_are_no_sound(units):
  assert len(units.decode([])) == 0


@pytest.mark.parametrize("changes", (dict(warps=1), dict(collapse=True), dict(rate_hz=50.0)))
def test_other_settings_give_the_same_too(changes, small, tmp_path):
  pytest.importorskip("safetensors", reason="needs pip install '.[export]'")
  ours = tokenizers.units(size=16, **changes).fit(heard(small, range(8)), 0)
  arrays, texts = speech.SPEECH[type(ours.settings)].packed(ours)
  folder.save_arrays(tmp_path / "speech_tokenizer.safetensors", arrays, texts)
  units = numpy_units.load(tmp_path)
  (spoken,) = heard(small, (50,))
  ids_T = ours.encode(spoken)
  np.testing.assert_array_equal(units.encode(spoken.wave_S), ids_T)
  np.testing.assert_allclose(units.decode(ids_T), ours.decode(ids_T), atol=1e-5, rtol=0)


def test_a_wav_is_read_and_written_as_we_do(tmp_path, small):
  (spoken,) = heard(small, (1,))
  numpy_units.write_wav(tmp_path / "a.wav", spoken.wave_S)
  read_S = numpy_units.read_wav(tmp_path / "a.wav")
  assert read_S.tobytes() == waveform.read(tmp_path / "a.wav").tobytes()
  np.testing.assert_allclose(read_S, spoken.wave_S, atol=1e-4)


def test_a_wav_of_another_rate_says_how_to_convert_it(tmp_path):
  waveform.write(tmp_path / "a.wav", np.zeros(800), rate_hz=8_000)
  with pytest.raises(ValueError, match="a.wav has 8000 Hz .* expected 16000 Hz .* sox IN.wav"):
    numpy_units.read_wav(tmp_path / "a.wav")


@pytest.mark.parametrize("name", ("numpy_units", "torch_decoder"))
def test_the_files_that_go_out_need_nothing_of_ours(name):
  path = Path(numpy_units.__file__).with_name(f"{name}.py")
  tree = ast.parse(path.read_text())
  modules = set()
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      modules |= {alias.name.split(".")[0] for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      modules.add(node.module.split(".")[0])
  others = modules - set(sys.stdlib_module_names)
  assert others == ({"numpy"} if name == "numpy_units" else {"torch", "safetensors"})
