import pytest

from audiopalm.data.records import Source
from audiopalm.errors import DataError


def test_a_source_is_imported_by_name(small):
  source, corpus = Source("small_corpus"), small.SmallCorpus()
  assert source.count(corpus, "train") == 40
  assert [r.id for r in source.records(corpus, "test", 1, 3)] == [
    "small/test/000001", "small/test/000002",
  ]  # fmt: skip


def test_a_source_that_cannot_be_imported_says_what_to_install(small):
  with pytest.raises(DataError, match=r"'small' is served by not_there, which cannot be imported"):
    Source("not_there").count(small.SmallCorpus(), "train")
