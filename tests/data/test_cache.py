import pickle

import numpy as np
import pytest

from audiopalm.data import cache
from audiopalm.errors import DataError
from audiopalm.types import StreamSpec, Word


def test_unpack_inverts_pack():
  units, codes = np.array([0, 255, 256], np.int32), np.array([[1, 2], [3, 70_000]], np.int32)
  said = cache.EntryUtterance("fr", "fr-a", "été", 1.5, {"units": units, "codes": codes}, b"flac")
  read = cache.unpack(cache.pack(cache.Entry("a/1", {"source": said})))
  assert read.id == "a/1"
  assert read.languages == {"source": "fr"}
  for name in ("units", "codes"):
    ids = read.streams[f"source.{name}"]
    assert ids.dtype == np.int32
    np.testing.assert_array_equal(ids, said.streams[name])
  again = read.utterances["source"]
  assert (again.text, again.speaker, again.seconds) == ("été", "fr-a", 1.5)
  assert (again.wave_flac, again.words) == (b"flac", ())


def test_an_empty_stream_survives():
  said = cache.EntryUtterance("en", "a", "x", 0.0, {"text": np.zeros(0, np.int32)})
  read = cache.unpack(cache.pack(cache.Entry("a", {"source": said})))
  assert read.streams["source.text"].shape == (0,)


def test_another_tokenizer_corpus_or_number_of_variants_lies_elsewhere(small, tmp_path):
  spec = {"text": StreamSpec("text", "text", (5,), None, "a")}
  other = {"text": StreamSpec("text", "text", (5,), None, "b")}
  folders = {
    cache.folder_of(tmp_path, small.SmallCorpus(), spec),
    cache.folder_of(tmp_path, small.SmallCorpus(), other),
    cache.folder_of(tmp_path, small.SmallCorpus(train_records=3), spec),
    cache.folder_of(tmp_path, small.SmallCorpus(variants=2), spec),
  }
  assert len(folders) == 4
  assert {folder.name.split("-")[0] for folder in folders} == {"small"}


def test_entries_are_read_by_number_and_their_lengths_without_reading(prepared):
  entries = prepared.entries(prepared.tasks[0], "train")
  assert len(entries) == 400
  assert [entry.id for entry in entries][3] == entries[3].id == "small/train/000003"
  for name, lengths in entries.lengths.items():
    assert [len(entry.streams[name]) for entry in entries] == lengths.tolist()
  codes = [entry.languages["source"] for entry in entries]
  assert codes == entries.languages["source"].tolist()
  seconds = sum(entry.utterances["source"].seconds for entry in entries)
  assert entries.seconds["source"] == pytest.approx(seconds)
  assert entries.maxima["source.text"] == (max(e.streams["source.text"].max() for e in entries),)
  with pytest.raises(IndexError, match="entry 400 of 400"):
    entries[400]


def test_words_are_kept(prepared):
  entry = prepared.entries(prepared.tasks[0], "train")[1]
  assert entry.utterances["source"].words[0] == Word("two", 0.0, 0.1, "tw")


def test_entries_can_be_sent_to_another_process(prepared):
  entries = prepared.entries(prepared.tasks[0], "train")
  entries[0]
  assert pickle.loads(pickle.dumps(entries))[5].id == "small/train/000005"


def test_a_missing_shard_is_named(prepared, tmp_path):
  folder = tmp_path / "small"
  folder.mkdir()
  (folder / "cache.json").write_text('{"shards": {"train": 2}}')
  with pytest.raises(DataError, match="train-00000-of-00002.arrayrecord: missing or not finished"):
    cache.open_split(folder, "train")
