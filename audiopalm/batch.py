"""The arrays one training step reads."""

import dataclasses
import zlib
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np


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

  def digest(self, rows: Iterable[int] | None = None, first: int = 0) -> int:
    """Returns 32 bits that follow from some rows, by default all, of numpy arrays.

    Row 0 here is row `first` of the whole batch. Digests of parts that have every row of it once
    add up, modulo 2^32, to that of the whole.
    """
    arrays = [np.asarray(getattr(self, field.name)) for field in dataclasses.fields(self)]
    total = 0
    for row in range(len(arrays[0])) if rows is None else rows:
      number = (first + row).to_bytes(8, "little")
      total += zlib.crc32(b"".join([number, *(array[row].tobytes() for array in arrays)]))
    return total % 2**32
