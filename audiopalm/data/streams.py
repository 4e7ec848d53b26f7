"""The streams cache: every utterance of a corpus as ids, tokenized once and shared by all tasks.

    STREAMS/synthetic-3f…/              one corpus under one set of tokenizers (`folder_of`)
      cache.json                        what it was made from, and how many shards each split has
      train-00003-of-00016.arrayrecord  one msgpack `Entry` a record
      train-00003-of-00016.json         counts, lengths and what was left out; written last

A shard is finished when its JSON is there and fits it; a half-written one never has its final name.
"""

import dataclasses
import functools
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from array_record.python import array_record_module

from audiopalm.audio import waveform
from audiopalm.data import augment, files
from audiopalm.data.records import Source
from audiopalm.errors import AudiopalmError, DataError
from audiopalm.types import LANGUAGES, Record, StreamSpec, Utterance, Word

FORMAT = 1


@dataclasses.dataclass(frozen=True, eq=False)
class EntryUtterance:
  """An utterance as ids. `wave_flac` is there in splits that `evaluate` reads, None in train."""

  language: str
  speaker: str
  text: str
  seconds: float  # 0 where there is text only
  streams: Mapping[str, np.ndarray]  # int32 [T], or [T, Q]
  wave_flac: bytes | None = None
  packed_words: bytes = b""

  @property
  def words(self) -> tuple[Word, ...]:
    """When each word is spoken. Unpacked when asked for: most layouts never do."""
    return tuple(Word(*word) for word in msgpack.unpackb(self.packed_words or b"\x90"))


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
  """A record as ids: utterances by role."""

  id: str
  utterances: Mapping[str, EntryUtterance]

  @property
  def streams(self) -> dict[str, np.ndarray]:
    """Every stream by its address: "source.units"."""
    return {
      f"{role}.{name}": ids
      for role, utterance in self.utterances.items()
      for name, ids in utterance.streams.items()
    }

  @property
  def languages(self) -> dict[str, str]:
    """The language code of each role."""
    return {role: utterance.language for role, utterance in self.utterances.items()}


def pack(entry: Entry) -> bytes:
  """Returns the entry as bytes for `unpack`."""
  utterances = {}
  for role, said in entry.utterances.items():
    streams = {}
    for name, ids in said.streams.items():
      dtype = np.min_scalar_type(int(ids.max(initial=0)))  # ids start at 0: unsigned, mostly 8 bits
      streams[name] = (dtype.str, ids.shape[1] if ids.ndim == 2 else 0, ids.astype(dtype).tobytes())
    utterances[role] = (
      said.language, said.speaker, said.text, said.seconds, streams, said.wave_flac,
      said.packed_words,
    )  # fmt: skip
  return msgpack.packb((entry.id, utterances))


def unpack(data: bytes) -> Entry:
  """Returns the entry `pack` wrote."""
  id, packed = msgpack.unpackb(data)
  utterances = {}
  for role, (language, speaker, text, seconds, streams, wave_flac, words) in packed.items():
    arrays = {}
    for name, (dtype, codebooks, ids) in streams.items():
      array = np.frombuffer(ids, dtype).astype(np.int32)
      arrays[name] = array.reshape(-1, codebooks) if codebooks else array
    utterances[role] = EntryUtterance(language, speaker, text, seconds, arrays, wave_flac, words)
  return Entry(id, utterances)


@dataclasses.dataclass(frozen=True)
class TokenizerFile:
  """A fitted tokenizer as a worker finds it: settings, folder, and what it must turn out as."""

  settings: Any
  folder: Path
  spec: StreamSpec


def folder_of(streams_dir: Path, corpus: Any, specs: Mapping[str, StreamSpec]) -> Path:
  """Returns where the streams of a corpus lie under these tokenizers and no others."""
  prints = {name: spec.fingerprint for name, spec in specs.items()}
  text = json.dumps([FORMAT, corpus.fingerprint, corpus.variants, prints], sort_keys=True)
  return Path(streams_dir) / f"{corpus.name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


@dataclasses.dataclass(frozen=True)
class Shard:
  """One unit of work: records start to stop of a split, with all it takes to tokenize them."""

  corpus: Any
  source: Source
  split: str
  number: int
  shards: int
  start: int
  stop: int
  folder: Path
  tokenizers: tuple[TokenizerFile, ...]

  @property
  def path(self) -> Path:
    return shard_path(self.folder, self.split, self.number, self.shards)


def shard_path(folder: Path, split: str, number: int, shards: int) -> Path:
  return folder / f"{split}-{number:05}-of-{shards:05}.arrayrecord"


def sidecar(path: Path) -> dict[str, Any] | None:
  """Returns what the JSON beside a shard says, None unless the shard is finished.

  records; bytes (size of the shard); quarantined [{id, reason}]; seconds {role}; maxima {address:
  [per codebook]}; lengths {address: [frames of each record, -1 where it has no such stream]};
  languages {role: [code of each record]}.
  """
  try:
    found = files.read_json(path.with_suffix(".json"))
    whole = found["format"] == FORMAT and path.stat().st_size == found["bytes"]
  except (DataError, OSError, KeyError, TypeError):
    return None  # absent or damaged: the shard is made again
  return found if whole else None


@dataclasses.dataclass(frozen=True)
class Tokenized:
  """What a shard cost: seconds of work by "source" (making or reading records) and by stream."""

  shard: Shard
  records: int
  audio_s: float
  work_s: Mapping[str, float]


def tokenize_shard(shard: Shard) -> Tokenized:
  """Returns what it cost to tokenize one shard into its place; the same bytes wherever it runs.

  A record with a fault is left out and named in the sidecar with the fault's own text. DataError
  where the device is full.
  """
  clock = _Clock()
  tokenizers = [_loaded(tokenizer) for tokenizer in shard.tokenizers]
  entries, quarantined = [], []
  with files.replacing(shard.path) as part:
    writer = array_record_module.ArrayRecordWriter(str(part), "group_size:1")
    try:
      for record in _records(shard, quarantined, clock):
        try:
          entry = _encoded(record, shard, tokenizers, clock)
        except AudiopalmError as error:
          quarantined.append({"id": record.id, "reason": str(error)})
          continue
        writer.write(pack(entry))
        entries.append(dataclasses.replace(entry, utterances=_without_waves(entry)))
    finally:
      writer.close()  # reports a full device; also frees the file when the block fails
    size = part.stat().st_size
  counts = _counted(entries, shard)
  files.write_json(
    shard.path.with_suffix(".json"),
    {"format": FORMAT, "bytes": size, "quarantined": quarantined, **counts},
  )
  audio_s = sum(said.seconds for entry in entries for said in entry.utterances.values())
  return Tokenized(shard, len(entries), audio_s, dict(clock.spent_s))


def check(record: Record, corpus: Any) -> None:
  """Raises DataError or AudioError, naming record and role, for what cannot be learnt from."""
  for role in corpus.roles:
    name = f"{record.id} ({role})"
    if role not in record.utterances:
      raise DataError(f"{name}: missing: it holds {', '.join(record.utterances)}. Leave it out.")
    said = record.utterances[role]
    if said.language not in corpus.languages or said.language not in LANGUAGES:
      raise DataError(
        f"{name}: unknown language {said.language!r}: corpus {corpus.name!r} holds "
        f"{', '.join(corpus.languages)}. Correct it, or add the language to the corpus."
      )
    if not said.text.strip():
      raise DataError(f"{name}: empty text. Write what is said, or leave it out.")
    if said.wave_S is not None:
      waveform.check(said.wave_S, said.rate_hz, name)


class _Clock:
  """Adds up where the time of a shard goes."""

  def __init__(self):
    self.spent_s: dict[str, float] = {}
    self._last_s = time.perf_counter()

  def start(self) -> None:
    self._last_s = time.perf_counter()

  def charge(self, name: str) -> None:
    now_s = time.perf_counter()
    self.spent_s[name] = self.spent_s.get(name, 0.0) + now_s - self._last_s
    self._last_s = now_s


@functools.lru_cache(maxsize=16)
def _loaded(tokenizer: TokenizerFile) -> Any:
  """Returns the fitted tokenizer, read once per process."""
  fitted = tokenizer.settings.load(tokenizer.folder)
  assert fitted.spec == tokenizer.spec, f"{tokenizer.folder} changed under a running prepare"
  return fitted


def _records(shard: Shard, quarantined: list, clock: _Clock) -> Iterator[Record]:
  """Yields the sound records of a shard, variants of training records among them."""
  variants = shard.corpus.variants if shard.split == "train" else 1
  at = shard.start
  while at < shard.stop:
    clock.start()
    records = shard.source.records(shard.corpus, shard.split, at, shard.stop)
    try:
      for record in records:
        clock.charge("source")
        at += 1
        try:
          check(record, shard.corpus)
        except AudiopalmError as error:
          quarantined.append({"id": record.id, "reason": str(error)})
        else:
          record = _at_working_rate(record)
          for number in range(1, variants + 1):
            yield augment.variant(record, number, shard.corpus.roles[0])
        clock.start()
      assert at == shard.stop, f"{shard.source.module} gave fewer records than were asked for"
    except DataError as error:  # the source cannot give this record: go on with the next
      quarantined.append({"id": f"{shard.corpus.name}/{shard.split}/{at:06}", "reason": str(error)})
      at += 1


def _at_working_rate(record: Record) -> Record:
  utterances = {
    role: said
    if said.wave_S is None or said.rate_hz == waveform.RATE_HZ
    else dataclasses.replace(
      said,
      wave_S=waveform.resample(said.wave_S, said.rate_hz, waveform.RATE_HZ),
      rate_hz=waveform.RATE_HZ,
    )
    for role, said in record.utterances.items()
  }
  return dataclasses.replace(record, utterances=utterances)


def _encoded(record: Record, shard: Shard, tokenizers: list, clock: _Clock) -> Entry:
  utterances = {}
  for role in shard.corpus.roles:
    said = record.utterances[role]
    streams = {}
    for tokenizer in tokenizers:
      if tokenizer.spec.modality == "text" or said.wave_S is not None:
        clock.start()
        streams[tokenizer.spec.name] = tokenizer.encode(said)
        clock.charge(tokenizer.spec.name)
    utterances[role] = _entry_utterance(said, streams, keep_wave=shard.split != "train")
  return Entry(record.id, utterances)


def _entry_utterance(said: Utterance, streams: Mapping, keep_wave: bool) -> EntryUtterance:
  words = [(word.text, word.start_s, word.end_s, word.phonemes) for word in said.words]
  has_wave = said.wave_S is not None
  return EntryUtterance(
    said.language,
    said.speaker,
    said.text,
    len(said.wave_S) / said.rate_hz if has_wave else 0.0,
    streams,
    waveform.to_flac(said.wave_S, said.rate_hz) if has_wave and keep_wave else None,
    msgpack.packb(words) if words else b"",
  )


def _without_waves(entry: Entry) -> dict[str, EntryUtterance]:
  return {
    role: dataclasses.replace(said, wave_flac=None, packed_words=b"")
    for role, said in entry.utterances.items()
  }


def _counted(entries: list[Entry], shard: Shard) -> dict[str, Any]:
  """Returns what `sidecar` says of the entries."""
  specs = [tokenizer.spec for tokenizer in shard.tokenizers]
  lengths, maxima = {}, {}
  for role in shard.corpus.roles:
    for spec in specs:
      found = [entry.utterances[role].streams.get(spec.name) for entry in entries]
      lengths[f"{role}.{spec.name}"] = [-1 if ids is None else len(ids) for ids in found]
      there = [ids.reshape(-1, spec.codebooks) for ids in found if ids is not None and len(ids)]
      highest = np.max([ids.max(axis=0) for ids in there], axis=0) if there else []
      maxima[f"{role}.{spec.name}"] = [int(value) for value in highest]
  roles = shard.corpus.roles
  return {
    "records": len(entries),
    "seconds": {r: sum(entry.utterances[r].seconds for entry in entries) for r in roles},
    "lengths": lengths,
    "maxima": maxima,
    "languages": {r: [entry.utterances[r].language for entry in entries] for r in roles},
  }
