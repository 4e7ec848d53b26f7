"""The plan of a layout on a device: its tables, the ids they allow in a row, and the next state."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from audiopalm import sharding
from audiopalm.batch import Array
from audiopalm.errors import LayoutError
from audiopalm.layouts.incremental import Count, Mode, Plan

# Numbers of states and classes are rounded up to multiples, so that few shapes are compiled.
PADDED_TO = {"S": 16, "C": 8}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Tables:
  """The arrays of a `Plan`, padded so that plans of similar size share a compiled program.

  `tied`: columns that end with the lead column in some state. They are static, so part of the
  compiled program.
  """

  end: Array | np.int32
  class_KV: Array
  ends_KC: Array
  mode_SK: Array
  allowed_SKC: Array
  lead_S: Array
  next_SC: Array
  count_SC: Array
  empty_SC: Array
  tied: tuple[int, ...] = dataclasses.field(metadata={"static": True})


def tables(plan: Plan) -> Tables:
  """Returns the tables of a plan; LayoutError if a column would be drawn before its lead."""
  tied_SK = plan.mode_SK == Mode.TIED
  for state, column in zip(*np.nonzero(tied_SK), strict=True):
    lead = plan.lead_S[state]
    if lead > column and plan.mode_SK[state, lead] == Mode.PREDICT:
      raise LayoutError(
        f"{plan.layout} cannot be decoded: column {column} ends in the row where column {lead} "
        "does, but the columns of a row are drawn in order. Put the column that says where the "
        "part ends before those that end with it."
      )
  names = [field.name for field in dataclasses.fields(Tables) if "_" in field.name]
  arrays = {name: getattr(plan, name) for name in names}
  for name, array in arrays.items():
    multiples = [PADDED_TO.get(axis, 1) for axis in name.rpartition("_")[2]]
    room = [(0, -size % multiple) for size, multiple in zip(array.shape, multiples, strict=True)]
    arrays[name] = np.pad(array, room)
  return Tables(
    np.int32(plan.end), **arrays, tied=tuple(np.flatnonzero(tied_SK.any(axis=0)).tolist())
  )


def allowed(tables: Tables, k: int, classes_BC: jax.Array, ids: int) -> jax.Array:
  """Returns allowed_BV: which of the first `ids` ids of column k are in the classes
  `classes_BC`."""
  classes_V = tables.class_KV[k, :ids]
  return (classes_V >= 0) & classes_BC[:, jnp.maximum(classes_V, 0)]


def following(
  tables: Tables, state_B: jax.Array, frames_B: jax.Array, left_B: jax.Array, cells_BK: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns (state, frames, left) after a row; the batched equivalent of `Plan.after`."""
  class_B, _ = _lead_class(tables, state_B, cells_BK)
  classes = tables.next_SC.shape[1]
  move_B = state_B * classes + class_B
  count_B, next_B, empty_B = (
    at(table.reshape(-1), move_B) for table in (tables.count_SC, tables.next_SC, tables.empty_SC)
  )
  dropped_B = count_B == Count.DROP
  empty = dropped_B & (left_B == 1)
  frames_B = jnp.where(count_B == Count.FIRST, 1, frames_B + (count_B == Count.GROW))
  grown_B = (count_B == Count.FIRST) | (count_B == Count.GROW)
  left_B = jnp.where(grown_B | empty, frames_B, left_B - dropped_B)
  return jnp.where(empty, empty_B, next_B), frames_B, left_B


def ends(tables: Tables, state_B: jax.Array, cells_BK: jax.Array) -> jax.Array:
  """Returns for each sequence whether the cell of its lead column, already drawn, ends the part."""
  class_B, column_B = _lead_class(tables, state_B, cells_BK)
  return at(tables.ends_KC.reshape(-1), column_B * tables.ends_KC.shape[1] + class_B)


def _lead_class(
  tables: Tables, state_B: jax.Array, cells_BK: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns (class of the lead's cell, column of the lead) of each sequence, 0 without a lead."""
  lead_B = at(tables.lead_S, state_B)
  columns, ids = tables.class_KV.shape
  column_B = jnp.maximum(lead_B, 0)
  cell_B = jnp.take_along_axis(cells_BK, column_B[:, None], axis=1)[:, 0]
  class_B = at(tables.class_KV.reshape(-1), column_B * ids + jnp.maximum(cell_B, 0))
  return jnp.where(lead_B < 0, 0, jnp.maximum(class_B, 0)), column_B


def at(table: Array, index_B: jax.Array) -> jax.Array:
  """Returns table[index_B] with the sharding of the index."""
  split = sharding.layout_of(index_B)
  there = jax.sharding.PartitionSpec(*split, *(None,) * (table.ndim - 1)) if any(split) else None
  return jnp.asarray(table).at[index_B].get(out_sharding=there)
