"""Batches: the arrays of a training step, and the protocol of all kinds of batches."""

import dataclasses
import zlib
from collections.abc import Callable, Iterable
from typing import ClassVar, Protocol, Self

import jax
import numpy as np

from audiopalm.errors import ConfigError
from audiopalm.types import HOLE

Array = jax.Array | np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Counts:
  """The numbers of batch rows, examples and tokens of each task in a batch.

  `lengths_N` are the lengths of the examples in positions; `digest` is that of `Batch.digest`.
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
    """Returns the FLOPs of a step on this batch, without padding.

    `flops_per_token(length)` is for a position of an example of that length; packed examples do not
    attend to each other.
    """
    lengths, numbers = np.unique(self.lengths_N, return_counts=True)
    return float(
      sum(
        number * length * flops_per_token(int(length))
        for length, number in zip(lengths, numbers, strict=True)
      )
    )


class Batch(Protocol):
  """A pytree of arrays whose first axis is the batch row: numpy on the host, jax on devices."""

  def axes(self) -> Self:
    """Returns the same tree with the logical axes of each array, a tuple."""

  def digest(self, rows: Iterable[int] | None = None, first: int = 0) -> int:
    """Returns a 32-bit checksum of batch rows of numpy arrays, by default of all rows.

    Row 0 of this part is row `first` of the whole batch. The checksums of disjoint parts add up,
    modulo 2^32, to the checksum of the whole.
    """

  def count(self, tasks: int, rows: np.ndarray | slice = slice(None), first: int = 0) -> Counts:
    """Returns the counts of numpy batch rows, by default of all; `first` as in `digest`."""


class _HostRows:
  """What the batches below share: sums over batch rows of numpy arrays."""

  def digest(self, rows: Iterable[int] | None = None, first: int = 0) -> int:
    arrays = [np.asarray(array) for array in jax.tree.leaves(self)]
    total = 0
    for row in range(len(arrays[0])) if rows is None else rows:
      number = (first + row).to_bytes(8, "little")
      total += zlib.crc32(b"".join([number, *(array[row].tobytes() for array in arrays)]))
    return total % 2**32

  def _counts(
    self,
    tasks: int,
    rows: np.ndarray | slice,
    first: int,
    examples_B: np.ndarray,
    tokens_B: np.ndarray,
    lengths_N: np.ndarray,
  ) -> Counts:
    task_B, numbers_B = self.task_B[rows], np.arange(len(self.task_B))[rows]
    by_task = [
      np.bincount(task_B, values_B, minlength=tasks).astype(np.int64)
      for values_B in (np.ones_like(tokens_B), examples_B, tokens_B)
    ]
    return Counts(*by_task, lengths_N, self.digest(numbers_B.tolist(), first))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class PackedBatch(_HostRows):
  """B batch rows of L grid rows and K columns, with packed examples.

  `tokens_BLK` int32 (HOLE = -1 is no token) and `weights_BLK` float32 are as in `types.Grid`.
  `segments_BL` int32: the number of the example in the batch row, from 1; 0 is padding.
  `positions_BL` int32: the grid row within its segment. `visible_BL` int32: the both-ways block
  within its segment, 0 for none. `task_B` int32: the task's number in the mixture.
  """

  tokens_BLK: Array
  weights_BLK: Array
  segments_BL: Array
  positions_BL: Array
  visible_BL: Array
  task_B: Array

  def axes(self) -> "PackedBatch":
    names = ("batch", "rows", None)
    arrays = (getattr(self, field.name) for field in dataclasses.fields(self))
    return PackedBatch(*(None if array is None else names[: array.ndim] for array in arrays))

  def count(self, tasks: int, rows: np.ndarray | slice = slice(None), first: int = 0) -> Counts:
    """Returns the counts: tokens are cells other than holes, lengths are grid rows."""
    segments_BL = self.segments_BL[rows]
    tokens_B = (self.tokens_BLK[rows] != HOLE).sum(axis=(1, 2))
    most = int(segments_BL.max(initial=0))
    number_BL = np.arange(len(segments_BL))[:, None] * (most + 1) + segments_BL
    lengths_BS = np.bincount(number_BL.ravel(), minlength=len(segments_BL) * (most + 1))
    lengths_BS = lengths_BS.reshape(len(segments_BL), most + 1)[:, 1:]  # segment 0 is padding
    examples_B = (lengths_BS > 0).sum(axis=1)
    return self._counts(tasks, rows, first, examples_B, tokens_B, lengths_BS[lengths_BS > 0])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class ClipBatch(_HostRows):
  """B clips of waves, with streams of their records cut to the same span.

  `wave_BS` float32 at 16 kHz, zero after the first `samples_B` int32 samples. `streams`
  {"units": ids_BT} int32, HOLE after the end; one without a fixed rate (text) is whole, or holes
  alone where the clip does not hold its whole record. `draw_B` uint32: the seed of what is drawn
  for a clip. `task_B` int32: the task's number in the mixture.
  """

  FRAME_SAMPLES: ClassVar[int] = 160  # 10 ms; clips are counted in such frames

  wave_BS: Array
  samples_B: Array
  streams: dict[str, Array]
  draw_B: Array
  task_B: Array

  def stream(self, name: str, asked_by: str) -> Array:
    """Returns ids of a stream; ConfigError, which names who asked, where clips do not have it."""
    if name not in self.streams:
      raise ConfigError(
        f"{asked_by} needs the stream {name!r} of the clips, which have "
        f"{', '.join(self.streams) or 'none'}. Name it in the task: "
        f"mixtures.speech(corpus, streams=({name!r},))."
      )
    return self.streams[name]

  def axes(self) -> "ClipBatch":
    streams = {name: ("batch", *(None,) * (ids.ndim - 1)) for name, ids in self.streams.items()}
    return ClipBatch(("batch", None), ("batch",), streams, ("batch",), ("batch",))

  def count(self, tasks: int, rows: np.ndarray | slice = slice(None), first: int = 0) -> Counts:
    """Returns the counts: an example is a clip that is not empty, a token a frame of 10 ms."""
    frames_B = -(-self.samples_B[rows] // self.FRAME_SAMPLES)
    return self._counts(tasks, rows, first, frames_B > 0, frames_B, frames_B[frames_B > 0])
