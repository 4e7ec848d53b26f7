"""The key/value cache: what decoding keeps of the rows before, in slots shared by a whole batch."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Cache:
  """Rotated keys and values [layers, B, J, G, H] in J slots, of which the first `used` are filled.

  `positions_BJ` is the position of each slot's row in its own sequence, -1 where there is none: a
  short prompt is padded in front, so that all sequences write their next row into the same slot.

      prompts of 2 and 4 rows, J = 6, one row decoded      -1 -1  0  1  2 -1
                                                            0  1  2  3  4 -1
  """

  keys: Any
  values: Any
  positions_BJ: Any
  used: Any


def filled(new: tuple[Any, Any], positions_BP, slots: int) -> Cache:
  """Returns a cache of `slots` slots beginning with the keys and values of a prompt."""
  room = slots - positions_BP.shape[1]

  def roomy(array):
    return jnp.pad(array, ((0, 0), (0, 0), (0, room), (0, 0), (0, 0)))

  positions_BJ = jnp.pad(positions_BP, ((0, 0), (0, room)), constant_values=-1)
  used = jnp.int32(positions_BP.shape[1])
  return Cache(roomy(new[0]), roomy(new[1]), positions_BJ, used)


def extended(cache: Cache, new: tuple[Any, Any], positions_B) -> Cache:
  """Returns the cache with one more row per sequence: keys and values [layers, B, 1, G, H]."""
  slot = cache.used
  return Cache(
    lax.dynamic_update_slice_in_dim(cache.keys, new[0], slot, axis=2),
    lax.dynamic_update_slice_in_dim(cache.values, new[1], slot, axis=2),
    lax.dynamic_update_slice_in_dim(cache.positions_BJ, positions_B[:, None], slot, axis=1),
    slot + 1,
  )
