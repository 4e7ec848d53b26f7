"""One number per array that follows from all of its bits, wherever they lie.

Equal arrays have equal numbers on any mesh: sums of integers know no order. A word that changed
changes its number, and so do two that changed places; of other damage one in 2^32 goes unseen.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

WORDS = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}  # by bytes of one element
PLACE, SPREAD = np.uint32(0x9E3779B9), np.uint32(0x85EBCA6B)  # odd, and so one to one modulo 2^32


def sums(tree: Any) -> dict[str, int]:
  """Returns {path of a leaf: its number} of arrays of up to four bytes an element."""
  numbers = jax.device_get(_numbers(tree))
  leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
  return {name_of(path): int(number) for (path, _), number in zip(leaves, numbers, strict=True)}


def name_of(path: tuple) -> str:
  """Returns "layers/mlp/down": the same for mappings, tuples and dataclasses."""
  return jax.tree_util.keystr(path, simple=True, separator="/")


def differing(a: Mapping[str, int], b: Mapping[str, int]) -> list[str]:
  """Returns the paths whose numbers are not the same in both, sorted."""
  return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))


@jax.jit
def _numbers(tree: Any) -> list[jax.Array]:
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
