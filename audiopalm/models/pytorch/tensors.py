"""The tensors in the files of a Hugging Face folder, read on demand.

    model.safetensors, or model.safetensors.index.json and the files it names
    pytorch_model.bin, or pytorch_model.bin.index.json and the files it names

The first that exists is read. Tensors of pytorch_model.bin are read without PyTorch (pickled.py).
"""

import functools
import json
from collections.abc import Callable
from pathlib import Path

import ml_dtypes  # noqa: F401  registers "bfloat16" with numpy, which safetensors asks for
import numpy as np
import safetensors

from audiopalm.errors import CheckpointError
from audiopalm.models.pytorch import pickled

SINGLE_FILE, PICKLED_FILE = "model.safetensors", "pytorch_model.bin"
INDEX = ".index.json"  # of several files: {"weight_map": {name of a tensor: name of its file}}
# All values of these types are exact in float32.
DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
OTHERS = (".bin", ".h5", ".msgpack", ".onnx", ".pt", ".pth", ".safetensors")  # files of weights

Part = tuple[slice, ...]


class Tensors:
  """The tensors of a folder by name; CheckpointError for files that are missing or damaged."""

  def __init__(self, folder: Path):
    self._shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
    self._readers: dict[str, Callable[[Part], np.ndarray]] = {}
    for path in _paths(folder):
      if path.suffix == ".safetensors":
        self._add_safetensors(path)
      else:
        self._add_pickled(path)

  @property
  def stored(self) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The dtype and shape of each tensor by name: ("bfloat16", (131, 32))."""
    return self._shapes

  def read(self, name: str, part: Part = (...,)) -> np.ndarray:
    """Returns a part of a tensor, by default all of it, in its stored dtype."""
    return self._readers[name](part)

  def _add_safetensors(self, path: Path) -> None:
    try:
      file = safetensors.safe_open(path, "numpy")
      for name in file.keys():
        tensor = file.get_slice(name)
        dtype = tensor.get_dtype()
        self._shapes[name] = DTYPES.get(dtype, dtype), tuple(tensor.get_shape())
        self._readers[name] = tensor.__getitem__
    except (OSError, safetensors.SafetensorError) as error:
      raise _damaged(path, error) from error

  def _add_pickled(self, path: Path) -> None:
    try:
      tensors = pickled.tensors(path)
    except (OSError, pickled.Unreadable) as error:
      raise _damaged(path, error) from error
    for name, tensor in tensors.items():
      self._shapes[name] = tensor.dtype, tensor.shape
      self._readers[name] = functools.partial(_pickled_part, tensor)


def _pickled_part(tensor: pickled.StoredTensor, part: Part) -> np.ndarray:
  try:
    return tensor.read()[part]
  except (OSError, pickled.Unreadable) as error:
    raise _damaged(tensor.path, error) from error


def _paths(folder: Path) -> list[Path]:
  for name in (SINGLE_FILE, PICKLED_FILE):
    if (folder / name).is_file():
      return [folder / name]
    if (folder / (name + INDEX)).is_file():
      return [folder / file for file in _files(folder / (name + INDEX))]
  weights = sorted(path.name for path in folder.glob("*.*") if path.suffix in OTHERS)[:1]
  raise CheckpointError(
    f"{folder} has neither {SINGLE_FILE} nor {PICKLED_FILE}, whole or in parts with {INDEX[1:]} "
    f"(it holds {weights[0] if weights else 'no weights'}). Copy it again, or save the model again "
    "with transformers, which writes them."
  )


def _files(index: Path) -> list[str]:
  try:
    names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    if not all(isinstance(name, str) for name in names):
      raise TypeError(f"weight_map names the file {names[0]}, expected text")
    return names
  except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
    raise _damaged(index, error) from error


def _damaged(path: Path, error: Exception) -> CheckpointError:
  return CheckpointError(f"{path} is missing or damaged ({error}). Copy the folder again.")
