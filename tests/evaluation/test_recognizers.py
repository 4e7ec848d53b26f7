import importlib.util
import sys

import numpy as np
import pytest

from audiopalm.audio import waveform
from audiopalm.data import commands
from audiopalm.data.executors import Local
from audiopalm.errors import ConfigError, DataError
from audiopalm.evaluation import listeners
from audiopalm.evaluation.listeners import (
  Command,
  Measurement,
  PocketSphinx,
  TranscriptCache,
  WavFile,
)

needs_sphinx = pytest.mark.skipif(
  importlib.util.find_spec("pocketsphinx") is None, reason="needs pocketsphinx (audiopalm[asr])"
)
# Says the name of its file and its language, and fails where the name holds "bad".
SCRIPT = """
import pathlib, sys
path, language = sys.argv[1:]
if "bad" in path:
  sys.exit(f"cannot hear {pathlib.Path(path).name}")
assert pathlib.Path(path).is_file()
print(f"  {pathlib.Path(path).stem}\\n in  {language} ")
"""


@pytest.fixture
def command(tmp_path):
  """A command line over a script of Python."""

  def of(script=SCRIPT):
    path = tmp_path / "a script.py"
    path.write_text(script)
    return Command("asr", f"{sys.executable} '{path}' {{wav}} {{language}}")

  return of


@pytest.fixture
def wavs(tmp_path):
  def of(*names, language="fr"):
    for name in names:
      (tmp_path / f"{name}.wav").touch()
    return [WavFile(tmp_path / f"{name}.wav", language) for name in names]

  return of


def test_a_command_prints_the_transcript_of_the_path_and_language_it_is_given(command, wavs):
  found = listeners.hear(command(), wavs("a b", "c"), Local(0), TranscriptCache())
  assert found == [Measurement("a b in fr"), Measurement("c in fr")]


def test_other_processes_hear_the_same_in_the_same_order(command, wavs):
  asked = wavs("a", "bad", "c", "d")
  with Local(2) as executor:
    there = listeners.hear(command(), asked, executor, TranscriptCache())
  assert there == listeners.hear(command(), asked, Local(0), TranscriptCache())


def test_a_recording_that_a_command_fails_for_is_a_fault_with_what_it_said(command, wavs):
  asked = wavs("a", "bad")
  good, bad = listeners.hear(command(), asked, Local(0), TranscriptCache())
  assert good.fault is None and bad.value == ""
  assert bad.fault == f"{asked[1].path}: {sys.executable} ended with code 1: cannot hear bad.wav"


def test_a_command_that_prints_what_is_no_text_is_a_fault(command, wavs):
  script = "import sys; sys.stdout.buffer.write(bytes([255]) if 'b.wav' in sys.argv[1] else b'x')"
  good, bad = listeners.hear(command(script), wavs("a", "b"), Local(0), TranscriptCache())
  assert good.value == "x"
  assert "'utf-8' codec can't decode" in bad.fault


def test_a_command_that_hangs_is_a_fault(command, wavs, monkeypatch):
  monkeypatch.setattr(commands, "LIMIT_S", 0.5)
  (one,) = wavs("a")
  assert "timed out after 0.5 seconds" in command("import time; time.sleep(60)").hear(one).fault


def test_a_command_that_fails_for_every_recording_is_an_error_with_what_it_said(command, wavs):
  line = command()
  with pytest.raises(DataError) as error:
    listeners.hear(line, wavs("bad", "bad too"), Local(0), TranscriptCache())
  text = str(error.value)
  assert text.startswith(f"Not one of 2 recordings could be transcribed by {line.rule}. The first:")
  assert text.endswith("ended with code 1: cannot hear bad.wav")


def test_nothing_to_transcribe_is_no_error(command):
  assert listeners.hear(command(), [], Local(0), TranscriptCache()) == []


@pytest.mark.parametrize(
  ("line", "text"),
  [
    ("whisper", "needs {wav} where the path of a recording is to stand"),
    ("no-such-program {wav}", "cannot be started: 'no-such-program' is no program"),
    ("whisper '{wav}", "cannot be read as a command line: No closing quotation. Close its quotes."),
    (" ", "--asr-command is empty: give a program and {wav}."),
  ],
)
def test_a_command_line_that_cannot_work_says_why(line, text):
  with pytest.raises(ConfigError) as error:
    Command("asr", line).check(["en"])
  assert text in str(error.value)


def test_a_command_may_hear_any_language(command):
  assert command().check(["en", "yo"]) is None


def test_pocketsphinx_that_is_not_installed_says_how_to_install_it(monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(ConfigError, match=r"not installed: pocketsphinx\. .*'audiopalm\[asr\]'"):
    PocketSphinx().check(["en"])


def test_pocketsphinx_refuses_other_languages_than_english(monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
  with pytest.raises(ConfigError, match="hears English alone, and tasks to be scored speak de, fr"):
    PocketSphinx().check(["fr", "en", "de"])


@needs_sphinx
def test_pocketsphinx_hears_words(tmp_path):
  pytest.importorskip("espeakng_loader")
  from audiopalm.data_pipelines.speech import voices

  said = voices.speaker("espeak", "en", "en-david").speak("we had dinner with our friends")
  waveform.write(tmp_path / "said.wav", said.wave_S, waveform.RATE_HZ)
  assert "with our friends" in PocketSphinx().hear(WavFile(tmp_path / "said.wav", "en")).value


@needs_sphinx
def test_pocketsphinx_hears_nothing_in_silence_and_is_named_with_its_version(tmp_path):
  hum_S = 1e-3 * np.random.default_rng(0).standard_normal(waveform.RATE_HZ)
  waveform.write(tmp_path / "hum.wav", hum_S.astype(np.float32), waveform.RATE_HZ)
  assert PocketSphinx().hear(WavFile(tmp_path / "hum.wav", "en")) == Measurement("")
  assert PocketSphinx().rule.startswith("pocketsphinx 5.")
