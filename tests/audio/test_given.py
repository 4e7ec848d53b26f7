import io
import os
import subprocess
import sys
import threading
import types

import numpy as np
import pytest

from audiopalm.audio import given, waveform
from audiopalm.errors import AudioError

RATE_HZ = 16_000
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ)).astype(np.float32)
OTHER = (0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ + 0.3)).astype(np.float32)
STEREO = "array of two axes: {} is taken for one recording of 2 channels"


@pytest.fixture
def path(tmp_path):
  waveform.write(tmp_path / "a.wav", TONE)
  return tmp_path / "a.wav"


def fault(audio):
  with pytest.raises(AudioError) as error:
    given.load(audio, "recording 1")
  return str(error.value)


def test_paths_bytes_and_open_files_are_the_same_recording(path):
  data = path.read_bytes()
  whole_S = waveform.read(path)
  with path.open("rb") as file:
    ways = (path, str(path), data, bytearray(data), memoryview(data), file, io.BytesIO(data))
    for way in ways:
      assert given.is_one(way)
      np.testing.assert_array_equal(given.load(way, "a").wave_S, whole_S)


def test_standard_input_is_named_by_a_dash(path):
  code = "from audiopalm.audio import given; print(len(given.load('-', '-').wave_S))"
  command = [sys.executable, "-c", code]
  done = subprocess.run(command, input=path.read_bytes(), capture_output=True, check=True)
  assert done.stdout == b"16000\n"


def test_what_comes_through_a_pipe_is_read_as_the_file_is(path, tmp_path):
  os.mkfifo(tmp_path / "pipe")
  writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(path.read_bytes(),))
  writer.start()
  wave_S = given.load(tmp_path / "pipe", "a").wave_S
  writer.join()
  np.testing.assert_array_equal(wave_S, waveform.read(path))


def test_what_comes_through_a_pipe_has_an_end(monkeypatch):
  monkeypatch.setattr(waveform, "LONGEST_PIPE_BYTES", 2**20)
  text = fault(io.BytesIO(bytes(2**20 + 1)))
  assert "recording 1: over 0.000976562 GiB came through a pipe without an end. Write it to" in text


@pytest.mark.parametrize(
  ("row", "samples"),
  [
    ({"array": TONE, "sampling_rate": RATE_HZ, "path": "gone.wav"}, 16_000),
    ({"array": TONE.tolist(), "sampling_rate": 8_000}, 32_000),
    ((TONE, 8_000), 32_000),
    ((8_000, TONE), 32_000),
    ((TONE.tolist(), 8_000), 32_000),
    (TONE, 16_000),
    (TONE.astype(np.float64), 16_000),
    (TONE.tolist(), 16_000),
  ],
  ids=[
    "row",
    "row of a list",
    "pair",
    "pair of scipy",
    "pair of a list",
    "float32",
    "float64",
    "list",
  ],
)
def test_waves_are_brought_to_the_working_rate(row, samples):
  assert given.is_one(row)
  loaded = given.load(row, "a")
  assert (loaded.wave_S.dtype, len(loaded.wave_S), loaded.notes) == (np.float32, samples, ())
  expected_S = waveform.resample(TONE, RATE_HZ * RATE_HZ / samples, RATE_HZ)
  np.testing.assert_allclose(loaded.wave_S, expected_S, atol=1e-5)


def test_a_row_that_is_not_decoded_is_read_by_its_bytes_or_path(path):
  whole_S = waveform.read(path)
  for row in (
    {"bytes": path.read_bytes(), "path": None},
    {"bytes": path.read_bytes(), "path": "gone.wav"},
    {"bytes": None, "path": str(path)},
  ):
    np.testing.assert_array_equal(given.load(row, "a").wave_S, whole_S)
  assert "recording 1: is a mapping with 'wave', expected 'array' and" in fault({"wave": TONE})


def test_what_torchcodec_decodes_is_read():
  samples = types.SimpleNamespace(data=np.stack([TONE, TONE]), sample_rate=8_000)
  decoder = types.SimpleNamespace(get_all_samples=lambda: samples)
  assert given.is_one(decoder)
  assert len(given.load(decoder, "a").wave_S) == 32_000


@pytest.mark.parametrize(
  ("kind", "zero", "scale"), [("int16", 0, 2**15), ("int32", 0, 2**31), ("uint8", 128, 2**7)]
)
def test_whole_numbers_have_the_scale_of_a_wav(kind, zero, scale):
  samples = (TONE.astype(np.float64) * scale).round() + zero
  loaded = given.load(samples.astype(kind), "a")
  np.testing.assert_allclose(loaded.wave_S, TONE, atol=1 / scale + 1e-6)


def test_arrays_of_two_axes_have_channels_along_the_shorter_one():
  for channels_last in (True, False):
    wave = np.stack([TONE, OTHER], axis=1 if channels_last else 0)
    assert given.is_one(wave)
    loaded = given.load(wave, "a")
    np.testing.assert_allclose(loaded.wave_S, (TONE + OTHER) / 2, atol=1e-6)
    assert loaded.notes == (STEREO.format("16000x2" if channels_last else "2x16000"),)
  alone = given.load(TONE[None], "a")
  np.testing.assert_array_equal(alone.wave_S, TONE)
  assert alone.notes == ()


def test_channels_of_an_array_are_judged_as_those_of_a_file():
  loaded = given.load(np.stack([TONE, -TONE]), "a")
  np.testing.assert_array_equal(loaded.wave_S, TONE)
  assert loaded.notes[1] == "channels cancel in their mean: 1 of 2 alone is used"


def test_several_recordings_are_a_list(path):
  for several in ([TONE, TONE], (TONE, OTHER), [path, path], [(TONE, 8_000)], [{"array": TONE}]):
    assert not given.is_one(several)


def test_a_tensor_is_taken_where_numpy_takes_it():
  torch = pytest.importorskip("torch", reason="needs pip install '.[export]'")
  loaded = given.load((torch.from_numpy(np.stack([TONE, TONE])), RATE_HZ), "a")
  np.testing.assert_allclose(loaded.wave_S, TONE, atol=1e-6)
  text = fault(torch.from_numpy(TONE.copy()).requires_grad_())
  assert "recording 1: numpy cannot take this Tensor" in text and ".detach().cpu().numpy()" in text


@pytest.mark.parametrize(
  ("audio", "text"),
  [
    (
      np.zeros((20, 30_000), np.float32),
      "an array of 20x30000, expected samples alone, or samples",
    ),
    (np.zeros((2, 2, 9), np.float32), "an array of 2x2x9, expected samples alone"),
    (np.float32(1), "an array of no axis, expected samples alone"),
    (np.zeros(99, np.int64), "an array of int64, expected float32 from -1 to 1, or int16"),
    (np.array(["a.wav"]), "an array of <U5, expected float32"),
    ([0.5, "a"], "an array of"),
    (None, "is of type NoneType, expected a path, bytes, an open file, a wave"),
    (object(), "is of type object, expected a path"),
    (io.StringIO("words"), "is a file opened as text. Open it with open(path, 'rb')."),
    (io.BytesIO(b""), "empty: it holds no bytes. Record it again, or leave it out."),
    (b"these are only words", "not audio, or damaged"),
    ((TONE, 99), "of an impossible rate: 99 Hz, expected at least 1000."),
    ((TONE * 0, RATE_HZ), "silent: its largest sample is 0"),
    ((TONE[:50], RATE_HZ), "too short: 0.0031 s"),
  ],
)
def test_what_is_no_recording_is_called_what_it_is(audio, text):
  found = fault(audio)
  assert found.startswith("recording 1: ") and text in found
