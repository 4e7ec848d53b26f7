"""Recognizers and meters: programs and packages, and transcripts that are heard once."""

import dataclasses
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
  Dnsmos,
  Measurement,
  PocketSphinx,
  Resemblyzer,
  TranscriptCache,
  WavFile,
)


def needs(package, *modules):
  missing = [name for name in modules if importlib.util.find_spec(name) is None]
  return pytest.mark.skipif(bool(missing), reason=f"needs {package}")


needs_sphinx = needs("pocketsphinx (audiopalm[asr])", "pocketsphinx")
# Says the name of its file and its language, and fails where the name holds "bad".
SCRIPT = """
import pathlib, sys
path, language = sys.argv[1:]
if "bad" in path:
  sys.exit(f"cannot hear {pathlib.Path(path).name}")
assert pathlib.Path(path).is_file()
print(f"  {pathlib.Path(path).stem}\\n in  {language} ")
"""


def tone(samples):
  return (0.3 * np.sin(np.arange(samples) / 9)).astype(np.float32)


def python(code):
  return f'{sys.executable} -c "{code}"'


@pytest.fixture
def recording(tmp_path):
  """Returns a WAV and its reference, of this many samples of a tone each."""

  def of(samples, reference=None, name="a"):
    path = tmp_path / f"{name}.wav"
    waveform.write(path, tone(samples), waveform.RATE_HZ)
    return WavFile(path, "en", None if reference is None else waveform.to_flac(tone(reference)))

  return of


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
  assert listeners.hear(command(), wavs("a b", "c"), Local(0), TranscriptCache()) == [
    Measurement("a b in fr"),
    Measurement("c in fr"),
  ]


def test_a_command_prints_the_number_of_the_path_it_is_given(recording):
  line = python("import sys, os; print(os.path.getsize(sys.argv[1]))") + " {wav}"
  given = recording(100, name="a"), recording(600, name="b")
  sizes = [one.value for one in listeners.hear(Command("mos", line), given, Local(0))]
  assert sizes == [44 + 2 * 100, 44 + 2 * 600]


def test_other_processes_hear_the_same_in_the_same_order(command, wavs):
  asked = wavs("a", "bad", "c", "d")
  with Local(2) as executor:
    there = listeners.hear(command(), asked, executor, TranscriptCache())
  assert there == listeners.hear(command(), asked, Local(0), TranscriptCache())


def test_a_command_compares_with_the_reference_recording(recording):
  code = (
    "import sys, soundfile as s; a, b = (len(s.read(p)[0]) for p in sys.argv[1:]); print(a / b)"
  )
  line = python(code) + " {wav} {reference}"
  assert Command("similarity", line).hear(recording(200, reference=800)) == Measurement(0.25)


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


@pytest.mark.parametrize(
  ("code", "fault"),
  [
    ("print('good')", "a.wav: expected a number to be printed, but it was 'good'"),
    ("print('nan')", "a.wav: expected a finite number to be printed, but it was nan"),
    ("raise SystemExit('no ear')", f"a.wav: {sys.executable} ended with code 1: no ear"),
  ],
)
def test_what_is_no_number_is_a_fault(recording, code, fault):
  reading = Command("mos", python(code) + " {wav}").hear(recording(100))
  assert reading.value is None
  assert reading.fault.endswith(fault)


def test_a_command_that_hangs_is_a_fault(command, wavs, monkeypatch):
  monkeypatch.setattr(commands, "LIMIT_S", 0.5)
  (one,) = wavs("a")
  assert "timed out after 0.5 seconds" in command("import time; time.sleep(60)").hear(one).fault


@pytest.mark.parametrize(("score", "done"), [("asr", "transcribed"), ("mos", "measured")])
def test_a_listener_that_fails_for_every_recording_is_an_error_with_what_it_said(wavs, score, done):
  deaf = Command(score, python("raise SystemExit('no ear')") + " {wav}")
  with pytest.raises(DataError) as error:
    listeners.hear(deaf, wavs("a", "b"), Local(0))
  text = str(error.value)
  assert text.startswith(f"None of 2 recordings could be {done} by {deaf.rule}. The first fault:")
  assert text.endswith("ended with code 1: no ear")
  assert listeners.hear(deaf, [], Local(0)) == []


@pytest.mark.parametrize(
  ("score", "line", "text"),
  [
    ("asr", "whisper", "--asr-command needs {wav} in place of the path of a recording"),
    ("mos", "python3", "--mos-command needs {wav} in place of"),
    ("similarity", "python3 {wav}", "--similarity-command needs {reference} in place"),
    ("asr", "no-such-program {wav}", "cannot be started: 'no-such-program' is not an executable"),
    ("asr", "whisper '{wav}", "cannot be read as a command line: No closing quotation. Close its"),
    ("mos", " ", "--mos-command is empty: name a program and {wav}."),
  ],
)
def test_a_command_line_that_cannot_work_says_why(score, line, text):
  with pytest.raises(ConfigError) as error:
    Command(score, line).check(["en"])
  assert text in str(error.value)


def test_a_command_may_hear_any_language(command):
  assert command().check(["en", "yo"]) is None


@pytest.mark.parametrize(
  ("listener", "text"),
  [
    (PocketSphinx(), r"not installed: pocketsphinx\. .* pip install 'audiopalm\[asr\]'"),
    (Dnsmos(), r"not installed: .* pip install 'audiopalm\[voices\]'"),
    (Resemblyzer(), r"not installed: .* pip install 'audiopalm\[voices\]'"),
  ],
)
def test_a_package_that_is_not_installed_says_how_to_install_it(listener, text, monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(ConfigError, match=text):
    listener.check()


def test_pocketsphinx_refuses_other_languages_than_english(monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
  with pytest.raises(
    ConfigError, match="supports only English, but tasks to be .* speech in de, fr"
  ):
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


@needs("speechmos (audiopalm[voices])", "speechmos", "onnxruntime", "librosa")
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


@needs("resemblyzer (audiopalm[voices])", "resemblyzer", "torch")
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


@dataclasses.dataclass(frozen=True)
class Fake(listeners.Listener):
  """Says how many recordings it heard; ends like a killed process at the number `killed_at`."""

  heard: list
  rule: str = "a fake"
  score: str = "asr"
  repeatable: bool = True
  killed_at: int = 99

  def hear(self, wav):
    if len(self.heard) == self.killed_at:
      raise KeyboardInterrupt
    self.heard.append(wav.path.stem)
    return Measurement(f"number {len(self.heard)}")


@pytest.fixture
def squares(tmp_path):
  """WAVs of square waves, as loud as asked."""

  def of(*loudness, language="en"):
    made = []
    for number, one in enumerate(loudness):
      path = tmp_path / f"{number}.wav"
      waveform.write(path, np.tile(np.float32([one, -one]), 2_000), waveform.RATE_HZ)
      made.append(WavFile(path, language))
    return made

  return of


def transcribe(fake, asked, path):
  return [one.value for one in listeners.hear(fake, asked, Local(0), TranscriptCache(path))]


def test_what_was_heard_before_a_kill_is_not_heard_again(squares, tmp_path):
  asked, path = squares(0.1, 0.2, 0.3, 0.4), tmp_path / "kept/transcripts.jsonl"
  with pytest.raises(KeyboardInterrupt):
    transcribe(Fake([], killed_at=2), asked, path)
  again = Fake(["once", "twice"])
  assert transcribe(again, asked, path) == ["number 1", "number 2", "number 3", "number 4"]
  assert again.heard[2:] == ["2", "3"]


def test_other_samples_another_language_and_another_rule_are_heard_anew(squares, tmp_path):
  path = tmp_path / "transcripts.jsonl"
  transcribe(Fake([]), squares(0.1), path)
  for fake, loudness, language, heard in (
    (Fake([]), 0.1, "en", []),
    (Fake([]), 0.2, "en", ["0"]),
    (Fake([]), 0.1, "fr", ["0"]),
    (Fake([], rule="another"), 0.1, "en", ["0"]),
  ):
    transcribe(fake, squares(loudness, language=language), path)
    assert fake.heard == heard


def test_a_recognizer_that_may_change_is_always_asked(squares, tmp_path):
  path = tmp_path / "transcripts.jsonl"
  for _ in range(2):
    fake = Fake([], repeatable=False)
    transcribe(fake, squares(0.1), path)
    assert fake.heard == ["0"]
  assert not path.exists()


def test_a_line_that_a_kill_cut_off_is_dropped_and_the_next_begins_a_new_one(tmp_path):
  path = tmp_path / "transcripts.jsonl"
  TranscriptCache(path).add("a", "one\u2028line")
  with path.open("a") as file:
    file.write('{"key": "b", "te')
  kept = TranscriptCache(path)
  assert "b" not in kept
  kept.add("c", "three")
  assert [TranscriptCache(path)[key] for key in ("a", "c")] == ["one\u2028line", "three"]


def test_a_file_that_holds_something_else_names_the_line(tmp_path):
  path = tmp_path / "transcripts.jsonl"
  path.write_text('{"key": "a", "text": "x"}\n[]\n')
  with pytest.raises(
    DataError, match=r"transcripts\.jsonl, line 2: expected a transcript with key"
  ):
    TranscriptCache(path)
