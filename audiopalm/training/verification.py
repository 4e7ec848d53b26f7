"""Reads a checkpoint back after it was written, and compares it with what was saved.

Its files are read once more by TensorStore, chunk by chunk and without a device, so that a check
takes no memory of the model's and can run beside the steps. Every array must be there with its
shape and type. Sums over all bits are compared too: of all arrays up to SAMPLE_BYTES, in a larger
state of as many as make up so much, in an order that follows from the step, so that each is read at
one checkpoint or another.
"""

import contextlib
import dataclasses
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore

from audiopalm.parts import runs
from audiopalm.training import bits, checkpoint

SAMPLE_BYTES = 2**30  # by each process
SHOWN = 3  # names in a text


@dataclasses.dataclass(frozen=True)
class Saved:
  """What was given to save: all that meta says, and {item: {array: "float32 (4, 256)"}}."""

  fields: Mapping[str, Any]
  shapes: Mapping[str, Mapping[str, str]]


@dataclasses.dataclass(frozen=True)
class _Array:
  """An array of a checkpoint: its path in the tree of its item, and its name in the store."""

  item: str
  path: str
  name: str
  bytes: int


def fault(folder: Path, saved: Saved, step: int, process: int = 0, processes: int = 1) -> str:
  """Returns in what way the checkpoint in `folder` is not what was saved; '' if none was found.

  Of several processes each reads its share of the arrays.
  """
  try:
    # Through JSON, as the saved one went: tuples are lists there.
    if runs.fields(folder) != json.loads(json.dumps(saved.fields)):
      return "meta is not what was saved"
    arrays_of_items = []
    for item, expected in saved.shapes.items():
      arrays = _metadata(folder / item)
      wrong = sorted(
        name
        for name in expected.keys() | arrays.keys()
        if expected.get(name) != (checkpoint.shape_of(arrays[name]) if name in arrays else None)
      )
      if wrong:
        return f"{_names(item, wrong)} not there, or of another shape or type"
      arrays_of_items += [
        _Array(item, path, array.name, array.dtype.itemsize * math.prod(array.shape))
        for path, array in arrays.items()
      ]
    share = sampled(arrays_of_items, step, SAMPLE_BYTES * processes)[process::processes]
    wrong = [
      f"{array.item}/{array.path}"
      for array in share
      if _sum(folder / array.item, array.name) != saved.fields["sums"][array.item][array.path]
    ]
    return f"{', '.join(wrong[:SHOWN])}: not the bits that were saved" if wrong else ""
  except MemoryError:
    raise
  except Exception as error:  # damaged files show up as any kind of error of their readers
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"


def sampled(arrays: Sequence[_Array], step: int, most_bytes: int) -> list[_Array]:
  """Returns the arrays, or of more than `most_bytes` some of them: at least one, drawn by step."""
  if sum(array.bytes for array in arrays) <= most_bytes:
    return list(arrays)
  drawn = [arrays[number] for number in np.random.default_rng(step).permutation(len(arrays))]
  ends = np.cumsum([array.bytes for array in drawn])
  return drawn[: max(1, int(np.searchsorted(ends, most_bytes, side="right")))]


def _names(item: str, names: Sequence[str]) -> str:
  more = f" and {len(names) - SHOWN} others" if len(names) > SHOWN else ""
  return ", ".join(f"{item}/{name}" for name in names[:SHOWN]) + more


def _metadata(folder: Path) -> dict[str, Any]:
  """Returns {path: shape, type and name in the store} of the arrays of an item, each opened."""
  with contextlib.closing(ocp.StandardCheckpointHandler()) as handler:
    tree = handler.metadata(checkpoint.LiteralPath(str(folder))).tree
  leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
  return {bits.name_of(path): leaf for path, leaf in leaves}


def _sum(folder: Path, name: str) -> int:
  """Returns the number of an array (`bits.sums`), read from its files."""
  base = {"driver": "file", "path": f"{folder}/"}
  kvstore = {"driver": "ocdbt", "base": base, "path": f"{name}/"}
  store = tensorstore.open({"driver": "zarr", "kvstore": kvstore}, open=True, read=True).result()
  total = 0
  chunk = store.chunk_layout.read_chunk.shape or store.shape  # a scalar has no shape of chunks
  for origin, part in _chunks(store.shape, chunk):
    total += bits.part_sum(store[part].read().result(), origin, store.shape)
  return total % 2**32


def _chunks(
  shape: Sequence[int], chunk: Sequence[int]
) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
  """Yields (origin, slices) of the parts of an array that lie in one piece of a file each."""
  starts = (range(0, size, step) for size, step in zip(shape, chunk, strict=True))
  for origin in itertools.product(*starts):
    bounds = zip(origin, chunk, shape, strict=True)
    yield origin, tuple(slice(start, min(start + step, size)) for start, step, size in bounds)
