import os
import subprocess
import sys

import numpy as np
import pytest

from audiopalm import servers
from audiopalm.data import synthesizers
from audiopalm.data_pipelines.speech import voices
from audiopalm.data_pipelines.speech.speakers import EspeakSpeaker
from audiopalm.errors import DataError, RecordError

pytest.importorskip("espeakng_loader", reason="espeak-ng is not installed: audiopalm[data]")

TEXT = "the train to paris leaves at ten past nine"
VOICE = EspeakSpeaker("en-us+f2", pitch=45, range=60, speed=170)  # has breath: random noise


def test_same_text_and_voice_give_the_same_bytes_whatever_came_before():
  first = VOICE.speak(TEXT)
  EspeakSpeaker("de+m3", speed=250).speak("wie geht es dir")
  EspeakSpeaker("en-us+klatt2", pitch=80).speak("something else")
  assert VOICE.speak(TEXT).wave_S.tobytes() == first.wave_S.tobytes()
  servers.stop()
  assert VOICE.speak(TEXT).wave_S.tobytes() == first.wave_S.tobytes()


def test_another_process_gives_the_same_bytes():
  code = (
    "import hashlib; from audiopalm.data_pipelines.speech.speakers import EspeakSpeaker;"
    f"speech = {VOICE!r}.speak({TEXT!r});"
    "print(hashlib.sha256(speech.wave_S.tobytes()).hexdigest())"
  )
  runs = [
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    for _ in range(2)
  ]
  assert runs[0] == runs[1] and len(runs[0].strip()) == 64


def test_a_wave_is_float32_within_scale_at_16_khz():
  wave_S = VOICE.speak(TEXT).wave_S
  assert wave_S.dtype == np.float32 and wave_S.ndim == 1
  assert 0.2 < np.abs(wave_S).max() <= 1
  assert 1.5 < len(wave_S) / 16_000 < 4


def test_word_times_cover_the_wave_in_order():
  speech = VOICE.speak(TEXT)
  assert [word.text for word in speech.words] == TEXT.split()
  ends = [word.end_s for word in speech.words]
  starts = [word.start_s for word in speech.words]
  assert starts[1:] == ends[:-1]
  assert all(start < end for start, end in zip(starts, ends, strict=True))
  assert ends[-1] == pytest.approx(len(speech.wave_S) / 16_000, abs=1e-3)
  assert speech.words[3].phonemes == "pˈæɹɪs"


def test_phones_lie_in_their_words_and_leave_out_pauses():
  speech = VOICE.speak("is it you? yes")
  assert [phone.text for phone in speech.phones] == ["ɪ", "z", "ɪ", "t", "j", "ˈuː", "j", "ˈɛ", "s"]
  for word, phones in zip(speech.words, ("ɪz", "ɪt", "jˈuː", "jˈɛs"), strict=True):
    inside = [phone for phone in speech.phones if word.start_s <= phone.start_s < word.end_s]
    assert "".join(phone.text for phone in inside) == phones
  assert 0.2 < speech.phones[6].start_s - speech.phones[5].end_s < 0.5


def test_words_spoken_as_one_share_its_time():
  words = EspeakSpeaker("en-us").speak("i am in the house").words
  assert [word.text for word in words] == ["i", "am", "in", "the", "house"]
  assert (words[2].phonemes, words[3].phonemes) == ("ɪnðə", "")
  assert words[2].start_s < words[2].end_s == words[3].start_s < words[3].end_s


def test_a_word_spoken_as_several_stays_one_word():
  words = EspeakSpeaker("fr").speak("il y a vingt-deux élèves").words
  assert [word.text for word in words] == ["il", "y", "a", "vingt-deux", "élèves"]
  assert words[3].phonemes.startswith("vˈɛ̃t") and words[3].phonemes.endswith("z")


def test_speed_pitch_and_variant_change_the_sound():
  plain = EspeakSpeaker("en-us+m3").speak(TEXT)
  fast = EspeakSpeaker("en-us+m3", speed=300).speak(TEXT)
  assert len(fast.wave_S) < 0.75 * len(plain.wave_S)
  for other in (EspeakSpeaker("en-us+m3", pitch=90), EspeakSpeaker("en-us+f3")):
    assert other.speak(TEXT).wave_S.tobytes() != plain.wave_S.tobytes()


def test_an_unknown_voice_is_an_error_and_not_the_last_voice():
  VOICE.speak(TEXT)
  with pytest.raises(DataError, match="espeak-ng has no voice 'fr-fr'"):
    EspeakSpeaker("fr-fr").check()
  with pytest.raises(DataError, match="espeak-ng has no voice 'fr-fr'.*Install espeakng-loader 0"):
    EspeakSpeaker("fr-fr+f2").speak("bonjour")


def test_an_unknown_variant_is_an_error():
  with pytest.raises(DataError, match=r"no variant 'nobody' \(voice 'en-us\+nobody'\)"):
    EspeakSpeaker("en-us+nobody").speak("hello")


def test_a_process_that_died_is_started_again():
  first = VOICE.speak(TEXT)
  process = servers._processes[os.getpid(), VOICE._server]
  process.kill()
  process.wait()
  assert VOICE.speak(TEXT).wave_S.tobytes() == first.wave_S.tobytes()


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
  servers.stop()
  monkeypatch.setattr(servers.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(
    DataError, match=r"'espeak' needs the package espeakng-loader, .*pip install 'audiopalm\[data"
  ) as error:
    VOICE.speak("hello")
  assert not isinstance(error.value, RecordError)


def test_every_voice_is_one_espeak_has_and_no_two_sound_alike():
  known = synthesizers.NAMED["espeak"]
  for language in known.languages:
    names = (*known.train_voices(language), *known.held_out_voices(language))
    waves = [voices.NAMED["espeak"][name].speak("a").wave_S.tobytes() for name in names]
    assert len(set(waves)) == len(waves) == 16
