"""Piper, with a network of a few lines in the place of a voice."""

import json

import numpy as np
import pytest

from audiopalm import servers
from audiopalm.audio import waveform
from audiopalm.data_pipelines.speech import voices
from audiopalm.data_pipelines.speech.speakers import PiperSpeaker
from audiopalm.errors import DataError, RecordError
from audiopalm.parts import synthesizers

RATE_HZ = 8_000
SAMPLES = 256  # a phoneme


@pytest.fixture
def folder(tmp_path):
  """A voice "tone" of three speakers: a phoneme is 256 samples of a hundredth of its id, and of ten
  times the number of the speaker; to all is added noise of scales[0]."""
  pytest.importorskip("piper", reason="piper-tts is not installed: audiopalm[piper]")
  onnx = pytest.importorskip("onnx")
  node, tensor = onnx.helper.make_node, onnx.helper.make_tensor_value_info
  integer, real = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT
  nodes = [
    node("Add", ["input", "tenfold"], ["ids"]),
    node("Cast", ["ids"], ["floats"], to=real),
    node("Mul", ["floats", "hundredth"], ["levels"]),
    node("Unsqueeze", ["levels", "last"], ["column"]),
    node("Expand", ["column", "shape"], ["clean"]),
    node("RandomNormalLike", ["clean"], ["random"], dtype=real),
    node("Gather", ["scales", "zero"], ["scale"]),
    node("Mul", ["random", "scale"], ["noise"]),
    node("Add", ["clean", "noise"], ["spoken"]),
    node("Reshape", ["spoken", "flat"], ["output"]),
    node("Mul", ["sid", "ten"], ["tenfold"]),
  ]
  nodes.insert(0, nodes.pop())
  constants = {
    "ten": np.array([10]), "hundredth": np.array(0.01, np.float32), "last": np.array([2]),
    "shape": np.array([1, 1, SAMPLES]), "zero": np.array(0), "flat": np.array([1, 1, -1]),
  }  # fmt: skip
  graph = onnx.helper.make_graph(
    nodes,
    "tone",
    [
      tensor("input", integer, [1, None]), tensor("input_lengths", integer, [1]),
      tensor("scales", real, [3]), tensor("sid", integer, [1]),
    ],
    [tensor("output", real, None)],
    [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
  )  # fmt: skip
  model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
  model.ir_version = 9
  onnx.save(model, tmp_path / "tone.onnx")
  config = {
    "num_symbols": 5, "num_speakers": 3, "phoneme_type": "text",
    "audio": {"sample_rate": RATE_HZ}, "espeak": {"voice": "en"},
    "phoneme_id_map": {"^": [1], "_": [0], "$": [2], "a": [3], "b": [4]},
  }  # fmt: skip
  (tmp_path / "tone.onnx.json").write_text(json.dumps(config))
  yield tmp_path
  servers.stop()


def test_a_voice_of_piper_speaks_as_its_network_says_without_noise(folder):
  speaker = PiperSpeaker(str(folder / "tone.onnx"), 2)
  wave_S = speaker.speak("ab").wave_S
  # Start, pad, a, pad, b, pad, end, of speaker 2, in the middle of each; the loudest is full scale.
  ids = np.array([1, 0, 3, 0, 4, 0, 2]) + 20
  assert len(wave_S) == len(ids) * SAMPLES * waveform.RATE_HZ // RATE_HZ
  middles = wave_S[SAMPLES :: 2 * SAMPLES]
  assert middles == pytest.approx(ids / ids.max(), abs=2e-3)


def test_a_text_gives_the_same_bytes_whatever_came_before(folder):
  one, other = (PiperSpeaker(str(folder / "tone.onnx"), number) for number in (0, 1))
  first = one.speak("ab").wave_S.tobytes()
  assert other.speak("ab").wave_S.tobytes() != first
  assert one.speak("b") and one.speak("ab").wave_S.tobytes() == first
  servers.stop()
  assert one.speak("ab").wave_S.tobytes() == first


def test_voices_of_a_folder_go_by_model_and_number(folder):
  known = synthesizers.piper(str(folder), {"en": ("tone", "tone#2")})
  assert voices.speaker(known, "en", "tone#2") == PiperSpeaker(str(folder / "tone.onnx"), 2)
  assert voices.speaker(known, "en", "tone") == PiperSpeaker(str(folder / "tone.onnx"))


def test_a_speaker_that_a_model_lacks_is_an_error_that_ends_prepare(folder):
  with pytest.raises(DataError, match="tone.onnx has no speaker 7: it has 3") as error:
    PiperSpeaker(str(folder / "tone.onnx"), 7).speak("ab")
  assert not isinstance(error.value, RecordError)


def test_a_damaged_voice_is_one_error_that_says_so(folder):
  (folder / "tone.onnx").write_bytes(b"no network")
  with pytest.raises(DataError, match="Piper cannot be started: .*tone.onnx"):
    PiperSpeaker(str(folder / "tone.onnx")).speak("ab")


def test_without_the_package_one_text_says_what_to_install(monkeypatch):
  monkeypatch.setattr(servers.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(DataError) as error:
    PiperSpeaker("voices/tone.onnx").speak("ab")
  assert "'piper' needs the package piper-tts, which is not installed" in str(error.value)
  assert "pip install 'audiopalm[piper]'" in str(error.value)
