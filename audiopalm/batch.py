"""The arrays one training step reads."""

import dataclasses
from typing import Any

import jax


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
  """B packed rows of L rows and K columns. Arrays are numpy on the host and jax on the device.

  `tokens_BLK` int32 (HOLE = -1 is no token) and `weights_BLK` float32 as in `types.Grid`;
  `segments_BL` int32: 0 is padding, 1, 2, ... the examples packed into the row; `positions_BL`
  int32: row number inside the segment; `visible_BL` int32: number of the both-ways block inside the
  segment, 0 for none; `task_B` int32: number of the task in the mixture the row belongs to.
  """

  tokens_BLK: Any
  weights_BLK: Any
  segments_BL: Any
  positions_BL: Any
  visible_BL: Any
  task_B: Any
