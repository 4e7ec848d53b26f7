"""Reads the tensors that `torch.save` wrote, without PyTorch and without running what is pickled.

The file is a zip archive: NAME/data.pkl is a pickled dict of tensors, whose values lie uncompressed
in NAME/data/KEY. Of all that a pickle may call only the functions below are known; they note where
a tensor lies, and any other name ends the reading.
"""

import collections
import dataclasses
import io
import pickle
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  registers "bfloat16" with numpy
import numpy as np

DTYPES = {
  "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
  "DoubleStorage": "float64", "LongStorage": "int64", "IntStorage": "int32", "BoolStorage": "bool",
  "ByteStorage": "uint8",
}  # fmt: skip
# What unpickling raises for bytes that are no pickle.
BROKEN = (AttributeError, EOFError, IndexError, KeyError, OverflowError, TypeError, ValueError)
# What zipfile raises for a damaged archive; RuntimeError is of one that looks encrypted, and
# NotImplementedError is a RuntimeError.
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError, ValueError)


class Unreadable(Exception):
  """A file that is no archive of tensors, or one that asks for more than that."""


@dataclasses.dataclass(frozen=True)
class StoredTensor:
  """Where the values of a tensor lie: `offset` and `strides` count values of the entry `key`."""

  path: Path
  key: str
  dtype: str
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]

  def read(self) -> np.ndarray:
    """Returns the values; Unreadable where the entry is missing or too short."""
    try:
      with zipfile.ZipFile(self.path) as archive:
        values = np.frombuffer(archive.read(self.key), np.dtype(self.dtype))
    except DAMAGED as error:
      raise Unreadable(str(error)) from error
    reach = sum((size - 1) * step for size, step in zip(self.shape, self.strides, strict=True))
    if min((*self.shape, *self.strides, self.offset, 0)) < 0 or (
      0 not in self.shape and self.offset + reach >= len(values)
    ):
      raise Unreadable(f"{self.key} has {len(values)} values, too few for a tensor {self.shape}")
    steps = [step * values.itemsize for step in self.strides]
    return np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, steps)


def tensors(path: Path) -> dict[str, StoredTensor]:
  """Returns the tensors of a file by name; Unreadable for any other content, which is not run."""
  try:
    with zipfile.ZipFile(path) as archive:
      inside = [name for name in archive.namelist() if name.endswith("/data.pkl")]
      if len(inside) != 1:
        raise Unreadable("it has no data.pkl, as torch.save writes it")
      folder = inside[0].removesuffix("data.pkl")
      content = _Unpickler(io.BytesIO(archive.read(inside[0])), path, folder).load()
  except zipfile.BadZipFile as error:
    raise Unreadable(f"{error}; PyTorch before 1.6 wrote other files") from error
  except (pickle.UnpicklingError, MemoryError, *DAMAGED, *BROKEN) as error:
    raise Unreadable(str(error)) from error
  if not isinstance(content, Mapping) or not all(map(_is_tensor, content.values())):
    raise Unreadable("it holds something else than a dict of tensors")
  return dict(content)


def _is_tensor(value: Any) -> bool:
  return isinstance(value, StoredTensor)


class _Unpickler(pickle.Unpickler):
  """Makes StoredTensors of the pickled tensors, and nothing else."""

  def __init__(self, content: io.BytesIO, path: Path, folder: str):
    super().__init__(content)
    self._path, self._folder = path, folder

  def find_class(self, module: str, name: str) -> Any:
    if (module, name) == ("collections", "OrderedDict"):
      return collections.OrderedDict
    if module == "torch" and name in DTYPES:
      return DTYPES[name]
    known = {"_rebuild_tensor_v2": self._tensor, "_rebuild_parameter": self._parameter}
    if module == "torch._utils" and name in known:
      return known[name]
    raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no tensor")

  def persistent_load(self, saved: Any) -> tuple[str, str]:
    _, dtype, key, *_ = saved
    return dtype, f"{self._folder}data/{key}"

  def _tensor(
    self,
    storage: tuple[str, str],
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    *_: object,
  ) -> StoredTensor:
    dtype, key = storage
    return StoredTensor(self._path, key, dtype, offset, tuple(shape), tuple(strides))

  def _parameter(self, tensor: StoredTensor, *_: object) -> StoredTensor:
    return tensor
