"""Verification of a checkpoint: reads it back and compares it with what was saved.

TensorStore reads the files chunk by chunk and without a device, so a check needs no memory for the
model and can run during the steps. Every array must be there with its shape and type. Checksums are
compared too: of all arrays up to SAMPLE_BYTES, else of a sample that depends on the step, so that
over several checkpoints every array is read.
"""

import dataclasses
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tensorstore

from audiopalm import bits, runs, stored
from audiopalm.sharding import name_of
from audiopalm.training import checkpoint

SAMPLE_BYTES = 2**30  # by each process
SHOWN = 3  # names in an error


@dataclasses.dataclass(frozen=True)
class _Array:
  """An array of a checkpoint: its item, its path in the item's tree, its name in the store."""

  item: str
  path: str
  name: str
  bytes: int


def fault(
  folder: Path,
  meta: Mapping[str, Any],
  shapes: Mapping[str, Mapping[str, str]],
  step: int,
  process: int = 0,
  processes: int = 1,
) -> str:
  """Returns how the checkpoint in `folder` differs from what was saved, '' if it does not.

  `meta` are the saved fields, `shapes` those of the saved arrays, {item: {path: "float32 (4,
  256)"}}. Each process reads its share of the arrays.
  """
  try:
    # Compare as JSON, like the saved one: tuples become lists.
    if runs.fields(folder) != json.loads(json.dumps(meta)):
      return "meta is not what was saved"
    all_arrays = []
    for item, expected in shapes.items():
      arrays = _metadata(folder / item)
      written = {name: stored.shape_of(array) for name, array in arrays.items()}
      wrong = [f"{item}/{name}" for name in bits.differing(expected, written)]
      if wrong:
        more = f" and {len(wrong) - SHOWN} others" if len(wrong) > SHOWN else ""
        return f"{', '.join(wrong[:SHOWN])}{more} not there, or of another shape or type"
      all_arrays += [
        _Array(item, path, array.name, array.dtype.itemsize * math.prod(array.shape))
        for path, array in arrays.items()
      ]
    share = sampled(all_arrays, step, SAMPLE_BYTES * processes)[process::processes]
    wrong = [
      f"{array.item}/{array.path}"
      for array in share
      if _sum(folder / array.item, array.name) != meta["sums"][array.item][array.path]
    ]
    return f"{', '.join(wrong[:SHOWN])}: not the bits that were saved" if wrong else ""
  except MemoryError:
    raise
  except Exception as error:  # readers raise many kinds of errors for damaged files
    return checkpoint.text_of(error)


def sampled(arrays: Sequence[_Array], step: int, most_bytes: int) -> list[_Array]:
  """Returns the arrays, or a sample of at most `most_bytes` (at least one), drawn by the step."""
  if sum(array.bytes for array in arrays) <= most_bytes:
    return list(arrays)
  drawn = [arrays[number] for number in np.random.default_rng(step).permutation(len(arrays))]
  ends = np.cumsum([array.bytes for array in drawn])
  return drawn[: max(1, int(np.searchsorted(ends, most_bytes, side="right")))]


def _metadata(folder: Path) -> dict[str, Any]:
  """Returns {path: shape, type and name in the store} of the arrays of an item."""
  leaves = jax.tree_util.tree_leaves_with_path(stored.described(folder))
  return {name_of(path): leaf for path, leaf in leaves}


def _sum(folder: Path, name: str) -> int:
  """Returns the checksum of an array (`bits.sums`), read from its files."""
  base = {"driver": "file", "path": f"{folder}/"}
  kvstore = {"driver": "ocdbt", "base": base, "path": f"{name}/"}
  store = tensorstore.open({"driver": "zarr", "kvstore": kvstore}, open=True, read=True).result()
  shape, total = store.shape, 0
  chunk = store.chunk_layout.read_chunk.shape or shape  # a scalar has no shape of chunks
  starts = (range(0, size, step) for size, step in zip(shape, chunk, strict=True))
  for origin in itertools.product(*starts):
    bounds = zip(origin, chunk, shape, strict=True)
    part = tuple(slice(start, min(start + step, size)) for start, step, size in bounds)
    total += bits.part_sum(store[part].read().result(), origin, shape)
  return total % 2**32
