import json

import pytest

from audiopalm.errors import DataError
from audiopalm.parts import corpora


def test_a_manifest_is_read_when_the_config_is(tmp_path):
  path = tmp_path / "train.jsonl"
  row = {"audio": "a.wav", "text": "un", "translation": "one"}
  path.write_text(json.dumps(row))
  found = corpora.manifest(
    str(path), language="fr", translation_language="en", audio_dir="/data", variants=2, name="mine"
  )
  assert (found.name, found.variants, found.translations) == ("mine", 2, (("fr", "en"),))
  assert found.reading.audio_dir == "/data"
  with pytest.raises(DataError, match=r"none.tsv: cannot be read: No such file or directory"):
    corpora.manifest(str(path), test=str(tmp_path / "none.tsv"), language="fr")


def test_speech_without_labels_is_the_grammar_or_what_there_is(tmp_path):
  path = tmp_path / "train.jsonl"
  path.write_text(json.dumps({"audio": "a.wav", "text": "un", "language": "fr"}))
  grammar = corpora.recordings(train_records=7)
  assert [corpus.name for corpus in grammar] == ["synthetic"] and grammar[0].train_records == 7
  assert corpora.band_hz(grammar) == 7_600
  digits = corpora.recordings("/data/tfds", held_out_speaker="nicolas")
  assert [corpus.held_out_speaker for corpus in digits] == ["nicolas"]
  both = corpora.recordings("/data/tfds", (str(path),), variants=2)
  assert [(corpus.name, corpus.variants) for corpus in both] == [
    ("spoken_digit", 2),
    ("manifest", 2),
  ]
  assert corpora.band_hz(both) == corpora.TELEPHONE_HZ  # the least that all of it has
  assert corpora.band_hz(both[1:]) == 7_600
