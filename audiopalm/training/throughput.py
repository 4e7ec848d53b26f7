"""What a run has seen of its tasks, and how much of the hardware it uses."""

from collections.abc import Sequence

import numpy as np

from audiopalm.batch import Counts

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
