"""The key/value cache of decoding: keys and values of earlier rows, in slots."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from audiopalm import sharding

SMALLEST_BUCKET = 32
Kept = jax.Array | tuple[jax.Array, ...]  # with a leading layer axis, or one array per layer
AXES = ("layers", "batch", "kv_heads", None, "head_width")  # logical axes of keys and values


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Cache:
  """Rotated keys and values [B, G, J, H] in J slots, of which the first `used` are filled: a tuple
  with one array per layer, or one array with a leading layer axis, in the dtype of matrix products.

  `positions_BJ` is the position of each slot's row in its own sequence, -1 for an empty slot: short
  prompts are padded in front. `used` is a scalar if all sequences of the batch write their next row
  into the same slot, which is fastest, and [B] if each sequence has its own.

      prompts of 2 and 4 rows, J = 6, one row decoded      -1 -1  0  1  2 -1
                                                            0  1  2  3  4 -1
  """

  keys: Kept
  values: Kept
  positions_BJ: jax.Array
  used: jax.Array

  def with_row(self, kept: jax.Array, new: jax.Array) -> jax.Array:
    """Returns an array of the cache with one more row per sequence. `new` is keys or values [B, 1,
    G, H], with or without a leading layer axis, or positions [B, 1]."""
    slots = -1
    if kept.ndim > 2:
      slots, new = -2, jnp.swapaxes(new, -3, -2).astype(kept.dtype)
    write = functools.partial(lax.dynamic_update_slice_in_dim, axis=slots)
    if not self.used.ndim:
      return write(kept, new, self.used)
    batch = max(kept.ndim - 4, 0)
    split, own = (PartitionSpec(*sharding.layout_of(array)) for array in (kept, self.used))
    write_rows = jax.vmap(write, in_axes=(batch, batch, 0), out_axes=batch)
    return sharding.mapped(write_rows, (split, split, own), split)(kept, new, self.used)


def bucket(rows: int) -> int:
  """Returns the smallest of 32, 48, 64, 96, 128, 192, ... that is at least `rows`, so that few
  shapes are compiled."""
  power = max(SMALLEST_BUCKET, 1 << (rows - 1).bit_length())
  smaller = power * 3 // 4
  return smaller if smaller >= max(rows, SMALLEST_BUCKET) else power


def fill(
  new: tuple[jax.Array, jax.Array],
  positions_BP: jax.Array,
  slots: int,
  apart: bool = False,
  dtype: jax.typing.DTypeLike | None = None,
  shared: bool = True,
) -> Cache:
  """Returns a cache of `slots` slots that begins with the keys and values [layers, B, L, G, H] of a
  prompt, cast to `dtype` unless it is None. `apart`: one array per layer. `shared`: all sequences
  write their next rows into the same slots."""

  def heads_first(array):
    array = jnp.swapaxes(array, 2, 3).astype(dtype or array.dtype)
    return tuple(array) if apart else array

  prompt = positions_BP.shape[1]
  used = jnp.int32(prompt) if shared else jnp.full_like(positions_BP[:, 0], prompt)
  return grow(Cache(heads_first(new[0]), heads_first(new[1]), positions_BP, used), slots)


def extend(cache: Cache, new: tuple[Kept, Kept], positions_B: jax.Array) -> Cache:
  """Returns the cache with one more row per sequence, the keys and values from `Model.step`."""
  keys, values = (
    jax.tree.map(cache.with_row, kept, rows)
    for kept, rows in zip((cache.keys, cache.values), new, strict=True)
  )
  positions_BJ = cache.with_row(cache.positions_BJ, positions_B[:, None])
  return Cache(keys, values, positions_BJ, cache.used + 1)


def grow(cache: Cache, slots: int) -> Cache:
  """Returns the cache with more slots."""
  more = slots - cache.positions_BJ.shape[1]

  def roomy(array):
    return jnp.pad(array, [(0, 0)] * (array.ndim - 2) + [(0, more), (0, 0)])

  keys, values = jax.tree.map(roomy, (cache.keys, cache.values))
  positions_BJ = jnp.pad(cache.positions_BJ, ((0, 0), (0, more)), constant_values=-1)
  return Cache(keys, values, positions_BJ, cache.used)
