import io
import os
import subprocess
import sys
import threading
import types

import numpy as np
import pytest

from audiopalm.audio import sources, waveform
from audiopalm.errors import AudioError

RATE_HZ = 16_000
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ)).astype(np.float32)
OTHER = (0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ + 0.3)).astype(np.float32)
STEREO = "array with two axes: {} is read as one recording with 2 channels"


@pytest.fixture
def path(tmp_path):
  waveform.write(tmp_path / "a.wav", TONE)
  return tmp_path / "a.wav"


def fault(audio):
  with pytest.raises(AudioError) as error:
    sources.load(audio, "recording 1")
  return str(error.value)


def test_paths_bytes_and_open_files_are_the_same_recording(path):
  data = path.read_bytes()
  whole_S = waveform.read(path)
  with path.open("rb") as file:
    ways = (path, str(path), data, bytearray(data), memoryview(data), file, io.BytesIO(data))
    for way in ways:
      assert sources.is_recording(way)
      np.testing.assert_array_equal(sources.load(way, "a").wave_S, whole_S)


def test_standard_input_is_named_by_a_dash(path):
  code = "from audiopalm.audio import sources; print(len(sources.load('-', '-').wave_S))"
  command = [sys.executable, "-c", code]
  done = subprocess.run(command, input=path.read_bytes(), capture_output=True, check=True)
  assert done.stdout == b"16000\n"


def test_a_pipe_gives_the_recording_of_the_file(path, tmp_path):
  os.mkfifo(tmp_path / "pipe")
  writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(path.read_bytes(),))
  writer.start()
  wave_S = sources.load(tmp_path / "pipe", "a").wave_S
  writer.join()
  np.testing.assert_array_equal(wave_S, waveform.read(path))


def test_a_pipe_that_never_ends_is_an_error(monkeypatch):
  monkeypatch.setattr(waveform, "LONGEST_PIPE_BYTES", 2**20)
  text = fault(io.BytesIO(bytes(2**20 + 1)))
  assert "recording 1: a pipe gave over 0.000976562 GiB and did not end. Write it to" in text


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
  assert sources.is_recording(row)
  loaded = sources.load(row, "a")
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
    np.testing.assert_array_equal(sources.load(row, "a").wave_S, whole_S)
  assert "recording 1: is a mapping with 'wave', expected 'array' and" in fault({"wave": TONE})


def test_a_torchcodec_decoder_is_read():
  samples = types.SimpleNamespace(data=np.stack([TONE, TONE]), sample_rate=8_000)
  decoder = types.SimpleNamespace(get_all_samples=lambda: samples)
  assert sources.is_recording(decoder)
  assert len(sources.load(decoder, "a").wave_S) == 32_000


@pytest.mark.parametrize(
  ("kind", "zero", "scale"), [("int16", 0, 2**15), ("int32", 0, 2**31), ("uint8", 128, 2**7)]
)
def test_integers_are_scaled_as_in_a_wav(kind, zero, scale):
  samples = (TONE.astype(np.float64) * scale).round() + zero
  loaded = sources.load(samples.astype(kind), "a")
  np.testing.assert_allclose(loaded.wave_S, TONE, atol=1 / scale + 1e-6)


def test_arrays_of_two_axes_have_channels_along_the_shorter_one():
  for channels_last in (True, False):
    wave = np.stack([TONE, OTHER], axis=1 if channels_last else 0)
    assert sources.is_recording(wave)
    loaded = sources.load(wave, "a")
    np.testing.assert_allclose(loaded.wave_S, (TONE + OTHER) / 2, atol=1e-6)
    assert loaded.notes == (STEREO.format("16000x2" if channels_last else "2x16000"),)
  alone = sources.load(TONE[None], "a")
  np.testing.assert_array_equal(alone.wave_S, TONE)
  assert alone.notes == ()


def test_channels_of_an_array_are_mixed_as_those_of_a_file():
  loaded = sources.load(np.stack([TONE, -TONE]), "a")
  np.testing.assert_array_equal(loaded.wave_S, TONE)
  assert loaded.notes[1] == "channels cancel in the mean: only channel 1 of 2 is used"


def test_several_recordings_are_a_list(path):
  for several in ([TONE, TONE], (TONE, OTHER), [path, path], [(TONE, 8_000)], [{"array": TONE}]):
    assert not sources.is_recording(several)


def test_a_tensor_is_read_if_numpy_converts_it():
  torch = pytest.importorskip("torch", reason="needs pip install '.[export]'")
  loaded = sources.load((torch.from_numpy(np.stack([TONE, TONE])), RATE_HZ), "a")
  np.testing.assert_allclose(loaded.wave_S, TONE, atol=1e-6)
  text = fault(torch.from_numpy(TONE.copy()).requires_grad_())
  assert "recording 1: numpy cannot convert this Tensor" in text and ".detach().cpu()" in text


@pytest.mark.parametrize(
  ("audio", "text"),
  [
    (
      np.zeros((20, 30_000), np.float32),
      "an array of shape 20x30000, expected samples only, or samples",
    ),
    (np.zeros((2, 2, 9), np.float32), "an array of shape 2x2x9, expected samples only"),
    (np.float32(1), "an array of shape (), expected samples only"),
    (np.zeros(99, np.int64), "an array of int64, expected float32 from -1 to 1, or int16"),
    (np.array(["a.wav"]), "an array of <U5, expected float32"),
    ([0.5, "a"], "an array of"),
    (None, "is of type NoneType, expected a path, bytes, an open file, a wave"),
    (object(), "is of type object, expected a path"),
    (io.StringIO("words"), "is a file opened as text. Open it with open(path, 'rb')."),
    (io.BytesIO(b""), "empty: it holds no bytes. Record it again, or leave it out."),
    (b"these are only words", "not audio, or damaged"),
    ((TONE, 99), "impossible sample rate: 99 Hz, expected at least 1000."),
    ((TONE * 0, RATE_HZ), "silent: its largest sample is 0"),
    ((TONE[:50], RATE_HZ), "too short: 0.0031 s"),
  ],
)
def test_anything_else_is_an_error_that_says_what_it_is(audio, text):
  message = fault(audio)
  assert message.startswith("recording 1: ") and text in message
