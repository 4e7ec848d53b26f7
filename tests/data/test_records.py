import sys
import types

import pytest

from audiopalm.data import records
from audiopalm.errors import DataError
from audiopalm.types import Record, Utterance, Word


def served_by(name):
  return types.SimpleNamespace(name="small", served_by=name, splits=("train",))


def test_another_split_than_those_of_the_corpus_names_these(small):
  with pytest.raises(DataError, match="'small' has no split 'dev': it has train, validation, test"):
    records.count(small.SmallCorpus(), "dev")


def test_what_serves_a_corpus_is_imported_by_name(small):
  corpus = small.SmallCorpus()
  assert records.count(corpus, "train") == 40
  assert [record.id for record in records.read(corpus, "test", 1, 3)] == [
    "small/test/000001", "small/test/000002",
  ]  # fmt: skip


def test_what_cannot_be_imported_says_what_to_install():
  with pytest.raises(DataError, match=r"'small' is served by not_there, which cannot be imported"):
    records.count(served_by("not_there"), "train")


def test_texts_and_names_of_every_corpus_come_in_their_one_form(monkeypatch):
  word = Word("cafe\u0301", 0.0, 0.5)
  spoken = Utterance(None, 16_000, "un\u00a0cafe\u0301\r\n", "fr", "Zoe\u0308\u00a0B.", (word,))
  served = types.ModuleType("served")
  served.records = lambda settings, split, start, stop: iter([Record("a", {"source": spoken})])
  monkeypatch.setitem(sys.modules, "served", served)
  (record,) = records.read(served_by("served"), "train", 0, 1)
  said = record.utterances["source"]
  assert (said.text, said.speaker, said.words[0].text) == ("un café", "Zoë B.", "café")
