"""Checksums of arrays that do not depend on sharding: sums modulo 2^32 of words hashed with their
positions. A change of a single word always changes the checksum; other damage is missed with
probability 2^-32.
"""

import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from audiopalm.sharding import ArrayTree, name_of

WORDS = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}  # by bytes of one element
PIECE = 1 << 16  # words that the host sums at a time: they fit in its caches
# Odd, so that multiplication is invertible modulo 2^32.
PLACE, SPREAD = np.uint32(0x9E3779B9), np.uint32(0x85EBCA6B)


def sums(tree: ArrayTree) -> dict[str, int]:
  """Returns {path of a leaf: its checksum} of arrays of up to four bytes an element."""
  leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(_numbers(tree)))
  return {name_of(path): int(number) for path, number in leaves}


def part_sum(part: np.ndarray, origin: Sequence[int], shape: Sequence[int]) -> int:
  """Returns the contribution, modulo 2^32, of the part at `origin` to the checksum of an array of
  `shape`, computed on the host."""
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


def differing(a: Mapping[str, object], b: Mapping[str, object]) -> list[str]:
  """Returns the paths whose values (checksums, shapes) differ, sorted."""
  return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))


@jax.jit
def _numbers(tree: ArrayTree) -> ArrayTree:
  return jax.tree.map(_number, tree)


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
