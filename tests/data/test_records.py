import sys
import types

import pytest

from audiopalm.data.records import Source
from audiopalm.errors import DataError
from audiopalm.types import Record, Utterance, Word


def test_a_source_is_imported_by_name(small):
  source, corpus = Source("small_corpus"), small.SmallCorpus()
  assert source.count(corpus, "train") == 40
  assert [r.id for r in source.records(corpus, "test", 1, 3)] == [
    "small/test/000001", "small/test/000002",
  ]  # fmt: skip


def test_a_source_that_cannot_be_imported_says_what_to_install(small):
  with pytest.raises(DataError, match=r"'small' is served by not_there, which cannot be imported"):
    Source("not_there").count(small.SmallCorpus(), "train")


def test_texts_and_names_of_every_source_come_in_their_one_form(monkeypatch):
  word = Word("cafe\u0301", 0.0, 0.5)
  spoken = Utterance(None, 16_000, "un\u00a0cafe\u0301\r\n", "fr", "Zoe\u0308\u00a0B.", (word,))
  served = types.ModuleType("served")
  served.records = lambda settings, split, start, stop: iter([Record("a", {"source": spoken})])
  monkeypatch.setitem(sys.modules, "served", served)
  (record,) = Source("served").records(None, "train", 0, 1)
  said = record.utterances["source"]
  assert (said.text, said.speaker, said.words[0].text) == ("un café", "Zoë B.", "café")
