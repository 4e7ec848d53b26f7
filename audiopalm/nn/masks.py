"""Who sees whom: attention masks from segments, positions and both-ways blocks, never from a
system's name."""

import dataclasses
from typing import Any

import jax


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
  """All that decides what a row sees, int32 [B, L] each; as in `batch.Batch`.

  The mask [B, L, J] follows by `seen`, for any rows that look at any others. It is made where it is
  used: whole, it would be 8 GB for an hour of speech.
  """

  segments_BL: Any
  positions_BL: Any
  visible_BL: Any

  def __getitem__(self, part) -> "Rows":
    return jax.tree.map(lambda array: array[part], self)


def seen(rows: Rows, others: Rows, window=0):
  """Returns bool [B, L, J]: row i sees row j of `others` if both are in one segment and j is not
  later, or in i's both-ways block.

  segments 1 1 1 1 2 2     row 0:  x x . . . .
  visible  1 1 0 0 0 0     row 1:  x x . . . .
                           row 2:  x x x . . .
                           row 3:  x x x x . .
                           row 4:  . . . . x .
                           row 5:  . . . . x x

  With a `window`, `within` limits it.
  """
  one_segment = rows.segments_BL[:, :, None] == others.segments_BL[:, None, :]
  past = rows.positions_BL[:, :, None] >= others.positions_BL[:, None, :]
  visible_BL1, visible_B1J = rows.visible_BL[:, :, None], others.visible_BL[:, None, :]
  block = (visible_BL1 == visible_B1J) & (visible_BL1 > 0)
  near = within(window, rows.positions_BL, others.positions_BL)
  return one_segment & (past | block) & near


def within(window, positions_BL, positions_BJ):
  """Returns bool [B, L, J]: fewer than `window` rows back, for a scalar window; 0 is no limit.

  Rows ahead count as near: a both-ways block is seen whole in that direction. Source: Mistral 7B,
  arXiv:2310.06825, section 2; the window includes the row itself.
  """
  if isinstance(window, int) and not window:
    return True
  return (positions_BL[:, :, None] - positions_BJ[:, None, :] < window) | (window == 0)
