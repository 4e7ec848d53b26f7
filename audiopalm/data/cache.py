"""The streams cache: every utterance of a corpus as ids, tokenized once and shared by all tasks.

    STREAMS/synthetic-3f…/              one corpus under one set of tokenizers (`folder_of`)
      cache.json                        what it was made from, and how many shards each split has
      train-00003-of-00016.arrayrecord  one msgpack `Entry` a record
      train-00003-of-00016.json         counts, lengths and what was left out; written last

A shard is finished when its JSON is there and fits it; a half-written one never has its final name.
`streams` writes them; this file reads them.
"""

import bisect
import dataclasses
import hashlib
import itertools
import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from array_record.python import array_record_module

from audiopalm.data import files
from audiopalm.errors import DataError
from audiopalm.types import StreamSpec, Word

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


def folder_of(streams_dir: Path, corpus: Any, specs: Mapping[str, StreamSpec]) -> Path:
  """Returns where the streams of a corpus lie under these tokenizers and no others."""
  prints = {name: spec.fingerprint for name, spec in specs.items()}
  text = json.dumps([FORMAT, corpus.fingerprint, corpus.variants, prints], sort_keys=True)
  return Path(streams_dir) / f"{corpus.name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def shard_path(folder: Path, split: str, number: int, shards: int) -> Path:
  return folder / f"{split}-{number:05}-of-{shards:05}.arrayrecord"


def sidecar(path: Path) -> dict[str, Any] | None:
  """Returns what the JSON beside a shard says, None unless the shard is finished.

  records; bytes (size of the shard); quarantined [{id, reason}]; seconds {role}; maxima {address:
  [per codebook]}; lengths {address: [frames of each record, -1 where it has no such stream]};
  languages {role: [code of each record, "" where it has no such role]}.
  """
  try:
    found = files.read_json(path.with_suffix(".json"))
    whole = found["format"] == FORMAT and path.stat().st_size == found["bytes"]
  except (DataError, OSError, KeyError, TypeError):
    return None  # absent or damaged: the shard is made again
  return found if whole else None


class Entries:
  """The entries of one split, in order: `entries[7]`, `len(entries)`, iteration.

  `lengths` maps each address to int32 frames by record (-1: no such stream), `languages` each role
  to codes by record ("": no such role), `maxima` each address to the highest id of each codebook;
  `seconds` each role to a sum; `quarantined` lists {id, reason}. Files are opened at first use,
  once per process, and read by any number of threads.
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

  def __len__(self) -> int:
    return self._starts[-1]

  def __iter__(self) -> Iterator[Entry]:
    return (self[number] for number in range(len(self)))

  def __getitem__(self, number: int) -> Entry:
    if not 0 <= number < len(self):
      raise IndexError(f"entry {number} of {len(self)}")
    shard = bisect.bisect_right(self._starts, number) - 1
    data = self._reader(shard).read([int(number) - self._starts[shard]])
    return unpack(data[0])

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
          self._readers[shard] = array_record_module.ArrayRecordReader(
            str(self._paths[shard]),
            options="readahead_buffer_size:0",
            file_reader_buffer_size=32768,
          )
    return self._readers[shard]


def open_split(folder: Path, split: str) -> Entries:
  """Returns the entries of a split; DataError naming the first shard that is not finished."""
  shards = files.read_json(folder / "cache.json")["shards"][split]
  paths = [shard_path(folder, split, number, shards) for number in range(shards)]
  sidecars = [sidecar(path) for path in paths]
  for path, side in zip(paths, sidecars, strict=True):
    if side is None:
      raise DataError(
        f"{path}: missing or not finished. Run `audiopalm prepare` again; what is finished is kept."
      )
  return Entries(paths, sidecars)


def _joined(sidecars: list[Mapping[str, Any]], field: str, dtype: Any) -> dict[str, np.ndarray]:
  names = sidecars[0][field] if sidecars else ()
  return {
    name: np.array(list(itertools.chain.from_iterable(s[field][name] for s in sidecars)), dtype)
    for name in names
  }


def _highest(sidecars: list[Mapping[str, Any]], address: str) -> tuple[int, ...]:
  found = [side["maxima"][address] for side in sidecars if side["maxima"][address]]
  return tuple(int(value) for value in np.max(found, axis=0)) if found else ()
