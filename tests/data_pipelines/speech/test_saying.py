"""Utterances of the corpora, by each kind of synthesizer."""

import dataclasses
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from audiopalm.audio import waveform
from audiopalm.data import corpora
from audiopalm.data.executors import Local
from audiopalm.data.takes import Takes
from audiopalm.data_pipelines import synthetic
from audiopalm.data_pipelines.speech import saying
from audiopalm.errors import ConfigError, DataError, RecordError
from audiopalm.parts import synthesizers

pico = pytest.mark.skipif(sys.platform != "linux", reason="py-nanotts has wheels for Linux")

# "Says" a text as a tone whose length is that of the text and whose pitch is that of the voice.
SCRIPT = """
import sys, wave
import numpy as np
text, voice, language, to = sys.argv[1:]
if "bad" in text:
  sys.exit(f"cannot say {text} in {language}")
pitch = {"amy": 200, "joe": 120, "zoe": 300}[voice]
samples = 0.3 * np.sin(2 * np.pi * pitch * np.arange(800 * len(text)) / 8000)
with wave.open(sys.stdout.buffer if to == "-" else to, "wb") as out:
  out.setnchannels(1); out.setsampwidth(2); out.setframerate(8000)
  out.writeframes((32767 * samples).astype("<i2").tobytes())
"""


@pytest.fixture
def program(tmp_path):
  """A synthesizer that is a script."""
  path = tmp_path / "speak it.py"
  path.write_text(SCRIPT)

  def of(to="{wav}", **options):
    line = f"{sys.executable} {shlex.quote(str(path))} {{text}} {{voice}} {{language}} {to}"
    return synthesizers.program(line, {"en": ("amy", "joe")}, {"en": ("zoe",)}, **options)

  return of


def corpus(synthesizer="pico", **options):
  counts = {"train_records": 8, "validation_records": 2, "test_records": 4}
  fields = {"languages": ("en", "fr"), "topics": ("prices",), **counts, **options}
  return corpora.Synthetic(synthesizer=synthesizer, **fields)


def spoken(settings, numbers, split="train"):
  """Returns the bytes of each record's waves."""
  found = {}
  for number in numbers:
    (record,) = synthetic.records(settings, split, number, number + 1)
    found[number] = {role: said.wave_S.tobytes() for role, said in record.utterances.items()}
  return found


def _spoken(job):
  return spoken(*job)


@pico
def test_records_are_the_same_from_one_worker_or_two_and_in_any_order(monkeypatch):
  monkeypatch.syspath_prepend(str(Path(__file__).parents[3]))  # workers import this module
  settings = corpus()
  here = spoken(settings, range(6))
  assert spoken(settings, reversed(range(6))) == here
  with Local(2) as executor:
    one, other = executor.map(_spoken, [(settings, (0, 3, 5)), (settings, (4, 2, 1))])
  assert one | other == here


@pico
def test_a_source_has_silence_at_its_ends_and_another_recording_another():
  settings = corpus(takes=Takes(ends_s=(0.3, 0.5), no_end=0.0, hiss=0.0))
  firsts = set()
  for record in synthetic.records(settings, "train", 0, 8):
    wave_S = record.utterances["source"].wave_S
    loud = np.flatnonzero(np.abs(wave_S) > 0.02 * np.abs(wave_S).max())
    assert loud[0] >= 0.3 * waveform.RATE_HZ
    assert len(wave_S) - 1 - loud[-1] >= 0.3 * waveform.RATE_HZ
    firsts.add(int(loud[0]))
  assert len(firsts) == 8


@pico
def test_without_takes_the_wave_is_the_synthesizers_own():
  settings = corpus(takes=None)
  (record,) = synthetic.records(settings, "train", 0, 1)
  source = record.utterances["source"]
  said = saying.say(settings, source.text, source.language, source.speaker, record="x", role="y")
  assert said.wave_S.tobytes() == source.wave_S.tobytes() and source.words == ()


def test_espeak_gives_the_times_of_words_with_pauses_too():
  pytest.importorskip("espeakng_loader", reason="espeak-ng is not installed: audiopalm[data]")
  settings = corpus("espeak", takes=Takes(pauses=1.0, hiss=0.0))
  for record in synthetic.records(settings, "train", 0, 4):
    for said in record.utterances.values():
      assert [word.text for word in said.words] == said.text.split()
      starts = [word.start_s for word in said.words]
      assert starts == sorted(starts)
      assert said.words[-1].end_s <= len(said.wave_S) / waveform.RATE_HZ + 1e-3
  bare = list(synthetic.records(dataclasses.replace(settings, takes=None), "train", 0, 1))
  assert "".join(word.phonemes for word in bare[0].utterances["source"].words)


@pytest.mark.parametrize("to", ["{wav}", "-"])
def test_a_users_program_speaks(program, to):
  settings = corpus(program(to), languages=("en",), voices=2, held_out_voices=1, takes=None)
  assert settings.train_voices("en") == ("amy", "joe")
  assert settings.voices_of("en", "held_out_voices") == ("zoe",)
  for record in synthetic.records(settings, "train", 0, 4):
    for said in record.utterances.values():
      assert len(said.wave_S) == 1600 * len(said.text)
      spectrum = np.abs(np.fft.rfft(said.wave_S))
      hz = np.argmax(spectrum) * waveform.RATE_HZ / len(said.wave_S)
      assert hz == pytest.approx({"amy": 200, "joe": 120}[said.speaker], abs=2)


def test_a_program_that_fails_is_not_a_fault_of_the_record(program):
  settings = corpus(program(), languages=("en",), voices=2, held_out_voices=1)
  with pytest.raises(DataError) as error:
    saying.say(settings, "a bad day", "en", "amy", record="x", role="source")
  assert not isinstance(error.value, RecordError)
  assert "by voice 'amy'" in str(error.value)
  assert "ended with code 1: cannot say a bad day in en" in str(error.value)


def test_a_program_that_gives_no_wav_says_what_was_expected():
  silent = synthesizers.program(f"{sys.executable} -c '' {{text}}", {"en": ("amy",)})
  settings = corpus(silent, languages=("en",), voices=1, held_out_voices=0, takes=None)
  with pytest.raises(DataError, match="Expected a WAV, printed or written to {wav}") as error:
    saying.say(settings, "hello", "en", "amy", record="x", role="source")
  assert not isinstance(error.value, RecordError)


def test_a_program_that_is_not_there_cannot_be_started():
  absent = synthesizers.program("no-such-program {text}", {"en": ("amy",)})
  settings = corpus(absent, languages=("en",), voices=1, held_out_voices=0)
  with pytest.raises(ConfigError, match="'no-such-program' is not an executable"):
    saying.say(settings, "hello", "en", "amy", record="x", role="source")
