"""Writes a streams cache: `tokenize_shard` writes one shard of a corpus."""

import collections
import contextlib
import dataclasses
import functools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import numpy as np
from array_record.python import array_record_module

from audiopalm.audio import waveform
from audiopalm.data import augment, cache, files, records, words
from audiopalm.data.manifest import faults
from audiopalm.errors import RecordError
from audiopalm.language_tags import LANGUAGES
from audiopalm.tokenizers import base
from audiopalm.tokenizers.base import Fitted, Tokenizer
from audiopalm.types import WAVE, CorpusSettings, Modality, Record, StreamSpec, Utterance

BATCH, BATCH_S = 64, 300.0  # records, and seconds of their waves, that are encoded together


@dataclasses.dataclass(frozen=True)
class TokenizerFile:
  """A fitted tokenizer for workers to load: its settings, folder and expected spec."""

  settings: Tokenizer
  folder: Path
  spec: StreamSpec


@dataclasses.dataclass(frozen=True)
class Shard:
  """One job: records `start` to `stop` - 1 of a split, and all that is needed to tokenize them.

  Waves are saved with their ids in splits that `evaluate` reads, and in all splits with `clips`.
  """

  corpus: CorpusSettings
  split: str
  number: int
  shards: int
  start: int
  stop: int
  folder: Path
  tokenizers: tuple[TokenizerFile, ...]
  clips: bool

  @property
  def path(self) -> Path:
    return cache.shard_path(self.folder, self.split, self.number, self.shards)


@dataclasses.dataclass(frozen=True)
class Tokenized:
  """The cost of a shard: seconds of work by "source" (making or reading), stream, and "other"."""

  shard: Shard
  audio_s: float
  work_s: Mapping[str, float]


class _Written(NamedTuple):
  """The fields of an entry that the sidecar needs, without waves."""

  languages: Mapping[str, str]
  seconds: Mapping[str, float]
  streams: Mapping[str, np.ndarray]


def tokenize_shard(shard: Shard) -> Tokenized:
  """Writes one shard, with the same bytes on every machine, and returns its cost.

  A record with a fault (RecordError) is left out and named in the sidecar with the fault's text;
  notes of records that are kept are counted there by kind. Any other error leaves neither shard nor
  sidecar, so the shard can be made again.
  """
  clock = _Clock()
  tokenizers = [_loaded(tokenizer) for tokenizer in shard.tokenizers]
  written, quarantined, noted = [], [], []
  with files.replacing(shard.path) as part:
    writer = array_record_module.ArrayRecordWriter(str(part), "group_size:1")
    try:
      for together in _batches(_records(shard, quarantined, noted, clock)):
        streams = _streams(together, shard, tokenizers, clock)
        for record, own in zip(together, streams, strict=True):
          try:
            entry = _entry(record, shard, tokenizers, own)
          except RecordError as error:
            quarantined.append({"id": record.id, "reason": str(error)})
            continue
          writer.write(cache.pack(entry))
          written.append(_Written(entry.languages, entry.seconds, entry.streams))
    finally:
      writer.close()  # reports a full device; also frees the file when the block fails
  left_out = {"quarantined": quarantined, "noted": faults.kinds(noted)}
  cache.write_sidecar(shard.path, left_out | _counted(written, shard))
  audio_s = sum(sum(entry.seconds.values()) for entry in written)
  return Tokenized(shard, audio_s, clock.read())


def check(record: Record, corpus: CorpusSettings) -> None:
  """Raises RecordError, with record and role, for a record that is not fit for training."""
  for role in corpus.roles:
    name = f"{record.id} ({role})"
    if role not in record.utterances:
      if role in corpus.optional_roles:
        continue
      raise RecordError(f"{name}: missing: it has {', '.join(record.utterances)}. Leave it out.")
    utterance = record.utterances[role]
    if utterance.language not in corpus.languages or utterance.language not in LANGUAGES:
      raise RecordError(
        f"{name}: unknown language {utterance.language!r}: corpus {corpus.name!r} has "
        f"{', '.join(corpus.languages)}. Correct it, or add the language to the corpus."
      )
    if not utterance.text.strip() and not _is_translated(record, role):
      raise RecordError(f"{name}: empty text. Write the transcript, or leave it out.")
    if utterance.wave_S is not None:
      waveform.check(utterance.wave_S, utterance.rate_hz, name, waveform.LONGEST_S)


def _is_translated(record: Record, role: str) -> bool:
  """Returns whether this role is a recording, and another role has text, its translation."""
  others = (other.text.strip() for name, other in record.utterances.items() if name != role)
  return record.utterances[role].wave_S is not None and any(others)


class _Clock:
  """Sums the seconds spent on a shard, by kind of work."""

  def __init__(self):
    self._spent_s: dict[str, float] = collections.defaultdict(float)
    self._start_s = time.perf_counter()

  @contextlib.contextmanager
  def charge(self, name: str) -> Iterator[None]:
    start_s = time.perf_counter()
    yield
    self._spent_s[name] += time.perf_counter() - start_s

  def read(self) -> dict[str, float]:
    """Returns seconds by name; "other" is the rest (augmenting, packing, writing)."""
    all_s = time.perf_counter() - self._start_s
    return {**self._spent_s, "other": all_s - sum(self._spent_s.values())}


@functools.lru_cache(maxsize=16)
def _loaded(tokenizer: TokenizerFile) -> Fitted:
  """Returns the fitted tokenizer, loaded once per process."""
  fitted = tokenizer.settings.load(tokenizer.folder)
  assert fitted.spec == tokenizer.spec, f"{tokenizer.folder} was changed during prepare"
  return fitted


def _records(shard: Shard, quarantined: list, noted: list, clock: _Clock) -> Iterator[Record]:
  """Yields the valid records of a shard, with their variants in train."""
  variants = shard.corpus.variants if shard.split == "train" else 1
  for record in _served(shard, quarantined, clock):
    try:
      check(record, shard.corpus)
    except RecordError as error:
      quarantined.append({"id": record.id, "reason": str(error)})
      continue
    noted += [note for utterance in record.utterances.values() for note in utterance.notes]
    record = at_working_rate(record)
    for number in range(1, variants + 1):
      yield augment.variant(record, number, shard.corpus.roles[0])


def _served(shard: Shard, quarantined: list, clock: _Clock) -> Iterator[Record]:
  """Yields the records of a shard from the corpus; continues after one that raises RecordError."""
  number = shard.start
  while number < shard.stop:
    source = records.read(shard.corpus, shard.split, number, shard.stop)
    try:
      while number < shard.stop:
        with clock.charge("source"):
          record = next(source, None)
        assert record, f"{shard.corpus.served_by} has fewer records than it counts"
        yield record
        number += 1
    except RecordError as error:
      id = f"{shard.corpus.name}/{shard.split}/{number:06}"
      quarantined.append({"id": id, "reason": str(error)})
      number += 1


def at_working_rate(record: Record) -> Record:
  """Returns the record with every wave at waveform.RATE_HZ."""
  utterances = dict(record.utterances)
  for role, utterance in utterances.items():
    if utterance.wave_S is not None and utterance.rate_hz != waveform.RATE_HZ:
      wave_S = waveform.resample(utterance.wave_S, utterance.rate_hz, waveform.RATE_HZ)
      utterances[role] = dataclasses.replace(utterance, wave_S=wave_S, rate_hz=waveform.RATE_HZ)
  return dataclasses.replace(record, utterances=utterances)


def _batches(records: Iterable[Record]) -> Iterator[list[Record]]:
  """Yields lists of BATCH records, or fewer that have BATCH_S seconds, to encode together."""
  batch, seconds = [], 0.0
  for record in records:
    batch.append(record)
    waves = (u for u in record.utterances.values() if u.wave_S is not None)
    seconds += sum(len(utterance.wave_S) / utterance.rate_hz for utterance in waves)
    if len(batch) == BATCH or seconds >= BATCH_S:
      yield batch
      batch, seconds = [], 0.0
  if batch:
    yield batch


def _streams(
  together: Sequence[Record], shard: Shard, tokenizers: Sequence[Fitted], clock: _Clock
) -> list[dict[tuple[str, str], np.ndarray | RecordError]]:
  """Returns the ids of each record, or their fault, by role and stream."""
  streams = [{} for _ in together]
  for tokenizer in tokenizers:
    name, modality = tokenizer.spec.name, tokenizer.spec.modality
    places, utterances = [], []
    for own, record in zip(streams, together, strict=True):
      for role in shard.corpus.roles:
        utterance = record.utterances.get(role)
        if utterance is not None and _has(utterance, modality):
          places.append((own, role))
          utterances.append(utterance)
    with clock.charge(name):
      encoded = base.encode_batch(tokenizer, utterances)
    for (own, role), ids in zip(places, encoded, strict=True):
      own[role, name] = ids
  return streams


def _has(utterance: Utterance, modality: Modality) -> bool:
  """Returns whether an utterance has what a tokenizer encodes."""
  return bool(utterance.text.strip()) if modality == "text" else utterance.wave_S is not None


def _entry(
  record: Record,
  shard: Shard,
  tokenizers: Sequence[Fitted],
  encoded: Mapping[tuple[str, str], np.ndarray | RecordError],
) -> cache.Entry:
  """Returns the cache entry of a record; raises RecordError if one of its streams has a fault."""
  utterances = {}
  for role in shard.corpus.roles:
    if role not in record.utterances:
      continue
    utterance, streams = record.utterances[role], {}
    for tokenizer in tokenizers:
      name = tokenizer.spec.name
      if (role, name) not in encoded:
        continue
      ids = encoded[role, name]
      if isinstance(ids, RecordError):
        raise ids
      if not len(ids):
        raise RecordError(
          f"{record.id} ({role}): empty {name}: its tokenizer gives no ids for "
          f"{utterance.text!r}. Leave it out."
        )
      streams[name] = ids
    ends = _word_ends(utterance, streams, tokenizers)
    keep_wave = shard.clips or shard.split != "train"
    utterances[role] = _entry_utterance(utterance, streams, ends, keep_wave)
  return cache.Entry(record.id, utterances)


def _word_ends(
  utterance: Utterance, streams: Mapping[str, np.ndarray], tokenizers: Sequence[Fitted]
) -> dict[str, list[int]]:
  """Returns the word ends of the streams that can be cut between words."""
  word_ends = {}
  for tokenizer in tokenizers if utterance.words else ():
    spec, ends = tokenizer.spec, None
    if spec.name in streams and spec.modality == "text":
      ids = streams[spec.name].tolist()
      if hasattr(tokenizer, "ends"):
        cuts = words.cuts_in_text(utterance)
        ends = None if cuts is None else [*tokenizer.ends(utterance, cuts[:-1]), len(ids)]
      else:
        ends = words.ends_in_text(utterance, ids, tokenizer.encode_text)
    elif spec.name in streams and spec.rate_hz is not None:
      ends = words.ends_in_frames(utterance.words, len(streams[spec.name]), spec.rate_hz)
    if ends is not None:
      word_ends[spec.name] = ends
  return word_ends


def _entry_utterance(
  utterance: Utterance,
  streams: Mapping[str, np.ndarray],
  word_ends: Mapping[str, list[int]],
  keep_wave: bool,
) -> cache.EntryUtterance:
  timed = [(word.text, word.start_s, word.end_s, word.phonemes) for word in utterance.words]
  wave_S, rate_hz = utterance.wave_S, utterance.rate_hz
  return cache.EntryUtterance(
    utterance.language,
    utterance.speaker,
    utterance.text,
    0.0 if wave_S is None else len(wave_S) / rate_hz,
    streams,
    waveform.to_flac(wave_S, rate_hz) if keep_wave and wave_S is not None else None,
    msgpack.packb(timed) if timed else b"",
    msgpack.packb(word_ends) if word_ends else b"",
  )


def _counted(entries: Sequence[_Written], shard: Shard) -> dict[str, Any]:
  """Returns the counts for the sidecar of a shard (`cache.sidecar`)."""
  roles = shard.corpus.roles
  seconds = {role: [entry.seconds.get(role, 0.0) for entry in entries] for role in roles}
  lengths, maxima = {}, {}
  for role in roles:
    for spec in (tokenizer.spec for tokenizer in shard.tokenizers):
      address = f"{role}.{spec.name}"
      ids_of_entries = [entry.streams.get(address) for entry in entries]
      lengths[address] = [-1 if ids is None else len(ids) for ids in ids_of_entries]
      ids_TQ = [ids.reshape(-1, spec.codebooks) for ids in ids_of_entries if ids is not None]
      highest_Q = np.max([ids.max(axis=0) for ids in ids_TQ], axis=0) if ids_TQ else []
      maxima[address] = [int(id) for id in highest_Q]
    if shard.clips:
      samples = [round(length_s * waveform.RATE_HZ) or -1 for length_s in seconds[role]]
      lengths[f"{role}.{WAVE}"], maxima[f"{role}.{WAVE}"] = samples, []
  return {
    "records": len(entries),
    "seconds": {role: sum(seconds[role]) for role in roles},
    "lengths": lengths,
    "maxima": maxima,
    "languages": {role: [entry.languages.get(role, "") for entry in entries] for role in roles},
  }
