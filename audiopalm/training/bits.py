"""A checksum of each array, which does not depend on how the array is sharded.

It is a sum of integers, so its order does not matter. One word that changed changes the checksum,
and so do two that were swapped; other damage goes unseen once in 2^32 cases.
"""

import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from audiopalm.sharding import ArrayTree

WORDS = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}  # by bytes of one element
PIECE = 1 << 16  # words that the host adds up at a time: they and their places stay in its caches
PLACE, SPREAD = np.uint32(0x9E3779B9), np.uint32(0x85EBCA6B)  # odd, and so one to one modulo 2^32


def sums(tree: ArrayTree) -> dict[str, int]:
  """Returns {path of a leaf: its checksum} of arrays of up to four bytes an element."""
  numbers = jax.device_get(_numbers(tree))
  leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
  return {name_of(path): int(number) for (path, _), number in zip(leaves, numbers, strict=True)}


def part_sum(part: np.ndarray, origin: Sequence[int], shape: Sequence[int]) -> int:
  """Returns what one part adds to the checksum of an array of `shape`, computed on the host.

  `origin` is where the part lies in the array. The shares of parts that have every element of it
  once add up, modulo 2^32, to the checksum that `sums` gives.
  """
  *lead, width = part.shape or (1,)
  words_MN = np.ascontiguousarray(part).view(f"uint{8 * part.dtype.itemsize}").reshape(-1, width)
  at = np.zeros((), np.uint32)
  for start, length, size in zip(origin, lead, shape, strict=False):
    at = at[..., None] * np.uint32(size) + np.arange(start, start + length, dtype=np.uint32)
  at_M = at.reshape(-1) * np.uint32(shape[-1] if shape else 1)
  at_N = np.arange(width, dtype=np.uint32) + np.uint32(origin[-1] if shape else 0)
  rows, total = max(1, PIECE // max(1, width)), 0
  for m in range(0, len(words_MN), rows):
    for n in range(0, width, PIECE):
      places_MN = at_M[m : m + rows, None] + at_N[n : n + PIECE]
      mixed_MN = (words_MN[m : m + rows, n : n + PIECE] ^ (places_MN * PLACE)) * SPREAD
      total += int(np.sum(mixed_MN ^ (mixed_MN >> 15), dtype=np.uint64))
  return total % 2**32


def name_of(path: tuple) -> str:
  """Returns "layers/mlp/down": the same for mappings, tuples and dataclasses."""
  return jax.tree_util.keystr(path, simple=True, separator="/")


def differing(a: Mapping[str, int], b: Mapping[str, int]) -> list[str]:
  """Returns the paths whose checksums differ, sorted."""
  return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))


@jax.jit
def _numbers(tree: ArrayTree) -> list[jax.Array]:
  return [_number(leaf) for leaf in jax.tree.leaves(tree)]


def _number(array: jax.Array) -> jax.Array:
  words = jax.lax.bitcast_convert_type(array, WORDS[array.dtype.itemsize]).astype(jnp.uint32)
  strides = np.cumprod([1, *array.shape[:0:-1]], dtype=np.uint64)[::-1].astype(np.uint32)
  at = functools.reduce(
    jnp.add,
    (
      stride * jax.lax.broadcasted_iota(jnp.uint32, array.shape, axis)
      for axis, stride in zip(range(array.ndim), strides, strict=False)
    ),
    jnp.uint32(0),
  )
  mixed = (words ^ (at * PLACE)) * SPREAD
  return jnp.sum(mixed ^ (mixed >> 15), dtype=jnp.uint32)
