"""The tensors of a Hugging Face folder by name, read a part at a time.

model.safetensors                    all of them, or
model.safetensors.index.json         {"weight_map": {name of a tensor: one of the files beside it}}
"""

import functools
import json
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  with it numpy knows "bfloat16", by which safetensors asks for it
import numpy as np
import safetensors

from audiopalm.errors import CheckpointError

ONE, INDEX = "model.safetensors", "model.safetensors.index.json"
# All values of these types are float32 values.
EXACT = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


class Tensors:
  """What is in the files of a folder; nothing of it is read before it is asked for."""

  def __init__(self, folder: Path):
    files = {path.name: _opened(path) for path in _paths(folder)}
    self._slices = {name: file.get_slice(name) for file in files.values() for name in file.keys()}

  @functools.cached_property
  def stored(self) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The type and the shape of each tensor by name: ("bfloat16", (131, 32))."""
    return {
      name: (EXACT.get(found.get_dtype(), found.get_dtype()), tuple(found.get_shape()))
      for name, found in self._slices.items()
    }

  def read(self, name: str, part: tuple[slice, ...]) -> np.ndarray:
    """Returns a part of a tensor in the type in which it is stored."""
    return self._slices[name][part]


def _paths(folder: Path) -> list[Path]:
  if (folder / ONE).is_file():
    return [folder / ONE]
  if not (folder / INDEX).is_file():
    held = sorted(path.name for path in folder.glob("*.bin"))[:1] or ["no weights"]
    raise CheckpointError(
      f"{folder} has neither {ONE} nor {INDEX} (it holds {held[0]}). Copy it again, or save the "
      "model again with transformers, which writes them."
    )
  try:
    names = sorted(
      set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    )
  except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
    raise _damaged(folder / INDEX, error) from error
  return [folder / name for name in names]


def _opened(path: Path) -> Any:
  try:
    return safetensors.safe_open(path, "numpy")
  except (OSError, safetensors.SafetensorError) as error:
    raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> CheckpointError:
  return CheckpointError(f"{path} is missing or damaged ({error}). Copy the folder again.")
