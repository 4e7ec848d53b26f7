"""Reads parts of the tensors in a Hugging Face folder by name.

model.safetensors                    all tensors, or
model.safetensors.index.json         {"weight_map": {name of a tensor: name of its file}}
"""

import functools
import json
from pathlib import Path

import ml_dtypes  # noqa: F401  registers "bfloat16" with numpy, which safetensors asks for
import numpy as np
import safetensors

from audiopalm.errors import CheckpointError

SINGLE_FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
# Every value of these types is exact in float32.
DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


class Tensors:
  """The tensors in the files of a folder, which are read on demand."""

  def __init__(self, folder: Path):
    files = {path.name: _opened(path) for path in _paths(folder)}
    self._slices = {name: file.get_slice(name) for file in files.values() for name in file.keys()}

  @functools.cached_property
  def stored(self) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The dtype and shape of each tensor by name: ("bfloat16", (131, 32))."""
    return {
      name: (DTYPES.get(tensor.get_dtype(), tensor.get_dtype()), tuple(tensor.get_shape()))
      for name, tensor in self._slices.items()
    }

  def read(self, name: str, part: tuple[slice, ...]) -> np.ndarray:
    """Returns a part of a tensor in its stored dtype."""
    return self._slices[name][part]


def _paths(folder: Path) -> list[Path]:
  if (folder / SINGLE_FILE).is_file():
    return [folder / SINGLE_FILE]
  if not (folder / INDEX).is_file():
    weights = sorted(path.name for path in folder.glob("*.bin"))[:1] or ["no weights"]
    raise CheckpointError(
      f"{folder} has neither {SINGLE_FILE} nor {INDEX} (it holds {weights[0]}). Copy it again, or "
      "save the model again with transformers, which writes them."
    )
  try:
    names = sorted(
      set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    )
  except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
    raise _damaged(folder / INDEX, error) from error
  return [folder / name for name in names]


def _opened(path: Path) -> safetensors.safe_open:
  try:
    return safetensors.safe_open(path, "numpy")
  except (OSError, safetensors.SafetensorError) as error:
    raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> CheckpointError:
  return CheckpointError(f"{path} is missing or damaged ({error}). Copy the folder again.")
