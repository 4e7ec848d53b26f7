"""What a batch holds, and how much of the hardware a run uses."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from audiopalm.batch import Batch
from audiopalm.types import HOLE

# Dense bfloat16 floating-point operations per second and chip, by a part of JAX's device_kind, the
# more special first. A device that is not here has an unknown peak: no guess is made.
PEAK_FLOPS: tuple[tuple[str, float, str], ...] = (
  ("A100", 312e12, "NVIDIA A100 datasheet"),
  ("H100 PCIe", 756e12, "NVIDIA H100 datasheet, without sparsity"),
  ("H100 NVL", 835e12, "NVIDIA H100 NVL datasheet, without sparsity"),
  ("H100", 989e12, "NVIDIA H100 SXM datasheet, without sparsity"),
  ("H200 NVL", 835e12, "NVIDIA H200 NVL datasheet, without sparsity"),
  ("H200", 989e12, "NVIDIA H200 SXM datasheet, without sparsity"),
  ("GB200", 2500e12, "NVIDIA GB200 NVL72 datasheet, per GPU, without sparsity"),
  ("B200", 2250e12, "NVIDIA DGX B200 datasheet, per GPU, without sparsity"),
  ("TPU v4", 275e12, "cloud.google.com/tpu/docs/v4"),
  ("TPU v5 lite", 197e12, "cloud.google.com/tpu/docs/v5e"),
  ("TPU v5e", 197e12, "cloud.google.com/tpu/docs/v5e"),
  ("TPU v5", 459e12, "cloud.google.com/tpu/docs/v5p"),
  ("TPU v6", 918e12, "cloud.google.com/tpu/docs/v6e"),
)


def peak_flops(device_kind: str) -> float | None:
  """Returns the peak of one device; None where it is unknown, a CPU's among them."""
  for part, peak, _ in PEAK_FLOPS:
    if part in device_kind:
      return peak
  return None


@dataclasses.dataclass(frozen=True, eq=False)
class Counts:
  """What one batch holds, by number of the task: rows, examples, and tokens (cells, not holes).

  `lengths_N` are the rows of the grid that each example takes; `digest` is `Batch.digest`.
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

    `flops_per_token(length)` is for a row of one example of that length, as packed neighbours do
    not attend to each other.
    """
    lengths, numbers = np.unique(self.lengths_N, return_counts=True)
    return float(
      sum(
        number * length * flops_per_token(int(length))
        for length, number in zip(lengths, numbers, strict=True)
      )
    )


def count(
  batch: Batch, tasks: int, rows: np.ndarray | slice = slice(None), first: int = 0
) -> Counts:
  """Returns the counts of a batch of numpy arrays, or of some of its rows; see `Batch.digest`."""
  task_B, segments_BL = batch.task_B[rows], batch.segments_BL[rows]
  tokens_B = (batch.tokens_BLK[rows] != HOLE).sum(axis=(1, 2))
  most = int(segments_BL.max(initial=0))
  number_BL = np.arange(len(segments_BL))[:, None] * (most + 1) + segments_BL
  lengths_BS = np.bincount(number_BL.ravel(), minlength=len(segments_BL) * (most + 1))
  lengths_BS = lengths_BS.reshape(len(segments_BL), most + 1)[:, 1:]  # segment 0 is padding

  def by_task(values_B):
    return np.bincount(task_B, values_B, minlength=tasks).astype(np.int64)

  return Counts(
    rows_T=by_task(np.ones_like(tokens_B)),
    examples_T=by_task((lengths_BS > 0).sum(axis=1)),
    tokens_T=by_task(tokens_B),
    lengths_N=lengths_BS[lengths_BS > 0],
    digest=batch.digest(np.arange(len(batch.task_B))[rows].tolist(), first),
  )


class Seen:
  """Rows, examples, tokens and epochs of each task since step 0; it travels in the checkpoint."""

  FIELDS = ("rows", "examples", "tokens")

  def __init__(self, tasks: Sequence[str], rows_per_epoch: Sequence[int], before: dict | None):
    self._tasks, self._rows_per_epoch = tuple(tasks), tuple(rows_per_epoch)
    before = before or {}
    self._sums = {
      field: np.array([before.get(task, {}).get(field, 0) for task in tasks], np.int64)
      for field in self.FIELDS
    }

  def add(self, counts: Counts) -> None:
    for field in self.FIELDS:
      self._sums[field] += getattr(counts, f"{field}_T")

  def by_task(self) -> dict[str, dict[str, float]]:
    """Returns {task: {"rows", "examples", "tokens", "epochs"}}."""
    return {
      task: {
        **{field: int(self._sums[field][number]) for field in self.FIELDS},
        "epochs": round(self._sums["rows"][number] / self._rows_per_epoch[number], 4),
      }
      for number, task in enumerate(self._tasks)
    }


def utilisation(flops: float, seconds: float, device_kind: str, devices: int) -> float | str:
  """Returns the share of the peak that was used (MFU), or "unknown".

  Operations are those of the model, without recomputation. Source: PaLM, arXiv:2204.02311,
  appendix B.
  """
  peak = peak_flops(device_kind)
  if peak is None or seconds <= 0:
    return "unknown"
  return flops / (seconds * peak * devices)
