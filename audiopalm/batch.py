"""The arrays one training step reads, and what a run must know of any kind of them."""

import dataclasses
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Protocol, Self

import jax
import numpy as np

from audiopalm.types import HOLE


@dataclasses.dataclass(frozen=True, eq=False)
class Counts:
  """What one batch holds, by number of the task: batch rows, examples, and tokens.

  `lengths_N` are the positions that each example takes; `digest` is `Batch.digest`.
  """

  rows_T: np.ndarray
  examples_T: np.ndarray
  tokens_T: np.ndarray
  lengths_N: np.ndarray
  digest: int

  @property
  def tokens(self) -> int:
    return int(self.tokens_T.sum())

  def flops(self, flops_per_token: Callable[[int], float]) -> float:
    """Returns the operations of a step on this batch; padding is not counted.

    `flops_per_token(length)` is for one position of an example of that length, as packed neighbors
    do not attend to each other.
    """
    lengths, numbers = np.unique(self.lengths_N, return_counts=True)
    return float(
      sum(
        number * length * flops_per_token(int(length))
        for length, number in zip(lengths, numbers, strict=True)
      )
    )


class Batch(Protocol):
  """A pytree of arrays whose first axis is of batch rows: numpy on the host, jax on devices."""

  def axes(self) -> Self:
    """Returns the logical axes of every array, a tuple each, in the same tree."""

  def digest(self, rows: Iterable[int] | None = None, first: int = 0) -> int:
    """Returns 32 bits that follow from some batch rows, by default all, of numpy arrays.

    Row 0 here is row `first` of the whole batch. Digests of parts that have every row of it once
    add up, modulo 2^32, to that of the whole.
    """

  def count(self, tasks: int, rows: np.ndarray | slice = slice(None), first: int = 0) -> Counts:
    """Returns the counts of a batch of numpy arrays, or of some of its rows; see `digest`."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class PackedBatch:
  """B batch rows into which examples are packed, of L grid rows and K columns.

  `tokens_BLK` int32 (HOLE = -1 is no token) and `weights_BLK` float32 as in `types.Grid`;
  `segments_BL` int32: 0 is padding, 1, 2, ... the examples packed into the batch row;
  `positions_BL` int32: row number inside the segment; `visible_BL` int32: number of the both-ways
  block inside the segment, 0 for none; `task_B` int32: number of the task in the mixture.
  """

  tokens_BLK: Any
  weights_BLK: Any
  segments_BL: Any
  positions_BL: Any
  visible_BL: Any
  task_B: Any

  def axes(self) -> "PackedBatch":
    names = ("batch", "rows", None)
    arrays = (getattr(self, field.name) for field in dataclasses.fields(self))
    return PackedBatch(*(None if array is None else names[: array.ndim] for array in arrays))

  def digest(self, rows: Iterable[int] | None = None, first: int = 0) -> int:
    return digest_of(jax.tree.leaves(self), rows, first)

  def count(self, tasks: int, rows: np.ndarray | slice = slice(None), first: int = 0) -> Counts:
    """Returns the counts: tokens are cells that are no holes, lengths rows of the grid."""
    task_B, segments_BL = self.task_B[rows], self.segments_BL[rows]
    tokens_B = (self.tokens_BLK[rows] != HOLE).sum(axis=(1, 2))
    most = int(segments_BL.max(initial=0))
    number_BL = np.arange(len(segments_BL))[:, None] * (most + 1) + segments_BL
    lengths_BS = np.bincount(number_BL.ravel(), minlength=len(segments_BL) * (most + 1))
    lengths_BS = lengths_BS.reshape(len(segments_BL), most + 1)[:, 1:]  # segment 0 is padding
    return Counts(
      rows_T=by_task(task_B, np.ones_like(tokens_B), tasks),
      examples_T=by_task(task_B, (lengths_BS > 0).sum(axis=1), tasks),
      tokens_T=by_task(task_B, tokens_B, tasks),
      lengths_N=lengths_BS[lengths_BS > 0],
      digest=self.digest(np.arange(len(self.task_B))[rows].tolist(), first),
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class ClipBatch:
  """B clips of waves, and of what else their records hold in the same span.

  `wave_BS` float32 at 16 kHz, zeros behind its first `samples_B` int32; `streams` {"units":
  ids_BT}, each cut to the span of the clip: int32, HOLE where there is none; `draw_B` uint32: what
  an objective draws a clip's masks from; `task_B` int32: number of the task in the mixture.
  """

  FRAME_SAMPLES: ClassVar[int] = 160  # of a frame of 10 ms, in which clips are counted

  wave_BS: Any
  samples_B: Any
  streams: dict[str, Any]
  draw_B: Any
  task_B: Any

  def axes(self) -> "ClipBatch":
    streams = {name: ("batch", *(None,) * (ids.ndim - 1)) for name, ids in self.streams.items()}
    return ClipBatch(("batch", None), ("batch",), streams, ("batch",), ("batch",))

  def digest(self, rows: Iterable[int] | None = None, first: int = 0) -> int:
    return digest_of(jax.tree.leaves(self), rows, first)

  def count(self, tasks: int, rows: np.ndarray | slice = slice(None), first: int = 0) -> Counts:
    """Returns the counts: an example is a clip that is not empty, a token a frame of 10 ms."""
    task_B = self.task_B[rows]
    frames_B = -(-self.samples_B[rows] // self.FRAME_SAMPLES)
    return Counts(
      rows_T=by_task(task_B, np.ones_like(frames_B), tasks),
      examples_T=by_task(task_B, frames_B > 0, tasks),
      tokens_T=by_task(task_B, frames_B, tasks),
      lengths_N=frames_B[frames_B > 0],
      digest=self.digest(np.arange(len(self.task_B))[rows].tolist(), first),
    )


def digest_of(arrays: Sequence[Any], rows: Iterable[int] | None, first: int) -> int:
  """Returns `Batch.digest` of arrays whose first axis is that of batch rows."""
  arrays = [np.asarray(array) for array in arrays]
  total = 0
  for row in range(len(arrays[0])) if rows is None else rows:
    number = (first + row).to_bytes(8, "little")
    total += zlib.crc32(b"".join([number, *(array[row].tobytes() for array in arrays)]))
  return total % 2**32


def by_task(task_B: np.ndarray, values_B: np.ndarray, tasks: int) -> np.ndarray:
  """Returns the sum of the values of each task's batch rows."""
  return np.bincount(task_B, values_B, minlength=tasks).astype(np.int64)
