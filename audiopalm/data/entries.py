"""Reads a streams cache: any entry by its number, all lengths without one entry."""

import bisect
import itertools
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python import array_record_module

from audiopalm.data import files, streams
from audiopalm.errors import DataError


class Entries:
  """The entries of one split, in order: `entries[7]`, `len(entries)`, iteration.

  `lengths` maps each address to int32 frames by record (-1: no such stream), `languages` each role
  to codes by record, `maxima` each address to the highest id of each codebook; `seconds` each role
  to a sum; `quarantined` lists {id, reason}. Files are opened at first use, once per process, and
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

  def __len__(self) -> int:
    return self._starts[-1]

  def __iter__(self) -> Iterator[streams.Entry]:
    return (self[number] for number in range(len(self)))

  def __getitem__(self, number: int) -> streams.Entry:
    if not 0 <= number < len(self):
      raise IndexError(f"entry {number} of {len(self)}")
    shard = bisect.bisect_right(self._starts, number) - 1
    data = self._reader(shard).read([int(number) - self._starts[shard]])
    return streams.unpack(data[0])

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
  paths = [streams.shard_path(folder, split, number, shards) for number in range(shards)]
  sidecars = [streams.sidecar(path) for path in paths]
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
