"""Speech tokenizers of exported folders: the same ids and sound as ours, with nothing of ours."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiopalm.audio import waveform
from audiopalm.errors import TokenSpaceError
from audiopalm.exports import folder, plain_waveform, speech, standalone
from audiopalm.models.pytorch.exported import TORCH_DECODER
from audiopalm.parts import tokenizers

HERE = Path(__file__).parent
SPEAKERS = ("en-anna", "fr-alice")


@pytest.fixture(scope="module")
def ours(run):
  return run[0].tokenizers["units"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
  """The module as an export leaves it: in a folder that is first on the path."""
  path = tmp_path_factory.mktemp("exported")
  standalone.write(path, (speech.NAME,))
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(path))
    yield importlib.import_module(speech.NAME)


@pytest.fixture(scope="module")
def units(ours, exported, tmp_path_factory):
  """The exported tokenizer, read from its file."""
  path = tmp_path_factory.mktemp("units")
  folder.save_arrays(path / "speech_tokenizer.safetensors", *speech.pack(ours))
  return exported.load(path)


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


def between_silences(wave_S, random):
  return np.concatenate([random.normal(0, 1e-3, 5_000), wave_S, np.zeros(8_000)])


@pytest.mark.parametrize(
  "change",
  (
    lambda wave_S, random: wave_S + 0.03,
    lambda wave_S, random: 0.05 * wave_S,
    between_silences,
    lambda wave_S, random: np.zeros(3_000),
  ),
  ids=("offset", "quiet", "silence", "zeros"),
)
def test_ids_equal_ours_whatever_silence_level_and_offset_a_wave_has(units, ours, small, change):
  (spoken,) = heard(small, (6,))
  wave_S = change(spoken.wave_S, np.random.default_rng(0)).astype(np.float32)
  expected_T = ours.encode(small.Utterance(wave_S, 16_000, "", "en", ""))
  np.testing.assert_array_equal(units.encode(wave_S), expected_T)


def test_arrays_of_an_older_rule_say_what_to_do(ours):
  arrays, texts = speech.pack(ours)
  older = {"about": texts["about"].replace('"rule": 3', '"rule": 1')}
  with pytest.raises(
    TokenSpaceError, match="'units' in the exported folder encodes by rule 1, this"
  ):
    speech.unpack(ours.settings, arrays, older)


@pytest.mark.parametrize("voice", (None, *SPEAKERS))
def test_sound_equals_ours_in_every_voice(units, ours, small, voice):
  ids_T = ours.encode(small.said(3))
  wave_S = units.decode(ids_T, voice)
  assert wave_S.dtype == np.float32
  np.testing.assert_array_equal(wave_S, ours.decode(ids_T, voice=voice))


def test_a_voice_is_known_in_every_spelling(units):
  np.testing.assert_array_equal(
    units.decode([1, 2], "fr-alice\u00a0"), units.decode([1, 2], "fr-alice")
  )


def test_an_unknown_voice_names_the_known_ones(units):
  errors = importlib.import_module(f"{standalone.PACKAGE}.errors")
  with pytest.raises(errors.ConfigError, match="Unknown voice 'x'. Known voices: en-anna, fr-"):
    units.decode([0, 1], "x")


def test_no_units_are_no_sound(units):
  assert len(units.decode([])) == 0


@pytest.mark.parametrize("changes", (dict(warps=1), dict(collapse=True), dict(rate_hz=50.0)))
def test_other_settings_give_the_same_too(exported, changes, small, tmp_path):
  ours = tokenizers.units(size=16, **changes).fit(heard(small, range(8)), 0)
  folder.save_arrays(tmp_path / "speech_tokenizer.safetensors", *speech.pack(ours))
  units = exported.load(tmp_path)
  (spoken,) = heard(small, (50,))
  ids_T = ours.encode(spoken)
  np.testing.assert_array_equal(units.encode(spoken.wave_S), ids_T)
  np.testing.assert_array_equal(units.decode(ids_T), ours.decode(ids_T))


@pytest.mark.parametrize("changes", (dict(), dict(rate_hz=50.0, mels=20)))
def test_residual_codes_and_their_sound_equal_ours(exported, changes, small, tmp_path):
  ours = tokenizers.mel_rvq(codebooks=8, size=16, **changes).fit(heard(small, range(8)), 0)
  folder.save_arrays(tmp_path / "speech_tokenizer.safetensors", *speech.pack(ours))
  codes = exported.load(tmp_path)
  for spoken in heard(small, range(60, 66)):
    codes_TQ = codes.encode(spoken.wave_S)
    assert (codes_TQ.dtype, codes_TQ.shape[1]) == (np.int32, 8)
    np.testing.assert_array_equal(codes_TQ, ours.encode(spoken))
  wave_S = codes.decode(codes_TQ)
  assert wave_S.dtype == np.float32
  np.testing.assert_array_equal(wave_S, ours.decode(codes_TQ))


def test_a_wav_is_read_and_written_as_we_do(exported, tmp_path, small):
  (spoken,) = heard(small, (1,))
  exported.write_wav(tmp_path / "a.wav", spoken.wave_S)
  read_S = exported.read_wav(tmp_path / "a.wav")
  assert read_S.tobytes() == waveform.read(tmp_path / "a.wav").tobytes()
  np.testing.assert_allclose(read_S, spoken.wave_S, atol=1e-4)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000, 32_016])
def test_a_wav_that_misses_its_length_is_read_as_we_do(exported, tmp_path, small, size):
  (spoken,) = heard(small, (1,))
  wave_S = np.resize(spoken.wave_S, 16_000)
  exported.write_wav(tmp_path / "a.wav", wave_S)
  data = bytearray((tmp_path / "a.wav").read_bytes())
  data[40:44] = size.to_bytes(4, "little")
  (tmp_path / "a.wav").write_bytes(data)
  read_S = exported.read_wav(tmp_path / "a.wav")
  assert len(read_S) == 16_000
  assert read_S.tobytes() == waveform.read(tmp_path / "a.wav").tobytes()


@pytest.mark.parametrize("size", [64_000, 0])
def test_a_wav_that_was_cut_or_has_no_length_is_refused(exported, tmp_path, size):
  waveform.write(tmp_path / "a.wav", np.sin(np.arange(16_000)))
  data = bytearray((tmp_path / "a.wav").read_bytes())
  data[40:44] = size.to_bytes(4, "little")
  (tmp_path / "a.wav").write_bytes(data)
  held = 16_000 if size else 0
  text = f"a.wav has {held} of the {size // 2} samples that its header states. Copy it again"
  with pytest.raises(ValueError, match=text):
    exported.read_wav(tmp_path / "a.wav")


def test_channels_that_cancel_are_refused(exported, tmp_path):
  wave_S = 0.5 * np.sin(np.arange(16_000))
  soundfile.write(tmp_path / "a.wav", np.stack([wave_S, -wave_S], axis=1), 16_000)
  with pytest.raises(ValueError, match="The 2 channels of .*a.wav cancel: sox IN.wav"):
    exported.read_wav(tmp_path / "a.wav")


def test_a_wav_of_another_rate_says_how_to_convert_it(exported, tmp_path):
  waveform.write(tmp_path / "a.wav", np.zeros(800), rate_hz=8_000)
  with pytest.raises(ValueError, match="a.wav has 8000 Hz .* expected 16000 Hz .* sox IN.wav"):
    exported.read_wav(tmp_path / "a.wav")


def modules_at_top(path):
  """Returns the modules outside of Python that a file imports when it is imported."""
  modules = set()
  for node in ast.parse(path.read_text()).body:
    if isinstance(node, ast.Import):
      modules |= {alias.name.split(".")[0] for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      modules.add(node.module.split(".")[0])
  return modules - set(sys.stdlib_module_names)


def test_the_files_that_go_out_need_nothing_of_ours(tmp_path):
  standalone.write(tmp_path, ("speech_tokenizer",))
  modules = set().union(*map(modules_at_top, tmp_path.rglob("*.py")))
  assert modules == {"audiopalm_speech", "numpy", "safetensors", "scipy"}
  assert modules_at_top(tmp_path / "silence.py") == {"numpy"}
  assert modules_at_top(TORCH_DECODER) == {"torch", "safetensors"}


@pytest.mark.parametrize("name", ("speech_tokenizer", "speech_tokenizer_codes"))
def test_a_wav_goes_through_ids_and_back_in_a_process_without_us(name, ours, small, tmp_path):
  standalone.write(tmp_path, (name,))
  folder.save_arrays(tmp_path / f"{name}.safetensors", *speech.pack(ours))
  plain_waveform.write(tmp_path / "in.wav", small.said(4).wave_S)
  read_S = waveform.read(tmp_path / "in.wav")
  line = (HERE / "without_jax.py", tmp_path / f"{name}.py", tmp_path / "in.wav", tmp_path / "o.wav")
  subprocess.run([sys.executable, *map(str, line)], check=True)
  wave_S = ours.decode(ours.encode(small.Utterance(read_S, 16_000, "", "en", "")))
  plain_waveform.write(tmp_path / "ours.wav", wave_S)
  assert (tmp_path / "o.wav").read_bytes() == (tmp_path / "ours.wav").read_bytes()


def test_the_wav_files_of_an_exported_folder_have_our_rate_and_no_other():
  assert plain_waveform.RATE_HZ == waveform.RATE_HZ
  wave_S = np.zeros(8, np.float32)
  assert plain_waveform.resample(wave_S, 16_000, 16_000) is wave_S
  with pytest.raises(ValueError, match="Expected a wave at 16000 Hz, got 8000 Hz. Resample it"):
    plain_waveform.resample(wave_S, 8_000, 16_000)
