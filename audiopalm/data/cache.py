"""The streams cache: every utterance of a corpus as ids, tokenized once and shared by all tasks.

    STREAMS/synthetic-3f…/              one corpus under one set of tokenizers (`folder_of`)
      cache.json                        what it was made from, and how many shards each split has
      train-00003-of-00016.arrayrecord  one msgpack `Entry` a record
      train-00003-of-00016.json         counts, lengths and what was left out; written last

A shard is finished when its JSON is there and fits it; a half-written one never has its final name.
`streams` writes them; this file reads them. ArrayRecord hashes what it holds, so that a byte which
changed is an error when its record is read, and no wrong token.
"""

import bisect
import contextlib
import dataclasses
import errno
import functools
import hashlib
import itertools
import json
import os
import resource
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from array_record.python import array_record_module

from audiopalm.data import files
from audiopalm.errors import DataError
from audiopalm.types import StreamSpec, Word

FORMAT = 2
THREADS = 32  # that look at shards: most of the time they wait for the filesystem
# The index of a shard lies in its last two blocks; all of it is hardly ever larger.
FOOTER_BYTES = 2 * 2**16
MOST_OPEN = 10_240  # files, where the system names no limit of its own (macOS allows so many)


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
  packed_word_ends: bytes | None = b""  # None in shards of versions that kept none

  @property
  def words(self) -> tuple[Word, ...]:
    """When each word is spoken. Unpacked when asked for: most layouts never do."""
    return tuple(Word(*word) for word in msgpack.unpackb(self.packed_words or b"\x90"))

  @property
  def word_ends(self) -> dict[str, list[int]]:
    """How many frames of a stream come before the end of each word, of streams that can be cut
    there (`data.words`)."""
    return msgpack.unpackb(self.packed_word_ends or b"\x80")


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

  @property
  def seconds(self) -> dict[str, float]:
    """How long each role speaks: 0 where it has words alone."""
    return {role: utterance.seconds for role, utterance in self.utterances.items()}


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
      said.packed_words, said.packed_word_ends,
    )  # fmt: skip
  return msgpack.packb((entry.id, utterances))


def unpack(data: bytes) -> Entry:
  """Returns the entry `pack` wrote."""
  id, packed = msgpack.unpackb(data)
  utterances = {}
  # The ends of words came later than FORMAT 2 and changed nothing before them: older shards lack
  # them, and only layouts that cut between words need another streams cache.
  for role, (language, speaker, text, seconds, streams, wave_flac, words, *ends) in packed.items():
    arrays = {}
    for name, (dtype, codebooks, ids) in streams.items():
      array = np.frombuffer(ids, dtype).astype(np.int32)
      arrays[name] = array.reshape(-1, codebooks) if codebooks else array
    utterances[role] = EntryUtterance(
      language, speaker, text, seconds, arrays, wave_flac, words, *(ends or [None])
    )
  return Entry(id, utterances)


def folder_of(
  streams_dir: Path, corpus: Any, specs: Mapping[str, StreamSpec], waves: bool = False
) -> Path:
  """Returns where the streams of a corpus lie under these tokenizers and no others, with `waves`
  those of training splits too."""
  prints = {name: spec.fingerprint for name, spec in specs.items()}
  made_from = [FORMAT, corpus.fingerprint, corpus.variants, prints, *(["waves"] if waves else [])]
  text = json.dumps(made_from, sort_keys=True)
  return Path(streams_dir) / f"{corpus.name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def shard_path(folder: Path, split: str, number: int, shards: int) -> Path:
  return folder / f"{split}-{number:05}-of-{shards:05}.arrayrecord"


def write_sidecar(path: Path, counts: Mapping[str, Any]) -> None:
  """Writes the JSON beside a shard that is in its place, which is what makes it finished."""
  side = {"format": FORMAT, "shard": _name(path), "bytes": path.stat().st_size, **counts}
  files.write_json(path.with_suffix(".json"), side | {"crc32": _checksum(side)})


def sidecar(path: Path) -> dict[str, Any]:
  """Returns what the JSON beside a shard says, after looking at both; reads none of the records.

  records; bytes (size of the shard); quarantined [{id, reason}]; noted {kind of note: {records,
  first}}; seconds {role}; maxima {address: [per codebook]}; lengths {address: [frames of each
  record, -1 where it has no such stream]}; languages {role: [code of each record, "" where it has
  no such role]}. DataError unless the shard is whole, and its own.
  """
  beside = path.with_suffix(".json")
  if not path.is_file():
    raise _wrong(path, "a shard of the streams cache", "it is missing")
  if not beside.is_file():
    raise _wrong(path, f"{beside.name} beside it", "it is not finished")
  side = files.read_json(beside)
  if not isinstance(side, dict):
    raise _wrong(beside, "a JSON object", "it holds something else")
  for field, expected in (("format", FORMAT), ("shard", _name(path))):
    if side.get(field) != expected:
      raise _wrong(beside, f"{field} {expected!r}", f"it says {side.get(field)!r}")
  if side.pop("crc32", None) != _checksum(side):
    raise _wrong(beside, "what its checksum was taken of", "it was changed since")
  if path.stat().st_size != side["bytes"]:
    raise _wrong(path, f"{side['bytes']} bytes", f"it has {path.stat().st_size}")
  records = f"{side['records']} records"
  try:
    with contextlib.closing(_opened(path)) as reader:
      found = reader.num_records()
  except RuntimeError as error:
    raise _wrong(path, f"ArrayRecord of {records}", f"it cannot be opened: {error}") from error
  if found != side["records"]:
    raise _wrong(path, records, f"it holds {found}")
  return side


def finished(paths: Sequence[Path]) -> list[bool]:
  """Returns which shards are finished, whole and their own: all others are to be made."""
  return _each(_is_finished, paths)


class Entries:
  """The entries of one split, in order: `entries[7]`, `len(entries)`, iteration.

  `lengths` maps each address to int32 frames by record (-1: no such stream), `languages` each role
  to codes by record ("": no such role), `maxima` each address to the highest id of each codebook;
  `seconds` each role to a sum; `quarantined` lists {id, reason}, `noted` maps kinds of
  notes on what was kept to {records, first}. Files are opened at first use, once per process, and
  read by any number of threads.
  """

  def __init__(self, paths: list[Path], sidecars: list[Mapping[str, Any]]):
    self._paths = paths
    self._starts = [0, *itertools.accumulate(side["records"] for side in sidecars)]
    self._forget_files()
    self.lengths = _joined(sidecars, "lengths", np.int32)
    self.languages = _joined(sidecars, "languages", np.str_)
    self.maxima = {name: _highest(sidecars, name) for name in self.lengths}
    self.seconds = {
      role: sum(side["seconds"][role] for side in sidecars) for role in self.languages
    }
    self.quarantined = [fault for side in sidecars for fault in side["quarantined"]]
    self.noted: dict[str, dict[str, Any]] = {}
    for kind, some in (item for side in sidecars for item in side.get("noted", {}).items()):
      one = self.noted.setdefault(kind, some | {"records": 0})
      one["records"] += some["records"]

  def __len__(self) -> int:
    return self._starts[-1]

  def __iter__(self) -> Iterator[Entry]:
    return (self[number] for number in range(len(self)))

  def __getitem__(self, number: int) -> Entry:
    if not 0 <= number < len(self):
      raise IndexError(f"entry {number} of {len(self)}")
    shard = bisect.bisect_right(self._starts, number) - 1
    place = int(number) - self._starts[shard]
    try:
      (data,) = self._reader(shard).read([place])
    except RuntimeError as error:
      raise DataError(self._unreadable(self._paths[shard], place, error)) from error
    return unpack(data)

  def __getstate__(self):
    return {k: v for k, v in self.__dict__.items() if k not in ("_readers", "_lock")}

  def __setstate__(self, state):
    self.__dict__.update(state)
    self._forget_files()

  def _forget_files(self) -> None:
    self._readers: list[Any] = [None] * len(self._paths)
    self._lock = threading.Lock()

  def _reader(self, shard: int) -> Any:
    if self._readers[shard] is None:
      with self._lock:
        if self._readers[shard] is None:
          _allow_open_files()
          self._readers[shard] = _opened(self._paths[shard])
    return self._readers[shard]

  def _unreadable(self, path: Path, place: int, error: RuntimeError) -> str:
    if os.strerror(errno.EMFILE) in str(error):
      most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
      return (
        f"{path} cannot be opened: this process may have {most} files open, and reads "
        f"{len(self._paths)} shards of this split alone. Raise the limit: ulimit -n."
      )
    return (
      f"{path}: record {place} cannot be read ({error}). Delete that file and run `audiopalm "
      "prepare` again: it makes what is missing, and nothing else."
    )


def open_split(folder: Path, split: str) -> Entries:
  """Returns the entries of a split, after looking at all of its shards: see `sidecar`."""
  shards = recorded(folder, "shards", split)
  paths = [shard_path(folder, split, number, shards) for number in range(shards)]
  return Entries(paths, _each(sidecar, paths))


def recorded(folder: Path, what: str, split: str) -> int:
  """Returns how many "shards" or "records" a split has, as cache.json says.

  Records are those of the corpus: also what was left out, and each once however many variants.
  """
  counts = files.read_json(folder / "cache.json")
  try:
    return int(counts[what][split])
  except (KeyError, TypeError, ValueError) as error:
    raise DataError(
      f"{folder / 'cache.json'}: expected the number of {what} of split {split!r}, it does not say "
      "that. Run `audiopalm prepare` again: it writes that file anew."
    ) from error


def _wrong(path: Path, expected: str, came: str) -> DataError:
  return DataError(
    f"{path}: expected {expected}, but {came}. Run `audiopalm prepare` again: it makes what is "
    "missing or damaged, and nothing else."
  )


def _name(path: Path) -> str:
  """Returns what a shard is called wherever the cache lies; the folder's hash tells what is in."""
  return f"{path.parent.name}/{path.stem}"


def _checksum(side: Mapping[str, Any]) -> int:
  return zlib.crc32(json.dumps(side, sort_keys=True).encode())


def _is_finished(path: Path) -> bool:
  try:
    sidecar(path)
  except DataError:
    return False
  return True


def _each(function: Callable[[Path], Any], paths: Sequence[Path]) -> list[Any]:
  with futures.ThreadPoolExecutor(THREADS) as pool:
    return list(pool.map(function, paths))


def _opened(path: Path) -> Any:
  """Returns a reader of a shard; RuntimeError if it cannot be opened."""
  reader = array_record_module.ArrayRecordReader(
    str(path),
    options=f"readahead_buffer_size:0,footer_prefetch_bytes:{FOOTER_BYTES}",
    file_reader_buffer_size=32768,
  )
  if not reader.ok():
    reader.close()  # which says why
    raise RuntimeError("no reason is given")
  return reader


@functools.cache
def _allow_open_files() -> None:
  """Raises the soft limit, mostly 1,024: every shard that was read stays open."""
  soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
  most = MOST_OPEN if hard == resource.RLIM_INFINITY else hard
  if soft != resource.RLIM_INFINITY and soft < most:
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _joined(sidecars: list[Mapping[str, Any]], field: str, dtype: Any) -> dict[str, np.ndarray]:
  names = sidecars[0][field] if sidecars else ()
  return {
    name: np.array(list(itertools.chain.from_iterable(s[field][name] for s in sidecars)), dtype)
    for name in names
  }


def _highest(sidecars: list[Mapping[str, Any]], address: str) -> tuple[int, ...]:
  found = [side["maxima"][address] for side in sidecars if side["maxima"][address]]
  return tuple(int(value) for value in np.max(found, axis=0)) if found else ()
