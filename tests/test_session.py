import numpy as np
import pytest

from audiopalm import session
from audiopalm.audio import waveform
from audiopalm.errors import AudioError, ConfigError
from audiopalm.parts import machines


def test_one_path_and_several_paths_become_inputs_named_like_them(tmp_path):
  paths = [tmp_path / "a.wav", tmp_path / "b.wav"]
  for path in paths:
    waveform.write(path, np.sin(np.arange(16_000) * 0.1))
  (alone,) = session.read_inputs(str(paths[0]), None)
  assert alone.name == str(paths[0])
  assert len(alone.wave_S) == 16_000
  assert [one.name for one in session.read_inputs(paths, None)] == list(map(str, paths))


def test_waves_and_texts_become_inputs_numbered_from_one():
  wave_S = np.sin(np.arange(16_000) * 0.1).astype(np.float32)
  (alone,) = session.read_inputs(wave_S, None)
  assert alone.name == "recording 1"
  np.testing.assert_array_equal(alone.wave_S, wave_S)
  assert [one.name for one in session.read_inputs([wave_S, wave_S], None)] == [
    "recording 1",
    "recording 2",
  ]
  assert [(one.name, one.text) for one in session.read_inputs(None, ["x", "y"])] == [
    ("text 1", "x"),
    ("text 2", "y"),
  ]
  assert session.read_inputs(None, "x")[0].text == "x"


def test_how_a_recording_was_read_goes_with_it():
  wave_S = np.sin(np.arange(16_000) * 0.1).astype(np.float32)
  (alone,) = session.read_inputs(np.stack([wave_S, -wave_S]), None)
  np.testing.assert_array_equal(alone.wave_S, wave_S)
  assert alone.notes == (
    "array with two axes: 2x16000 is read as one recording with 2 channels",
    "channels cancel in the mean: only channel 1 of 2 is used",
  )
  (slow,) = session.read_inputs({"array": wave_S, "sampling_rate": 8_000}, None)
  assert (slow.name, len(slow.wave_S), slow.notes) == ("recording 1", 32_000, ())


def test_a_file_that_is_missing_is_an_audio_error():
  with pytest.raises(AudioError, match="none.wav: no such file"):
    session.read_inputs("none.wav", None)


def test_audio_and_text_together_or_neither_are_refused():
  for audio, text in ((None, None), ("a.wav", "x")):
    with pytest.raises(ConfigError, match="Give either audio or text, as the task takes"):
      session.read_inputs(audio, text)


def test_a_workdir_that_does_not_exist_says_how_to_train_one(tmp_path):
  with pytest.raises(ConfigError, match="There is no run in .*audiopalm train CONFIG --workdir"):
    session.load(tmp_path / "none")


def test_a_machine_that_lacks_the_products_of_a_run_answers_in_its_own_and_says_so(
  tmp_path, monkeypatch, capsys
):
  cpu = machines.named("cpu")
  monkeypatch.setattr(machines, "CPUINFO", tmp_path / "none")
  assert session._settled(cpu, None, "bfloat16").products == "float32"
  assert capsys.readouterr().err == (
    "This run was trained with matrix products in bfloat16, but this CPU has none of the flags "
    "amx_bf16, avx512_bf16: it answers with products in float32, which may change some answers as "
    "rounding does.\n"
  )
  with pytest.raises(ConfigError, match="set by --products, but this CPU has none"):
    session._settled(cpu, "bfloat16", "bfloat16")
  (tmp_path / "none").write_text("flags : amx_bf16")
  assert session._settled(cpu, None, "bfloat16").products == "bfloat16"
  assert session._settled(cpu, None, None).products == "float32"  # of an older checkpoint
  assert not capsys.readouterr().err
