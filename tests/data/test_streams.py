import dataclasses
import errno
import re
from pathlib import Path

import numpy as np
import pytest

from audiopalm.audio import waveform
from audiopalm.data import cache, streams
from audiopalm.errors import ConfigError, DataError, RecordError, Requeue


@pytest.fixture
def shard_of(small, tmp_path):
  def make(corpus=None, split="train", **changes):
    corpus = corpus or small.SmallCorpus()
    tokenizers = []
    for settings in (small.Letters(), small.Crossings()):
      fitted = settings.fit([], 0)
      fitted.save(tmp_path / settings.stream)
      tokenizers.append(streams.TokenizerFile(settings, tmp_path / settings.stream, fitted.spec))
    stop = small.count(corpus, split)
    made = streams.Shard(
      corpus, split, 0, 1, 0, stop, tmp_path / "out", tuple(tokenizers), clips=False
    )
    return dataclasses.replace(made, **changes)

  return make


def entries(shard):
  return cache.Entries([shard.path], [cache.sidecar(shard.path)])


def test_a_shard_holds_its_records_in_order(shard_of, small):
  shard = shard_of(start=3, stop=9)
  done = streams.tokenize_shard(shard)
  assert set(done.work_s) == {"source", "text", "units", "other"}
  found = list(entries(shard))
  assert [entry.id for entry in found] == [f"small/train/{number:06}" for number in range(3, 9)]
  record = next(small.records(shard.corpus, "train", 3, 4))
  expected = small.Crossings().fit([], 0).encode(record.utterances["source"])
  np.testing.assert_array_equal(found[0].streams["source.units"], expected)


def test_records_are_encoded_together_and_written_as_one_by_one(shard_of, small, monkeypatch):
  shard = shard_of(small.SmallCorpus(train_records=8, faults=((2, "silent"), (5, "no words"))))
  monkeypatch.setattr(streams, "BATCH", 1)
  streams.tokenize_shard(shard)
  one_by_one = shard.path.read_bytes(), cache.sidecar(shard.path)
  sizes = []

  def encode_batch(self, utterances):
    sizes.append(len(utterances))
    return [self.encode(utterance) for utterance in utterances]

  monkeypatch.setattr(small.FittedCrossings, "encode_batch", encode_batch, raising=False)
  for records, seconds, expected in ((3, 1e3, [6, 6, 2]), (64, 1e3, [14]), (64, 1e-3, [2] * 7)):
    monkeypatch.setattr(streams, "BATCH", records)
    monkeypatch.setattr(streams, "BATCH_S", seconds)
    shard.path.unlink()
    streams.tokenize_shard(shard)
    assert sizes == expected  # two roles each
    assert (shard.path.read_bytes(), cache.sidecar(shard.path)) == one_by_one
    sizes.clear()


def test_a_recording_with_the_words_of_its_translation_alone_has_no_text_stream(shard_of, small):
  shard = shard_of(small.SmallCorpus(train_records=2, faults=((1, "no words"),)))
  streams.tokenize_shard(shard)
  found = entries(shard)
  assert len(found) == 2
  assert list(found[1].streams) == ["source.units", "target.text", "target.units"]
  assert found.lengths["source.text"][1] == -1


def test_waves_are_kept_where_evaluation_reads_them_only(shard_of, small):
  train, test = shard_of(), shard_of(split="test")
  for shard in (train, test):
    streams.tokenize_shard(shard)
  assert entries(train)[0].utterances["source"].wave_flac is None
  wave_S, rate_hz = waveform.from_flac(entries(test)[1].utterances["source"].wave_flac)
  record = next(small.records(test.corpus, "test", 1, 2))
  assert rate_hz == waveform.RATE_HZ
  np.testing.assert_allclose(wave_S, record.utterances["source"].wave_S, atol=1e-4)


@pytest.mark.parametrize(
  ("kind", "reason"),
  [
    ("silent", r"small/train/000002 \(source\): silent: its largest sample is 0"),
    ("nan", r"small/train/000002 \(source\): \d+ of \d+ samples are NaN or infinite"),
    ("no text", r"small/train/000002 \(source\): empty text. Write the transcript"),
    ("no words at all", r"small/train/000002 \(source\): empty text. Write the transcript"),
    ("unknown language", r"small/train/000002 \(source\): unknown language 'xx'.*has en, fr"),
    ("unreadable", "small/train/000002 cannot be read"),
  ],
)
def test_a_fault_of_one_record_is_quarantined_with_its_reason(shard_of, small, kind, reason):
  shard = shard_of(small.SmallCorpus(train_records=5, faults=((2, kind),)))
  streams.tokenize_shard(shard)
  found = entries(shard)
  assert [entry.id[-1] for entry in found] == ["0", "1", "3", "4"]
  (fault,) = found.quarantined
  assert fault["id"] == "small/train/000002"
  with pytest.raises(DataError, match=reason):
    raise DataError(fault["reason"])


def test_a_record_that_gives_no_ids_is_quarantined(shard_of, small, monkeypatch):
  monkeypatch.setattr(small.FittedCrossings, "encode", lambda self, said: np.zeros(0, np.int32))
  shard = shard_of(stop=1)
  streams.tokenize_shard(shard)
  assert (
    "(source): empty units: its tokenizer gives no ids" in entries(shard).quarantined[0]["reason"]
  )


def test_variants_are_of_training_records_only(shard_of, small):
  corpus = small.SmallCorpus(train_records=2, variants=3)
  train, test = shard_of(corpus), shard_of(corpus, "test")
  for shard in (train, test):
    streams.tokenize_shard(shard)
  assert [entry.id[-8:] for entry in entries(train)] == [
    "n/000000", "000000#2", "000000#3", "n/000001", "000001#2", "000001#3",
  ]  # fmt: skip
  assert len(entries(test)) == small.count(corpus, "test")


def test_text_alone_has_no_speech_stream(shard_of, small):
  shard = shard_of(small.SmallCorpus(spoken=False), stop=2)
  streams.tokenize_shard(shard)
  found = entries(shard)
  assert list(found[0].streams) == ["source.text", "target.text"]
  assert found.lengths["source.units"].tolist() == [-1, -1]


def test_waves_of_another_rate_are_brought_to_the_working_rate(shard_of, small, monkeypatch):
  monkeypatch.setattr(small, "RATE_HZ", 8_000)
  shard = shard_of(split="test", stop=1)
  streams.tokenize_shard(shard)
  said = entries(shard)[0].utterances["source"]
  wave_S, rate_hz = waveform.from_flac(said.wave_flac)
  assert (len(wave_S), rate_hz) == (1_600, 16_000)
  assert said.seconds == 0.1


def test_notes_on_records_that_are_kept_are_counted_by_their_kind(shard_of, small, monkeypatch):
  plain = small.records

  def records(*arguments):
    for record in plain(*arguments):
      said = record.utterances["source"]
      note = f"{record.id}: silent channels left out: 1 of 2"
      said = dataclasses.replace(said, notes=(note,))
      yield dataclasses.replace(record, utterances=record.utterances | {"source": said})

  monkeypatch.setattr(small, "records", records)
  shards = [shard_of(start=3, stop=9, number=0), shard_of(start=0, stop=2, number=1)]
  for shard in shards:
    streams.tokenize_shard(shard)
  paths = [shard.path for shard in shards]
  found = cache.Entries(paths, [cache.sidecar(path) for path in paths])
  assert found.noted == {
    "silent channels left out": {
      "records": 8,
      "first": "small/train/000003: silent channels left out: 1 of 2",
    }
  }


def test_a_full_device_is_one_clear_error_and_leaves_nothing_half(shard_of, full):
  shard = shard_of()
  full(shard.path.name)
  with pytest.raises(DataError, match="No space left on the device of .*out while writing train-"):
    streams.tokenize_shard(shard)
  assert list(shard.folder.iterdir()) == []


@pytest.mark.parametrize(
  "error",
  [
    DataError("The package espeakng-loader is not installed."),
    ModuleNotFoundError("No module named 'seqio'"),
    OSError(errno.EIO, "Input/output error"),
    OSError("libespeak-ng.so: cannot open shared object file"),
    ConfigError("train.jsonl has changed."),
    MemoryError(),
  ],
  ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("place", ["source", "tokenizer", "check"])
def test_a_fault_of_the_machine_finishes_no_shard(shard_of, small, monkeypatch, error, place):
  def fail(*given):
    raise error

  owner = {"source": (small, "_record"), "tokenizer": (small.FittedCrossings, "encode")}
  monkeypatch.setattr(*owner.get(place, (streams, "check")), fail)
  shard = shard_of()
  with pytest.raises(type(error), match=re.escape(str(error)) or None):
    streams.tokenize_shard(shard)
  assert list(shard.folder.iterdir()) == []


def test_a_tokenizer_that_cannot_take_one_record_leaves_that_out(shard_of, small, monkeypatch):
  encode = small.FittedLetters.encode

  def some(self, said):
    if said.text == "three":
      raise RecordError("The text is of no use.")
    return encode(self, said)

  monkeypatch.setattr(small.FittedLetters, "encode", some)
  shard = shard_of(stop=20)
  streams.tokenize_shard(shard)
  assert {fault["reason"] for fault in entries(shard).quarantined} == {"The text is of no use."}
  assert 0 < len(entries(shard)) < 20


@pytest.mark.parametrize("error", [KeyboardInterrupt, Requeue("stop")])
def test_an_interrupted_shard_never_has_its_final_name(shard_of, small, monkeypatch, error):
  def stop(self, said):
    raise error

  monkeypatch.setattr(small.FittedCrossings, "encode", stop)
  shard = shard_of()
  with pytest.raises((KeyboardInterrupt, Requeue)):
    streams.tokenize_shard(shard)
  assert list(Path(shard.folder).iterdir()) == []


def test_a_wave_longer_than_ten_minutes_is_quarantined(shard_of, small, monkeypatch):
  long_S = np.full(601 * 16_000, 0.1, np.float32)
  monkeypatch.setattr(small, "_wave", lambda number, words: long_S)
  shard = shard_of(stop=1)
  streams.tokenize_shard(shard)
  (fault,) = entries(shard).quarantined
  assert "(source): too long: 601.0 s, expected at most 600 s." in fault["reason"]
