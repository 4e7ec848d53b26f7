"""Pico: what its voices are, and that a request alone decides what they say."""

import os
import random
import subprocess
import sys

import numpy as np
import pytest

from audiopalm import servers
from audiopalm.audio import waveform
from audiopalm.data import synthesizers, takes
from audiopalm.data_pipelines.speech import voices
from audiopalm.data_pipelines.speech.speakers import PICO, PicoSpeaker
from audiopalm.errors import DataError, RecordError

pico = pytest.mark.skipif(sys.platform != "linux", reason="py-nanotts has wheels for Linux")

TEXT = "the yellow bike costs thirty two euros"
KNOWN = synthesizers.NAMED["pico"]
SOUNDS = voices.NAMED["pico"]


def pitch_hz(wave_S):
  """Returns the median fundamental of the loud frames of 60 ms, by autocorrelation."""
  size = 960
  frames_TS = wave_S[: len(wave_S) // size * size].reshape(-1, size)
  energy_T = np.square(frames_TS).sum(axis=1)
  shortest, longest = waveform.RATE_HZ // 400, waveform.RATE_HZ // 90
  found = []
  for frame_S in frames_TS[energy_T > 0.2 * energy_T.max()]:
    correlation = np.correlate(frame_S, frame_S, mode="full")[size - 1 :]
    found.append(waveform.RATE_HZ / (shortest + np.argmax(correlation[shortest:longest])))
  return np.median(found)


@pico
def test_a_request_gives_the_same_bytes_whatever_came_before():
  asked = [
    (text, PicoSpeaker(voice, pitch, speed))
    for voice, text in (("en-US", TEXT), ("fr-FR", "oui"), ("de-DE", "ja"), ("it-IT", "sì"))
    for pitch, speed in ((1.0, 1.0), (0.8, 1.1))
  ]
  first = {}
  for seed in range(4):
    order = asked * 3
    random.Random(seed).shuffle(order)
    for text, speaker in order:
      found = speaker.speak(text).wave_S.tobytes()
      assert first.setdefault((text, speaker), found) == found
    servers.stop()  # the next seed asks another process


@pico
def test_another_calling_process_gets_the_same_bytes():
  code = (
    "import hashlib; from audiopalm.data_pipelines.speech.speakers import PicoSpeaker;"
    f"print(hashlib.sha256(PicoSpeaker('en-US', 0.8, 1.0, 0.9).speak({TEXT!r}).wave_S).hexdigest())"
  )
  run = [sys.executable, "-c", code]
  one, other = (subprocess.run(run, check=True, capture_output=True, text=True) for _ in range(2))
  assert one.stdout == other.stdout and len(one.stdout.strip()) == 64


@pico
def test_every_voice_of_a_language_sounds_different_and_none_clips():
  for language in KNOWN.languages:
    names = (*KNOWN.train_voices(language), *KNOWN.held_out_voices(language))
    waves = [SOUNDS[name].speak("la la").wave_S for name in names]
    assert len({wave_S.tobytes() for wave_S in waves}) == len(waves) == 16
    assert all(0.05 < np.abs(wave_S).max() < 0.999 for wave_S in waves)


@pico
def test_the_last_sound_of_a_sentence_is_as_loud_as_the_others():
  for speaker in (SOUNDS["en-noah"], SOUNDS["en-ben"], SOUNDS["en-anna"], SOUNDS["fr-bruno"]):
    wave_S = np.abs(speaker.speak("la la la").wave_S)
    loud = np.flatnonzero(wave_S > 0.1 * wave_S.max())
    thirds = np.array_split(wave_S[loud[0] : loud[-1] + 1], 3)
    assert 0.5 < thirds[2].max() / thirds[0].max() < 1.6


@pico
def test_a_recording_ends_where_its_speech_does():
  """The American voice leaves a burst of noise half a second behind its last word."""
  for name in ("en-anna", "en-ivy", "en-olive", "en-noah"):
    spoken = SOUNDS[name].speak("she paid for the grey book")
    take = takes.draw(takes.Takes(), "a text", "0", answer=True)
    wave_S = takes.record(take, [spoken]).wave_S
    loud = np.flatnonzero(np.abs(wave_S) > 0.03 * np.abs(wave_S).max())
    assert (len(wave_S) - loud[-1]) / waveform.RATE_HZ < 0.2, name


@pico
def test_pitch_speed_and_warp_do_what_they_say():
  plain = PicoSpeaker("en-US").speak(TEXT).wave_S
  low = PicoSpeaker("en-US", pitch=0.7).speak(TEXT).wave_S
  assert pitch_hz(low) / pitch_hz(plain) == pytest.approx(0.7, rel=0.08)
  fast = PicoSpeaker("en-US", speed=1.3).speak(TEXT).wave_S
  assert len(plain) / len(fast) == pytest.approx(1.3, rel=0.08)
  # Formants move, pitch and speed stay.
  warped = PicoSpeaker("en-US", warp=0.88).speak(TEXT).wave_S
  assert pitch_hz(warped) / pitch_hz(plain) == pytest.approx(1.0, rel=0.08)
  assert len(warped) / len(plain) == pytest.approx(1.0, rel=0.05)
  middle = [
    float((np.arange(len(power)) * power).sum() / power.sum())
    for power in (np.abs(np.fft.rfft(wave_S, 2**17)) ** 2 for wave_S in (plain, warped))
  ]
  assert middle[1] < 0.95 * middle[0]


def test_there_are_twelve_training_voices_a_language_and_the_canonical_one_is_as_pico_has_it():
  for language in KNOWN.languages:
    assert len(KNOWN.train_voices(language)) == 12 and len(KNOWN.held_out_voices(language)) == 4
    first = SOUNDS[KNOWN.train_voices(language)[0]]
    assert (first.pitch, first.warp) == (1.0, 1.0)


@pytest.mark.parametrize("field", ["pitch", "speed", "warp"])
@pytest.mark.parametrize("language", KNOWN.languages)
def test_held_out_voices_lie_outside_the_ranges_of_training(language, field):
  trained = [getattr(SOUNDS[name], field) for name in KNOWN.train_voices(language)]
  for name in KNOWN.held_out_voices(language):
    assert not min(trained) <= getattr(SOUNDS[name], field) <= max(trained)


def test_every_second_english_voice_held_out_has_the_accent_that_no_training_hears():
  assert {SOUNDS[name].voice for name in KNOWN.train_voices("en")} == {"en-US"}
  held_out = [SOUNDS[name].voice for name in KNOWN.held_out_voices("en")]
  assert held_out == ["en-US", "en-GB", "en-US", "en-GB"]


def test_pitch_and_speed_stay_within_what_pico_takes():
  for voice in SOUNDS.values():
    assert 0.5 <= voice.pitch / voice.warp <= 2 and 0.2 <= voice.speed / voice.warp <= 5


@pico
def test_a_text_without_a_sound_is_a_fault_of_its_record():
  with pytest.raises(RecordError, match="Pico gives no sound for '你好'. Correct the text"):
    PicoSpeaker("en-US").speak("你好")


@pico
def test_markup_in_a_text_is_not_interpreted():
  assert PicoSpeaker("en-US").speak("<volume level='10'>hello</volume>").wave_S.max() > 0.1


@pico
def test_an_unknown_voice_is_an_error_that_ends_prepare():
  with pytest.raises(
    DataError, match="Pico cannot say 'hello' as xx-XX: Unsupported voice"
  ) as error:
    PicoSpeaker("xx-XX").speak("hello")
  assert not isinstance(error.value, RecordError)


def test_without_the_package_one_text_names_it_and_the_other_synthesizer(monkeypatch):
  servers.stop()
  monkeypatch.setattr(servers.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(DataError) as error:
    PicoSpeaker("en-US").speak("hello")
  assert not isinstance(error.value, RecordError)
  assert str(error.value) == (
    "'pico' needs the package py-nanotts, which is not installed. Install it on Linux: "
    "pip install 'audiopalm[data]'. Or choose synthesizer=\"espeak\"."
  )


def test_a_library_that_cannot_be_loaded_is_one_error_that_says_so(tmp_path, monkeypatch):
  servers.stop()
  (tmp_path / "py_nanotts.py").write_text("raise ImportError('libm.so.9: no such file')")
  monkeypatch.setenv("PYTHONPATH", str(tmp_path))
  monkeypatch.setattr(servers.importlib.util, "find_spec", lambda name: object())
  with pytest.raises(DataError) as error:
    PicoSpeaker("en-US").speak("hello")
  servers.stop()
  assert not isinstance(error.value, RecordError)
  assert "Pico cannot be started: ImportError: libm.so.9: no such file. Install" in str(error.value)


@pico
def test_a_process_that_died_is_started_again():
  first = PicoSpeaker("en-US").speak(TEXT).wave_S.tobytes()
  process = servers._processes[os.getpid(), PICO]
  process.kill()
  process.wait()
  assert PicoSpeaker("en-US").speak(TEXT).wave_S.tobytes() == first


@pico
@pytest.mark.parametrize("text", ["1" * 400, "half a character: \udcff"])
def test_a_text_that_cannot_be_said_is_a_fault_of_its_record_alone(text):
  before = PicoSpeaker("en-US").speak(TEXT).wave_S
  with pytest.raises(
    RecordError, match="Pico cannot say .* as en-US: .* Correct the text, or leave"
  ):
    PicoSpeaker("en-US").speak(text)
  np.testing.assert_array_equal(PicoSpeaker("en-US").speak(TEXT).wave_S, before)
  with pytest.raises(DataError, match="as xx-XX: Unsupported voice. Install it") as error:
    PicoSpeaker("xx-XX").speak(text[:3])
  assert not isinstance(error.value, RecordError)
