"""The streams cache: every utterance of a corpus as ids, tokenized once and shared by all tasks.

    STREAMS/synthetic-3f…/              one corpus under one set of tokenizers (`folder_of`)
      cache.json                        its corpus, tokenizers, and number of shards per split
      train-00003-of-00016.arrayrecord  one msgpack `Entry` per record
      train-00003-of-00016.json         counts, lengths and quarantined records; written last

A shard is finished if its JSON exists and matches it; an unfinished one never has its final name.
`streams` writes shards; this module reads them. ArrayRecord checks hashes, so a corrupt record
raises an error when it is read, and never gives wrong tokens.
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
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any, TypeVar

import msgpack
import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

from audiopalm.data import files
from audiopalm.errors import DataError
from audiopalm.types import CorpusSettings, StreamSpec, Word

FORMAT = 2
THREADS = 32  # that check shards; they mostly wait for the filesystem
# The last two blocks of a shard, which hold its index; it is rarely larger.
FOOTER_BYTES = 2 * 2**16
MOST_OPEN = 10_240  # files, if the hard limit is infinite (macOS allows no more)

Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True, eq=False)
class EntryUtterance:
  """An utterance as ids. `wave_flac` is None in train, unless clips are cut from recordings."""

  language: str
  speaker: str
  text: str
  seconds: float  # 0 for text only
  streams: Mapping[str, np.ndarray]  # int32 [T], or [T, Q]
  wave_flac: bytes | None = None
  packed_words: bytes = b""
  packed_word_ends: bytes | None = b""  # None in shards of older versions

  @property
  def words(self) -> tuple[Word, ...]:
    """The words with their times, unpacked on access, as most layouts do not need them."""
    return tuple(Word(*word) for word in msgpack.unpackb(self.packed_words or b"\x90"))

  @property
  def word_ends(self) -> dict[str, list[int]]:
    """{stream: number of its frames before the end of each word}, for streams that can be cut
    between words (`data.words`)."""
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
    """The seconds of speech of each role, 0 for text only."""
    return {role: utterance.seconds for role, utterance in self.utterances.items()}


def pack(entry: Entry) -> bytes:
  """Returns the entry as bytes for `unpack`: the fields of each utterance, in order."""
  utterances = {}
  for role, utterance in entry.utterances.items():
    streams = {}
    for name, ids in utterance.streams.items():
      dtype = np.min_scalar_type(int(ids.max(initial=0)))  # ids start at 0: unsigned, mostly 8 bits
      streams[name] = (dtype.str, ids.shape[1] if ids.ndim == 2 else 0, ids.astype(dtype).tobytes())
    utterances[role] = tuple((vars(utterance) | {"streams": streams}).values())
  return msgpack.packb((entry.id, utterances))


def unpack(data: bytes) -> Entry:
  """Returns the entry `pack` wrote."""
  id, packed = msgpack.unpackb(data)
  utterances = {}
  # Shards of FORMAT 2 from older versions lack the word ends; only layouts that cut between words
  # cannot use them.
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
  streams_dir: Path, corpus: CorpusSettings, specs: Mapping[str, StreamSpec], waves: bool = False
) -> Path:
  """Returns the folder of the streams of a corpus under exactly these tokenizers; `waves` is
  whether training splits have recordings too."""
  prints = {name: spec.fingerprint for name, spec in specs.items()}
  made_from = [FORMAT, corpus.fingerprint, corpus.variants, prints, *(["waves"] if waves else [])]
  text = json.dumps(made_from, sort_keys=True)
  return Path(streams_dir) / f"{corpus.name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def shard_path(folder: Path, split: str, number: int, shards: int) -> Path:
  return folder / f"{split}-{number:05}-of-{shards:05}.arrayrecord"


def write_sidecar(path: Path, counts: Mapping[str, Any]) -> None:
  """Writes the JSON beside a shard that has its final name, which marks it as finished."""
  side = {"format": FORMAT, "shard": _name(path), "bytes": path.stat().st_size, **counts}
  files.write_json(path.with_suffix(".json"), side | {"crc32": _checksum(side)})


def sidecar(path: Path) -> dict[str, Any]:
  """Returns the JSON beside a shard, after checking both; reads no records.

  records; bytes (size of the shard); quarantined [{id, reason}]; noted {kind of note: {records,
  first}}; seconds {role}; maxima {address: [per codebook]}; lengths {address: [frames of each
  record, -1 without this stream]}; languages {role: [code of each record, "" without this role]}.
  Raises DataError unless the shard is complete and the JSON belongs to it.
  """
  beside = path.with_suffix(".json")
  if not path.is_file():
    raise _wrong(path, "a shard of the streams cache", "it is missing")
  if not beside.is_file():
    raise _wrong(path, f"{beside.name} beside it", "it is not finished")
  side = files.read_json(beside)
  if not isinstance(side, dict):
    raise _wrong(beside, "a JSON object", "it is something else")
  for field, expected in (("format", FORMAT), ("shard", _name(path))):
    if side.get(field) != expected:
      raise _wrong(beside, f"{field} {expected!r}", f"it has {side.get(field)!r}")
  if side.pop("crc32", None) != _checksum(side):
    raise _wrong(beside, "content that matches its checksum", "it was changed")
  if path.stat().st_size != side["bytes"]:
    raise _wrong(path, f"{side['bytes']} bytes", f"it has {path.stat().st_size}")
  records = f"{side['records']} records"
  try:
    with contextlib.closing(_opened(path)) as reader:
      count = reader.num_records()
  except RuntimeError as error:
    raise _wrong(path, f"ArrayRecord of {records}", f"it cannot be opened: {error}") from error
  if count != side["records"]:
    raise _wrong(path, records, f"it holds {count}")
  return side


def finished(paths: Sequence[Path]) -> list[bool]:
  """Returns for each path whether its shard is finished and undamaged."""

  def is_finished(path: Path) -> bool:
    with contextlib.suppress(DataError):
      return bool(sidecar(path))
    return False

  return _each(is_finished, paths)


class Entries:
  """The entries of one split, in order: `entries[7]`, `len(entries)`, iteration.

  `lengths` maps each address to int32 frames by record (-1: no such stream), `languages` each role
  to codes by record ("": no such role), `maxima` each address to the highest id of each codebook,
  `seconds` each role to a sum, and `noted` kinds of notes on these entries to {records, first};
  `quarantined` lists {id, reason} of records left out. Files are opened on first use, once per
  process. Threads may share an object.
  """

  def __init__(self, paths: list[Path], sidecars: list[Mapping[str, Any]]):
    self._paths = paths
    self._starts = [0, *itertools.accumulate(side["records"] for side in sidecars)]
    self._reader = functools.cache(self._open)
    self.lengths = _joined(sidecars, "lengths", np.int32)
    self.languages = _joined(sidecars, "languages", np.str_)
    self.maxima = {name: _highest(sidecars, name) for name in self.lengths}
    self.seconds = {
      role: sum(side["seconds"][role] for side in sidecars) for role in self.languages
    }
    self.quarantined = [fault for side in sidecars for fault in side["quarantined"]]
    self.noted: dict[str, dict[str, Any]] = {}
    for side in sidecars:
      for kind, notes in side.get("noted", {}).items():
        self.noted.setdefault(kind, notes | {"records": 0})["records"] += notes["records"]

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
      path = self._paths[shard]
      text = (
        f"{path}: record {place} cannot be read ({error}). Delete that file and run `audiopalm "
        "prepare` again: it only writes what is missing."
      )
      if os.strerror(errno.EMFILE) in str(error):
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        text = (
          f"{path} cannot be opened: this process may open {most} files, and this split alone has "
          f"{len(self._paths)} shards. Raise the limit: ulimit -n."
        )
      raise DataError(text) from error
    return unpack(data)

  def _open(self, shard: int) -> ArrayRecordReader:
    _allow_open_files()
    return _opened(self._paths[shard])


def open_split(folder: Path, split: str) -> Entries:
  """Returns the entries of a split, after checking all of its shards (see `sidecar`)."""
  shards = recorded(folder, "shards", split)
  paths = [shard_path(folder, split, number, shards) for number in range(shards)]
  return Entries(paths, _each(sidecar, paths))


def recorded(folder: Path, what: str, split: str) -> int:
  """Returns the number of "shards" or "records" of a split, from cache.json.

  Records are those of the corpus, including those left out, not counting variants.
  """
  counts = files.read_json(folder / "cache.json")
  try:
    return int(counts[what][split])
  except (KeyError, TypeError, ValueError) as error:
    raise DataError(
      f"{folder / 'cache.json'}: expected the number of {what} of split {split!r}, but it is "
      "missing. Run `audiopalm prepare` again: it rewrites that file."
    ) from error


def _wrong(path: Path, expected: str, actual: str) -> DataError:
  return DataError(
    f"{path}: expected {expected}, but {actual}. Run `audiopalm prepare` again: it only writes "
    "what is missing or damaged."
  )


def _name(path: Path) -> str:
  """Returns the name of a shard without the cache's path: folder, with a hash of its content, and
  file."""
  return f"{path.parent.name}/{path.stem}"


def _checksum(side: Mapping[str, Any]) -> int:
  return zlib.crc32(json.dumps(side, sort_keys=True).encode())


def _each(function: Callable[[Path], Result], paths: Sequence[Path]) -> list[Result]:
  with futures.ThreadPoolExecutor(THREADS) as pool:
    return list(pool.map(function, paths))


def _opened(path: Path) -> ArrayRecordReader:
  """Returns a reader of a shard; RuntimeError if it cannot be opened."""
  reader = ArrayRecordReader(
    str(path),
    options=f"readahead_buffer_size:0,footer_prefetch_bytes:{FOOTER_BYTES}",
    file_reader_buffer_size=32768,
  )
  if not reader.ok():
    reader.close()  # raises the reason
    raise RuntimeError("no reason is given")
  return reader


@functools.cache
def _allow_open_files() -> None:
  """Raises the soft limit of open files, often 1,024: every shard that was read stays open."""
  soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
  most = MOST_OPEN if hard == resource.RLIM_INFINITY else hard
  if soft != resource.RLIM_INFINITY and soft < most:
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _joined(
  sidecars: list[Mapping[str, Any]], field: str, dtype: np.typing.DTypeLike
) -> dict[str, np.ndarray]:
  names = sidecars[0][field] if sidecars else ()
  return {
    name: np.array(list(itertools.chain.from_iterable(s[field][name] for s in sidecars)), dtype)
    for name in names
  }


def _highest(sidecars: list[Mapping[str, Any]], address: str) -> tuple[int, ...]:
  maxima = [side["maxima"][address] for side in sidecars if side["maxima"][address]]
  return tuple(np.max(maxima, axis=0).tolist()) if maxima else ()
