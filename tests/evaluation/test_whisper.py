import importlib.util
import os
from pathlib import Path

import pytest

from audiopalm.audio import waveform
from audiopalm.errors import ConfigError
from audiopalm.evaluation import whisper
from audiopalm.evaluation.listeners import WavFile
from audiopalm.evaluation.whisper import Whisper
from audiopalm.metrics import numbers, text

needs_package = pytest.mark.skipif(
  importlib.util.find_spec("faster_whisper") is None, reason="needs audiopalm[whisper]"
)
FILES = ("model.bin", "config.json", "tokenizer.json", "vocabulary.json")
SUMS = (("model.bin", "ab"), ("vocabulary.json", "cd"))


def folder_of(path, names):
  path.mkdir(parents=True)
  for name in names:
    (path / name).touch()
  return path


def test_a_folder_in_ctranslate2s_layout_is_found_as_it_is_and_one_level_down(tmp_path):
  plain = folder_of(tmp_path / "plain", FILES)
  inner = folder_of(tmp_path / "both/ctranslate2", (*FILES[:3], "vocabulary.txt"))
  (tmp_path / "both/model.safetensors").touch()
  assert whisper.folder_of(plain) == plain
  assert whisper.folder_of(tmp_path / "both") == inner


@pytest.mark.parametrize("missing", ["model.bin", "config.json", "tokenizer.json"])
def test_a_folder_that_lacks_a_file_says_which(tmp_path, missing):
  place = folder_of(tmp_path / "model", [name for name in FILES if name != missing])
  with pytest.raises(ConfigError) as error:
    whisper.folder_of(place)
  text = str(error.value)
  assert f"is not a Whisper model of CTranslate2: it lacks {missing}, and holds" in text
  assert "Name a folder in CTranslate2's layout" in text


def test_a_folder_without_a_vocabulary_says_so(tmp_path):
  with pytest.raises(ConfigError, match="it lacks vocabulary.json or vocabulary.txt, and holds"):
    whisper.folder_of(folder_of(tmp_path / "model", FILES[:3]))


def test_a_folder_of_transformers_says_how_to_convert_it(tmp_path):
  place = folder_of(tmp_path / "model", ("model.safetensors", "config.json", "tokenizer.json"))
  with pytest.raises(ConfigError) as error:
    whisper.folder_of(place)
  convert = (
    f"It is a folder of transformers: convert it by `ct2-transformers-converter --model {place}"
  )
  assert convert in str(error.value)
  assert f"--output_dir {place}/ctranslate2" in str(error.value)


def test_a_file_is_no_folder(tmp_path):
  (tmp_path / "model.bin").touch()
  with pytest.raises(ConfigError, match=r"model\.bin is a file\. Name the folder that holds"):
    whisper.folder_of(tmp_path / "model.bin")


def test_a_missing_package_says_how_to_install_it(monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(
    ConfigError, match=r"not installed: faster_whisper\. .*'audiopalm\[whisper\]'"
  ):
    whisper.opened("anything")


@needs_package
@pytest.mark.parametrize("name", ["gigantic", "./no/folder", "/no/folder", "a/b/c"])
def test_what_is_neither_a_folder_nor_a_name_lists_the_names(name):
  with pytest.raises(
    ConfigError, match="is neither an existing folder nor a model of faster-w.*base"
  ):
    whisper.opened(name)


@needs_package
def test_a_name_that_cannot_be_downloaded_says_why(monkeypatch):
  from faster_whisper import utils

  def refuse(name):
    raise ConnectionError("no network\nat all")

  monkeypatch.setattr(utils, "download_model", refuse)
  with pytest.raises(ConfigError, match=r"base is not a folder and cannot .*: no network\. Name"):
    whisper.opened("base")


@needs_package
def test_files_that_hold_no_model_say_so(tmp_path):
  place = folder_of(tmp_path / "model", FILES)
  with pytest.raises(ConfigError, match="cannot be opened as a Whisper model: .*Convert it again"):
    whisper.opened(str(place))


def test_a_language_the_model_does_not_know_is_refused_and_one_by_another_name_is_known():
  english = Whisper(Path("tiny.en"), SUMS, ("en",))
  with pytest.raises(
    ConfigError, match="tiny.en supports only English, .* speech in de, fr. Exclude"
  ):
    english.check(["fr", "en", "de"])
  many = Whisper(Path("base"), SUMS, ("en", "no", "jw"))
  many.check(["en", "nb", "jv"])
  with pytest.raises(ConfigError, match="base supports 3 languages, .* speech in eo"):
    many.check(["eo"])


@needs_package
def test_the_rule_names_versions_checksums_and_settings_but_no_folder():
  rule = Whisper(Path("here"), SUMS, ("en",)).rule
  assert rule == Whisper(Path("there"), SUMS, ("en",)).rule
  assert rule.startswith("faster-whisper 1.")
  assert "model.bin sha256:ab, vocabulary.json sha256:cd" in rule
  assert "language given, beam 5, temperature 0, no conditioning on earlier text, no VAD" in rule


@pytest.mark.long
@needs_package
@pytest.mark.skipif(
  "WHISPER_FOLDER" not in os.environ, reason="WHISPER_FOLDER names no multilingual Whisper model"
)
def test_the_real_model_hears_what_is_said_and_the_same_twice(tmp_path):
  pytest.importorskip("py_nanotts")
  from audiopalm.data_pipelines.speech import voices

  model = whisper.opened(os.environ["WHISPER_FOLDER"])
  model.check(["en", "fr", "de"])
  said = voices.speaker("pico", "en", "en-david").speak("we had dinner with our friends")
  waveform.write(tmp_path / "said.wav", said.wave_S)
  wav = WavFile(tmp_path / "said.wav", "en")
  heard = model.hear(wav)
  assert "dinner with our friends" in text.normalize(numbers.spell(heard.value, "en"))
  assert model.hear(wav) == heard
