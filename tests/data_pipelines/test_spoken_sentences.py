import dataclasses
import gzip

import numpy as np
import pytest

from audiopalm.data import corpora
from audiopalm.data_pipelines import spoken_sentences
from audiopalm.data_pipelines.speech import saying
from audiopalm.errors import ConfigError, DataError


@pytest.fixture
def sentences(tmp_path):
  path = tmp_path / "sentences.txt"
  path.write_text("A dog, running.\n\n  Two\tcats!\n")
  return str(path)


def spoken(file, **fields):
  fields = {"language": "en", "train_records": 5, "voices": 2, "synthesizer": "espeak"} | fields
  return corpora.SpokenSentences(file=file, **fields)


def test_lines_and_voices_take_turns(sentences):
  settings = spoken(sentences)
  found = list(spoken_sentences.records(settings, "train", 0, 5))
  assert [record.id for record in found[:2]] == [
    f"spoken_sentences/train/00000{n}" for n in range(2)
  ]
  said = [record.utterances["source"] for record in found]
  assert [one.text for one in said] == ["A dog, running.", "Two cats!"] * 2 + ["A dog, running."]
  first, second = settings.train_voices("en")
  assert [one.speaker for one in said] == [first, second, second, first, first]
  again = saying.say(settings, "Two cats!", "en", second, record=found[1].id, role="source")
  np.testing.assert_array_equal(said[1].wave_S, again.wave_S)
  assert (
    spoken_sentences.count(settings, "train") == 5 and spoken_sentences.count(settings, "test") == 0
  )


def test_plain_sentences_are_those_of_transcripts_also_of_a_compressed_file(sentences, tmp_path):
  (tmp_path / "s.txt.gz").write_bytes(gzip.compress(open(sentences, "rb").read()))
  settings = spoken(str(tmp_path / "s.txt.gz"), plain=True, train_records=2)
  found = spoken_sentences.records(settings, "train", 0, 2)
  assert [record.utterances["source"].text for record in found] == ["a dog running", "two cats"]


def test_the_fingerprint_follows_the_sentences_and_not_their_place(sentences, tmp_path):
  settings = spoken(sentences)
  (tmp_path / "other.txt").write_bytes(open(sentences, "rb").read())
  assert spoken(str(tmp_path / "other.txt"), variants=3).fingerprint == settings.fingerprint
  (tmp_path / "other.txt").write_text("Another sentence.\n")
  others = [spoken(str(tmp_path / "other.txt")), spoken(sentences, plain=True)]
  assert settings.fingerprint not in [other.fingerprint for other in others]


def test_settings_say_what_is_wrong(sentences, tmp_path):
  with pytest.raises(ConfigError, match="synthesizer 'espeak' does not speak 'nl': it speaks en"):
    spoken(sentences, language="nl")
  with pytest.raises(ConfigError, match="voices=13 must be an integer, 1 to 12"):
    spoken(sentences, voices=13)
  with pytest.raises(ConfigError, match="none.txt' cannot be read: No such file"):
    spoken(str(tmp_path / "none.txt"))


@pytest.mark.parametrize(
  ("data", "text"),
  [
    (b"\n \n", "holds no sentence: expected text with one sentence a line."),
    (b"\xff\xfe", "expected UTF-8 text with one sentence a line, compressed if its name ends"),
  ],
)
def test_a_file_without_sentences_says_so(tmp_path, data, text):
  (tmp_path / "bad.txt").write_bytes(data)
  with pytest.raises(DataError) as error:
    list(spoken_sentences.records(spoken(str(tmp_path / "bad.txt")), "train", 0, 1))
  assert text in str(error.value)


def test_a_file_that_changed_is_refused(sentences):
  settings = dataclasses.replace(spoken(sentences), digest="0" * 64)
  with pytest.raises(DataError, match="has changed since the config was read"):
    list(spoken_sentences.records(settings, "train", 0, 1))
