import collections
import gc
import itertools
import json
import os
import re
import resource
import shutil
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from array_record.python import array_record_module

from audiopalm.data import cache, prepare
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


@pytest.fixture
def cached(experiment_of, small, tmp_path, monkeypatch):
  """Returns the folder of a streams cache of four training shards, made for this test."""
  monkeypatch.setattr(prepare, "SHARD_RECORDS", 10)
  corpus = small.SmallCorpus(train_records=40)
  return prepare.prepare(experiment_of(corpus), tmp_path, workers=0).folder(corpus)


def flip(path, at, bit=0):
  data = bytearray(path.read_bytes())
  data[at] ^= 1 << bit
  path.write_bytes(data)


def rewrite(path, **changes):
  """Changes what a JSON says, with a checksum that fits if it has one."""
  found = json.loads(path.read_text()) | changes
  if found.pop("crc32", None) is not None:
    found["crc32"] = zlib.crc32(json.dumps(found, sort_keys=True).encode())
  path.write_text(json.dumps(found))


def another(cached, name):
  """Puts a shard of another cache into the place of one of the same name."""
  elsewhere = cached.with_name("small-0123456789abcdef")
  shutil.copytree(cached, elsewhere)
  path = elsewhere / name
  cache.write_sidecar(path, {"records": 10})
  for suffix in (".json", ".arrayrecord"):
    shutil.copy(path.with_suffix(suffix), cached)


SECOND = "train-00001-of-00004"
DAMAGE = {
  "missing": (
    lambda side, shard: shard.unlink(),
    rf"{SECOND}.arrayrecord: expected a shard of the streams cache, but it is missing",
  ),
  "not finished": (
    lambda side, shard: side.unlink(),
    rf"{SECOND}.arrayrecord: expected {SECOND}.json beside it, but it is not finished",
  ),
  "cut json": (
    lambda side, shard: side.write_text(side.read_text()[:50]),
    rf"{SECOND}.json: expected JSON, but it is damaged",
  ),
  "other json": (
    lambda side, shard: side.write_text("[]"),
    rf"{SECOND}.json: expected a JSON object, but it is something else",
  ),
  "another format": (
    lambda side, shard: rewrite(side, format=1),
    rf"{SECOND}.json: expected format {cache.FORMAT}, but it has 1",
  ),
  "changed json": (
    lambda side, shard: side.write_text(side.read_text().replace('"records": 10', '"records": 11')),
    rf"{SECOND}.json: expected content that matches its checksum, but it was changed",
  ),
  "of another cache": (
    lambda side, shard: another(shard.parent, shard.name),
    rf"{SECOND}.json: expected shard 'small-\w+/{SECOND}', but it has 'small-0123456789abcdef/",
  ),
  "another number": (
    lambda side, shard: shutil.copy(side.with_name(f"{SECOND.replace('1', '2', 1)}.json"), side),
    rf"{SECOND}.json: expected shard '.*/{SECOND}', but it has '.*/train-00002-of-00004'",
  ),
  "cut short": (
    lambda side, shard: os.truncate(shard, 65_536),
    rf"{SECOND}.arrayrecord: expected 131072 bytes, but it has 65536",
  ),
  "no shard": (
    lambda side, shard: shard.write_bytes(bytes(131_072)),
    rf"{SECOND}.arrayrecord: expected ArrayRecord of 10 records, but it cannot be opened: Corrup",
  ),
  "fewer records": (
    lambda side, shard: rewrite(side, records=9),
    rf"{SECOND}.arrayrecord: expected 9 records, but it holds 10",
  ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_shard_that_is_not_whole_or_not_its_own_is_named(cached, kind):
  shard = cached / f"{SECOND}.arrayrecord"
  damage, text = DAMAGE[kind]
  damage(shard.with_suffix(".json"), shard)
  with pytest.raises(DataError, match=text) as told:
    cache.open_split(cached, "train")
  assert str(told.value).count("\n") == 0
  names = [cache.shard_path(cached, "train", number, 4) for number in range(4)]
  assert cache.finished(names) == [True, False, True, True]


def test_a_cache_that_does_not_say_how_many_shards_it_has_is_refused(cached):
  (cached / "cache.json").write_text('{"shards": {}}')
  with pytest.raises(DataError, match="cache.json: expected the number of shards of split 'train'"):
    cache.open_split(cached, "train")


def test_a_flipped_byte_is_no_wrong_token_but_an_error_with_shard_and_record(cached):
  shard = cached / f"{SECOND}.arrayrecord"
  side, whole = cache.sidecar(shard), shard.read_bytes()
  packed = list(map(cache.pack, cache.Entries([shard], [side])))
  used = whole.index(bytes(1_000))  # records and their index; then padding, and where it lies
  found = collections.Counter()
  for at in [*range(0, used, 13), *range(len(whole) - 2**16, len(whole), 2**12)]:
    shard.write_bytes(whole)
    flip(shard, at, bit=at % 8)
    if not cache.finished([shard])[0]:
      found["at the start"] += 1
      continue
    entries = cache.Entries([shard], [side])
    for number in range(10):
      try:
        found["harmless" if cache.pack(entries[number]) == packed[number] else "silent"] += 1
      except DataError as error:
        found["later"] += 1
        text = rf"{SECOND}.arrayrecord: record {number} cannot be read \(Corrupted Riegeli"
        assert re.search(text, str(error)) and "Delete that file and run `audiopalm" in str(error)
  assert found["silent"] == 0 and found["later"] > 20 and found["at the start"] > 0, found


def test_the_records_of_a_shard_are_not_read_to_look_at_it(tmp_path):
  said = cache.EntryUtterance("en", "a", "x", 1.0, {}, os.urandom(100_000))
  path = tmp_path / "test-00000-of-00001.arrayrecord"
  writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
  for number in range(50):
    writer.write(cache.pack(cache.Entry(str(number), {"source": said})))
  writer.close()
  cache.write_sidecar(path, {"records": 50})
  before = bytes_read()
  assert cache.sidecar(path)["records"] == 50
  assert path.stat().st_size > 5_000_000 and bytes_read() - before < 300_000


def bytes_read():
  counts = Path("/proc/self/io")
  if not counts.is_file():
    pytest.skip("this system does not count what a process reads")
  return int(re.search(r"rchar: (\d+)", counts.read_text())[1])


def test_thousands_of_shards_are_looked_at_in_seconds(cached):
  whole = cached / "train-00000-of-00004.arrayrecord"
  side = cache.sidecar(whole)
  for field in ("format", "shard", "bytes"):
    side.pop(field)
  for number in range(2_000):
    path = cache.shard_path(cached, "test", number, 2_000)
    os.link(whole, path)
    cache.write_sidecar(path, side)
  rewrite(cached / "cache.json", shards={"test": 2_000})
  begun_s = time.perf_counter()
  entries = cache.open_split(cached, "test")
  assert time.perf_counter() - begun_s < 20
  assert len(entries) == 20_000


def test_more_shards_than_the_soft_limit_of_open_files_can_be_read(cached, monkeypatch):
  soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
  gc.collect()  # what it closes must not be counted
  open_ = {int(name) for name in os.listdir("/dev/fd")}
  # The limit is one of numbers, and numbers that were closed are taken again: leave two of them.
  few = next(n for n in itertools.count() if n - sum(number < n for number in open_) == 2)
  entries, others = (cache.open_split(cached, "train") for _ in range(2))
  try:
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    cache._allow_open_files.cache_clear()
    assert len(list(entries)) == 40
    monkeypatch.setattr(cache, "_allow_open_files", lambda: None)
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    with pytest.raises(
      DataError, match=rf"may open {few} files, and this split alone has 4 shards.*ulimit"
    ):
      list(others)
  finally:
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
