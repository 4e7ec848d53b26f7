import collections
import dataclasses
import gzip

import numpy as np
import pytest

from audiopalm.data import multi30k, synthesizers, takes
from audiopalm.data_pipelines import multi30k as pipeline
from audiopalm.data_pipelines.speech import saying
from audiopalm.errors import ConfigError, DataError
from audiopalm.parts import corpora as parts

WORDS = {"en": "a dog runs", "fr": "un chien court", "de": "ein hund rennt"}


class Mute:
  """Who says everything in one sample."""

  def speak(self, text):
    return takes.Phrase(np.ones(1, np.float32))


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """Returns a folder of captions that nobody needs to hear."""
  monkeypatch.setattr(multi30k, "KEPT_FOR_TEST", 4)
  monkeypatch.setattr(saying.voices, "speaker", lambda *voice: Mute())
  for language, words in WORDS.items():
    write(tmp_path / f"train.{language}.gz", [f"{words} {n}" for n in range(20)])
    (tmp_path / f"val.{language}").write_text("".join(f"{words} v{n}\n" for n in range(3)))
  return tmp_path


def write(path, lines):
  path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))


def small(folder, **options):
  counts = {"train_records": 32, "validation_records": 3, "test_records": 8}
  return parts.multi30k(str(folder), **{**counts, **options})


def said(call, *arguments, **named):
  with pytest.raises((ConfigError, DataError)) as error:
    call(*arguments, **named)
  return str(error.value)


def test_a_record_is_one_caption_in_two_languages(folder):
  settings = small(folder)
  (record,) = pipeline.records(settings, "train", 7, 8)
  assert record.id == "multi30k/train/000007"
  for utterance in record.utterances.values():
    assert utterance.text == f"{WORDS[utterance.language]} 7"
  source, target = record.utterances["source"], record.utterances["target"]
  assert source.language != target.language
  assert source.speaker in settings.train_voices(source.language)
  assert target.speaker == settings.train_voices(target.language)[0]


def test_each_caption_is_in_every_pair_of_languages_before_it_comes_again(folder):
  settings = small(folder, train_records=96)
  seen = [
    (record.utterances["source"].text, record.utterances["target"].text)
    for record in pipeline.records(settings, "train", 0, 96)
  ]
  assert len(set(seen)) == 96 == 16 * 6
  assert "Ask for at most 96" in said(
    pipeline.count, dataclasses.replace(settings, train_records=97), "train"
  )


def test_pairs_and_voices_take_turns(folder):
  found = list(pipeline.records(small(folder, train_records=96), "train", 0, 96))
  pairs = collections.Counter(
    (record.utterances["source"].language, record.utterances["target"].language) for record in found
  )
  assert set(pairs.values()) == {16} and len(pairs) == 6
  voices = collections.Counter(record.utterances["source"].speaker for record in found)
  assert len(voices) == 24


def test_without_test_files_the_end_of_train_is_kept_for_testing(folder):
  settings = small(folder)
  test = multi30k.captions(settings, "test")["fr"]
  assert test == tuple(f"un chien court {n}" for n in range(16, 20))
  assert len(multi30k.captions(settings, "train")["fr"]) == 16
  for language, words in WORDS.items():
    write(folder / f"test_2016_flickr.{language}.gz", [f"{words} t"])
  settings = small(folder)
  assert multi30k.captions(settings, "test")["en"] == ("a dog runs t",)
  assert len(multi30k.captions(settings, "train")["en"]) == 20


def test_held_out_voices_say_the_test_captions(folder):
  settings = small(folder)
  test = list(pipeline.records(settings, "test", 0, 8))
  held_out = list(pipeline.records(settings, "held_out_voices", 0, 8))
  for one, other in zip(test, held_out, strict=True):
    source, again = one.utterances["source"], other.utterances["source"]
    assert source.text == again.text
    assert again.speaker in synthesizers.NAMED["pico"].held_out_voices(again.language)
    assert one.utterances["target"].speaker == other.utterances["target"].speaker


def test_a_caption_too_long_in_one_language_is_left_out_of_all(folder):
  lines = (folder / "val.de").read_text().splitlines()
  (folder / "val.de").write_text("\n".join(["ein sehr sehr kleiner hund", *lines[1:]]))
  settings = small(folder, most_words=4)
  assert len(multi30k.captions(settings, "validation")["en"]) == 2


def test_captions_as_text_are_the_same_without_sound(folder):
  settings = parts.multi30k_text(
    str(folder), train_records=96, validation_records=3, test_records=8
  )
  assert settings.splits == ("train", "validation", "test")
  (record,) = pipeline.records(settings, "train", 20, 21)
  (spoken,) = pipeline.records(small(folder), "train", 20, 21)
  for role, utterance in record.utterances.items():
    assert utterance.wave_S is None
    assert utterance.text == spoken.utterances[role].text


def test_where_the_files_lie_changes_no_fingerprint(folder, tmp_path):
  settings = small(folder)
  moved = dataclasses.replace(settings, folder="elsewhere")
  assert moved.fingerprint == settings.fingerprint
  assert dataclasses.replace(settings, digest="0").fingerprint != settings.fingerprint


def test_missing_files_are_named(folder):
  (folder / "val.fr").unlink()
  text = said(small, folder)
  assert f"{folder} lacks val.fr (plain or .gz)" in text and "github.com/multi30k" in text


def test_files_of_unequal_length_are_refused(folder):
  write(folder / "train.de.gz", ["eins"])
  assert "train.de in" in (text := said(small, folder)) and "has 1 lines, train.en has 20" in text


def test_files_that_changed_since_the_config_was_read_are_refused(folder):
  settings = small(folder)
  write(folder / "train.en.gz", [f"other {n}" for n in range(20)])
  multi30k.captions.cache_clear()
  assert "are not those that the config was made with" in said(multi30k.captions, settings, "train")


def test_one_language_alone_is_no_translation(folder):
  assert "two or three of en, fr, de" in said(small, folder, languages=("en",))


def test_an_unknown_split_names_the_splits(folder):
  assert "no split 'dev': it has train, validation, test, held_out_voices" in said(
    pipeline.count, small(folder), "dev"
  )


def test_a_caption_with_another_end_of_line_stands_beside_its_translation(folder):
  write(folder / "train.en.gz", ["a\u2028dog", "a\x85cat", *[f"{n}" for n in range(18)]])
  found = multi30k.captions(small(folder), "train")
  assert found["en"][:3] == ("a dog", "a cat", "0")
  assert found["fr"][1] == f"{WORDS['fr']} 1"
