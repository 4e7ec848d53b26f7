"""Writes a streams cache: `tokenize_shard` turns some records of a corpus into one shard of it."""

import dataclasses
import functools
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from array_record.python import array_record_module

from audiopalm.audio import waveform
from audiopalm.data import augment, cache, files, quarantine, words
from audiopalm.data.feeds import WAVE
from audiopalm.data.records import Source
from audiopalm.errors import RecordError
from audiopalm.language_tags import LANGUAGES
from audiopalm.types import Record, StreamSpec, Utterance


@dataclasses.dataclass(frozen=True)
class TokenizerFile:
  """A fitted tokenizer as a worker finds it: settings, folder, and what it must turn out as."""

  settings: Any
  folder: Path
  spec: StreamSpec


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
  keep_waves: bool  # beside their ids
  clips: bool  # cut from these waves: their lengths are counted

  @property
  def path(self) -> Path:
    return cache.shard_path(self.folder, self.split, self.number, self.shards)


@dataclasses.dataclass(frozen=True)
class Tokenized:
  """What a shard cost: seconds of work by "source" (making or reading), by stream, and "other"."""

  shard: Shard
  records: int
  audio_s: float
  work_s: Mapping[str, float]


def tokenize_shard(shard: Shard) -> Tokenized:
  """Returns what it cost to tokenize one shard into its place; the same bytes wherever it runs.

  A record with a fault (RecordError) is left out and named in the sidecar with the fault's own
  text; notes of records that are kept are counted there by their kind. Any other error is the
  machine's, and ends this: then there is no shard and no sidecar, so that a machine that is
  repaired, or another one, makes it whole. DataError where the device is full.
  """
  clock = _Clock()
  tokenizers = [_loaded(tokenizer) for tokenizer in shard.tokenizers]
  entries, quarantined, noted = [], [], []
  with files.replacing(shard.path) as part:
    writer = array_record_module.ArrayRecordWriter(str(part), "group_size:1")
    try:
      for record in _records(shard, quarantined, noted, clock):
        try:
          entry = _encoded(record, shard, tokenizers, clock)
        except RecordError as error:
          quarantined.append({"id": record.id, "reason": str(error)})
          continue
        writer.write(cache.pack(entry))
        entries.append(dataclasses.replace(entry, utterances=_without_waves(entry)))
    finally:
      writer.close()  # reports a full device; also frees the file when the block fails
  faults = {"quarantined": quarantined, "noted": quarantine.kinds(noted)}
  cache.write_sidecar(shard.path, faults | _counted(entries, shard))
  audio_s = sum(utterance.seconds for entry in entries for utterance in entry.utterances.values())
  return Tokenized(shard, len(entries), audio_s, clock.read())


def check(record: Record, corpus: Any) -> None:
  """Raises RecordError, naming record and role, for what cannot be learnt from."""
  for role in corpus.roles:
    name = f"{record.id} ({role})"
    if role not in record.utterances:
      if role in corpus.optional_roles:
        continue
      raise RecordError(f"{name}: missing: it holds {', '.join(record.utterances)}. Leave it out.")
    utterance = record.utterances[role]
    if utterance.language not in corpus.languages or utterance.language not in LANGUAGES:
      raise RecordError(
        f"{name}: unknown language {utterance.language!r}: corpus {corpus.name!r} holds "
        f"{', '.join(corpus.languages)}. Correct it, or add the language to the corpus."
      )
    if not utterance.text.strip() and not _is_translated(record, role):
      raise RecordError(f"{name}: empty text. Write what is said, or leave it out.")
    if utterance.wave_S is not None:
      waveform.check(utterance.wave_S, utterance.rate_hz, name, waveform.LONGEST_S)


def _is_translated(record: Record, role: str) -> bool:
  """Returns whether this role is a recording, and another one says in words what it means."""
  others = (other.text.strip() for name, other in record.utterances.items() if name != role)
  return record.utterances[role].wave_S is not None and any(others)


class _Clock:
  """Adds up where the time of a shard goes."""

  def __init__(self):
    self._spent_s: dict[str, float] = {}
    self._begun_s = self._last_s = time.perf_counter()

  def start(self) -> None:
    self._last_s = time.perf_counter()

  def charge(self, name: str) -> None:
    now_s = time.perf_counter()
    self._spent_s[name] = self._spent_s.get(name, 0.0) + now_s - self._last_s
    self._last_s = now_s

  def read(self) -> dict[str, float]:
    """Returns seconds by name; "other": what was charged to none (augmenting, packing, writing)."""
    all_s = time.perf_counter() - self._begun_s
    return self._spent_s | {"other": all_s - sum(self._spent_s.values())}


@functools.lru_cache(maxsize=16)
def _loaded(tokenizer: TokenizerFile) -> Any:
  """Returns the fitted tokenizer, read once per process."""
  fitted = tokenizer.settings.load(tokenizer.folder)
  assert fitted.spec == tokenizer.spec, f"{tokenizer.folder} changed under a running prepare"
  return fitted


def _records(shard: Shard, quarantined: list, noted: list, clock: _Clock) -> Iterator[Record]:
  """Yields the sound records of a shard, with their variants in train."""
  variants = shard.corpus.variants if shard.split == "train" else 1
  for record in _served(shard, quarantined, clock):
    try:
      check(record, shard.corpus)
    except RecordError as error:
      quarantined.append({"id": record.id, "reason": str(error)})
      continue
    noted += [
      {"reason": note} for utterance in record.utterances.values() for note in utterance.notes
    ]
    record = at_working_rate(record)
    for number in range(1, variants + 1):
      yield augment.variant(record, number, shard.corpus.roles[0])


def _served(shard: Shard, quarantined: list, clock: _Clock) -> Iterator[Record]:
  """Yields what the source gives; after a record it cannot give, it is asked for the next."""
  at = shard.start
  while at < shard.stop:
    records = shard.source.records(shard.corpus, shard.split, at, shard.stop)
    try:
      clock.start()
      for record in records:
        clock.charge("source")
        yield record
        at += 1
        clock.start()
      assert at == shard.stop, f"{shard.source.module} gave fewer records than were asked for"
    except RecordError as error:
      quarantined.append({"id": f"{shard.corpus.name}/{shard.split}/{at:06}", "reason": str(error)})
      at += 1


def at_working_rate(record: Record) -> Record:
  """Returns the record with every wave at the rate all parts expect."""
  utterances = {
    role: utterance
    if utterance.wave_S is None or utterance.rate_hz == waveform.RATE_HZ
    else dataclasses.replace(
      utterance,
      wave_S=waveform.resample(utterance.wave_S, utterance.rate_hz, waveform.RATE_HZ),
      rate_hz=waveform.RATE_HZ,
    )
    for role, utterance in record.utterances.items()
  }
  return dataclasses.replace(record, utterances=utterances)


def _encoded(record: Record, shard: Shard, tokenizers: list, clock: _Clock) -> cache.Entry:
  utterances = {}
  for role in shard.corpus.roles:
    if role not in record.utterances:
      continue
    utterance = record.utterances[role]
    streams = {}
    for tokenizer in tokenizers:
      has_input = (
        utterance.text.strip()
        if tokenizer.spec.modality == "text"
        else utterance.wave_S is not None
      )
      if has_input:
        clock.start()
        ids = streams[tokenizer.spec.name] = tokenizer.encode(utterance)
        clock.charge(tokenizer.spec.name)
        if not len(ids):
          raise RecordError(
            f"{record.id} ({role}): empty {tokenizer.spec.name}: its tokenizer gives no ids for "
            f"{utterance.text!r}. Leave it out."
          )
    ends = _word_ends(utterance, streams, tokenizers)
    utterances[role] = _entry_utterance(utterance, streams, ends, keep_wave=shard.keep_waves)
  return cache.Entry(record.id, utterances)


def _word_ends(said: Utterance, streams: Mapping, tokenizers: list) -> dict[str, list[int]]:
  """Returns where words end in the streams that can be cut there."""
  found = {}
  for tokenizer in tokenizers if said.words else ():
    spec, ends = tokenizer.spec, None
    if spec.name in streams and spec.modality == "text":
      ends = words.ends_in_text(said, streams[spec.name].tolist(), tokenizer.encode_text)
    elif spec.name in streams and spec.rate_hz is not None:
      ends = words.ends_in_frames(said.words, len(streams[spec.name]), spec.rate_hz)
    if ends is not None:
      found[spec.name] = ends
  return found


def _entry_utterance(
  said: Utterance, streams: Mapping, word_ends: Mapping[str, list[int]], keep_wave: bool
) -> cache.EntryUtterance:
  timed = [(word.text, word.start_s, word.end_s, word.phonemes) for word in said.words]
  has_wave = said.wave_S is not None
  return cache.EntryUtterance(
    said.language,
    said.speaker,
    said.text,
    len(said.wave_S) / said.rate_hz if has_wave else 0.0,
    streams,
    waveform.to_flac(said.wave_S, said.rate_hz) if has_wave and keep_wave else None,
    msgpack.packb(timed) if timed else b"",
    msgpack.packb(word_ends) if word_ends else b"",
  )


def _without_waves(entry: cache.Entry) -> dict[str, cache.EntryUtterance]:
  return {
    role: dataclasses.replace(utterance, wave_flac=None, packed_words=b"", packed_word_ends=b"")
    for role, utterance in entry.utterances.items()
  }


def _counted(made: list[cache.Entry], shard: Shard) -> dict[str, Any]:
  """Returns what `cache.sidecar` says of a shard."""
  specs = [tokenizer.spec for tokenizer in shard.tokenizers]
  lengths, maxima = {}, {}
  for role in shard.corpus.roles:
    for spec in specs:
      ids_of_entries = [entry.streams.get(f"{role}.{spec.name}") for entry in made]
      lengths[f"{role}.{spec.name}"] = [-1 if ids is None else len(ids) for ids in ids_of_entries]
      columns = [
        ids.reshape(-1, spec.codebooks) for ids in ids_of_entries if ids is not None and len(ids)
      ]
      highest = np.max([ids.max(axis=0) for ids in columns], axis=0) if columns else []
      maxima[f"{role}.{spec.name}"] = [int(value) for value in highest]
  roles = shard.corpus.roles
  if shard.clips:
    for role in roles:
      spoken = [entry.seconds.get(role, 0.0) for entry in made]
      samples = [round(seconds * waveform.RATE_HZ) or -1 for seconds in spoken]
      lengths[f"{role}.{WAVE}"], maxima[f"{role}.{WAVE}"] = samples, []
  return {
    "records": len(made),
    "seconds": {r: sum(entry.seconds.get(r, 0.0) for entry in made) for r in roles},
    "lengths": lengths,
    "maxima": maxima,
    "languages": {r: [entry.languages.get(r, "") for entry in made] for r in roles},
  }
