import importlib.util
import sys

import numpy as np
import pytest

from audiopalm.audio import waveform
from audiopalm.data.executors import Local
from audiopalm.errors import ConfigError, DataError
from audiopalm.evaluation import listeners
from audiopalm.evaluation.listeners import Command, Dnsmos, Measurement, Resemblyzer, WavFile

needs_dnsmos = pytest.mark.skipif(
  any(importlib.util.find_spec(name) is None for name in ("speechmos", "onnxruntime", "librosa")),
  reason="needs speechmos (audiopalm[voices])",
)
needs_resemblyzer = pytest.mark.skipif(
  any(importlib.util.find_spec(name) is None for name in ("resemblyzer", "torch")),
  reason="needs resemblyzer (audiopalm[voices])",
)


@pytest.fixture
def recording(tmp_path):
  """Returns a WAV and its reference, of this many samples of a tone each."""

  def of(samples, reference=None, name="a"):
    path = tmp_path / f"{name}.wav"
    waveform.write(path, tone(samples), waveform.RATE_HZ)
    flac = None if reference is None else waveform.to_flac(tone(reference))
    return WavFile(path, "en", flac)

  return of


def tone(samples):
  return (0.3 * np.sin(np.arange(samples) / 9)).astype(np.float32)


def python(code):
  return f'{sys.executable} -c "{code}"'


def test_a_command_prints_the_number_of_the_path_it_is_given(recording):
  line = python("import sys, os; print(os.path.getsize(sys.argv[1]))") + " {wav}"
  short, long = recording(100, name="a"), recording(600, name="b")
  found = listeners.hear(Command("mos", line), [short, long], Local(0))
  assert [one.value for one in found] == [44 + 2 * 100, 44 + 2 * 600]
  with Local(2) as executor:
    assert listeners.hear(Command("mos", line), [short, long], executor) == found


def test_a_command_compares_with_the_reference_recording(recording):
  code = (
    "import sys, soundfile as s; a, b = (len(s.read(p)[0]) for p in sys.argv[1:]); print(a / b)"
  )
  line = python(code) + " {wav} {reference}"
  assert Command("similarity", line).hear(recording(200, reference=800)) == Measurement(0.25)


@pytest.mark.parametrize(
  ("code", "fault"),
  [
    ("print('good')", "a.wav: expected a number to be printed, but it was 'good'"),
    ("print('nan')", "a.wav: nan was printed"),
    ("raise SystemExit('no ear')", f"a.wav: {sys.executable} ended with code 1: no ear"),
  ],
)
def test_what_is_no_number_is_a_fault(recording, code, fault):
  reading = Command("mos", python(code) + " {wav}").hear(recording(100))
  assert reading.value is None
  assert reading.fault.endswith(fault)


def test_a_meter_that_shows_nothing_of_any_is_an_error_with_the_first_fault(recording):
  deaf = Command("mos", "false {wav}")
  with pytest.raises(DataError) as error:
    listeners.hear(deaf, [recording(100)], Local(0))
  assert str(error.value).startswith(
    "Not one of 1 recordings could be measured by the command 'false {wav}', from the written WAV."
  )
  assert listeners.hear(deaf, [], Local(0)) == []


@pytest.mark.parametrize(
  ("meter", "text"),
  [
    (Command("mos", "python3"), "--mos-command needs {wav} where the path"),
    (Command("similarity", "python3 {wav}"), "--similarity-command needs {reference} where"),
    (Command("mos", "no-such-program {wav}"), "cannot be started: 'no-such-program' is no program"),
    (Command("mos", ""), "--mos-command is empty: give a program and {wav}."),
  ],
)
def test_a_command_line_that_cannot_work_says_why(meter, text):
  with pytest.raises(ConfigError) as error:
    meter.check()
  assert text in str(error.value)


@pytest.mark.parametrize("meter", [Dnsmos(), Resemblyzer()])
def test_a_package_that_is_not_installed_says_how_to_install_it(meter, monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(ConfigError, match=r"not installed: .* pip install 'audiopalm\[voices\]'"):
    meter.check()


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
  """Two sentences of each of two voices of the synthesizer, as WAV and FLAC."""
  pytest.importorskip("espeakng_loader")
  from audiopalm.data_pipelines.speech.voices import speaker

  folder = tmp_path_factory.mktemp("voices")
  texts = (
    "The quick brown fox jumps over the lazy dog near the river bank.",
    "Please call me tomorrow morning before nine, I will be waiting at home.",
  )
  made = {}
  for voice in ("en-anna", "en-ben"):
    for number, text in enumerate(texts):
      wave_S = speaker("espeak", "en", voice).speak(text).wave_S
      path = folder / f"{voice}-{number}.wav"
      waveform.write(path, wave_S, waveform.RATE_HZ)
      made[voice, number] = (path, waveform.to_flac(wave_S))
  return made


@needs_dnsmos
def test_speech_is_found_better_than_noise(voices, recording, tmp_path):
  path, _ = voices["en-ben", 0]
  clear = waveform.read(path)
  noisy = clear + 0.1 * np.random.default_rng(0).normal(size=len(clear)).astype(np.float32)
  waveform.write(tmp_path / "noisy.wav", noisy, waveform.RATE_HZ)
  Dnsmos().check()
  found = [Dnsmos().hear(WavFile(one, "en")).value for one in (path, tmp_path / "noisy.wav")]
  assert 5 > found[0] > found[1] + 0.5 > 1
  assert Dnsmos().hear(recording(0)) == Measurement(None)
  assert "speechmos 0.0.1.1" in Dnsmos().rule


@needs_resemblyzer
def test_a_voice_is_more_like_itself_than_like_another(voices, recording):
  Resemblyzer().check()

  def alike(one, other):
    return Resemblyzer().hear(WavFile(voices[one][0], "en", voices[other][1])).value

  assert alike(("en-anna", 0), ("en-anna", 0)) == pytest.approx(1, abs=0.02)
  assert alike(("en-anna", 0), ("en-anna", 1)) > 0.8 > alike(("en-anna", 0), ("en-ben", 0))
  path, _ = voices["en-anna", 0]
  silent = WavFile(path, "en", waveform.to_flac(np.zeros(16_000, np.float32)))
  assert Resemblyzer().hear(silent) == Measurement(None)
  assert Resemblyzer().hear(recording(0, reference=16_000)) == Measurement(None)
