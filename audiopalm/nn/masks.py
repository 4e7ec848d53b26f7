"""Attention masks, computed from segments, positions and both-ways blocks alone."""

import dataclasses

import jax


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
  """The inputs of the attention mask, int32 [B, L] each, as in `batch.PackedBatch`.

  `seen` computes the mask [B, L, J] from the rows of the queries and of the keys, where it is
  needed: the mask of an hour of speech would take 8 GB.
  """

  segments_BL: jax.Array
  positions_BL: jax.Array
  visible_BL: jax.Array

  def __getitem__(self, part: slice | tuple[slice, ...]) -> "Rows":
    return jax.tree.map(lambda array: array[part], self)


def seen(rows: Rows, others: Rows, window: int | jax.Array = 0) -> jax.Array:
  """Returns bool [B, L, J]: whether query row i attends to key row j of `others`.

  It does if both lie in one segment, and j is not later than i or lies in i's both-ways block.

  segments 1 1 1 1 2 2     row 0:  x x . . . .
  visible  1 1 0 0 0 0     row 1:  x x . . . .
                           row 2:  x x x . . .
                           row 3:  x x x x . .
                           row 4:  . . . . x .
                           row 5:  . . . . x x

  A `window` limits how far back a row attends (`within`).
  """
  one_segment = rows.segments_BL[:, :, None] == others.segments_BL[:, None, :]
  past = rows.positions_BL[:, :, None] >= others.positions_BL[:, None, :]
  visible_BL1, visible_B1J = rows.visible_BL[:, :, None], others.visible_BL[:, None, :]
  block = (visible_BL1 == visible_B1J) & (visible_BL1 > 0)
  near = within(window, rows.positions_BL, others.positions_BL)
  return one_segment & (past | block) & near


def within(
  window: int | jax.Array, positions_BL: jax.Array, positions_BJ: jax.Array
) -> jax.Array | bool:
  """Returns bool [B, L, J]: whether key row j lies fewer than `window` rows before query row i.

  A window of 0 has no limit. Later rows are always within it, so it does not cut off the later part
  of a both-ways block. Source: Mistral 7B, arXiv:2310.06825, section 2.
  """
  if isinstance(window, int) and not window:
    return True
  return (positions_BL[:, :, None] - positions_BJ[:, None, :] < window) | (window == 0)
