"""Reads the metrics of a step while the next one runs, so that the device never waits for it."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax

from audiopalm.batch import Counts
from audiopalm.sharding import ArrayTree
from audiopalm.training import goodput, guard, metrics, progress, step, throughput

BUSY = ("step", "lost work", "data wait")  # the time that tokens per second are counted over


@dataclasses.dataclass(frozen=True)
class SpeedMeter:
  """Computes the share of the hardware's peak that a run uses (MFU)."""

  flops_per_token: Callable[[int], float]
  device_kind: str
  devices: int

  def mfu(self, flops: float, seconds: float) -> float | str:
    return throughput.utilisation(flops, seconds, self.device_kind, self.devices)


@dataclasses.dataclass(frozen=True, eq=False)
class _Pending:
  step: int
  metrics: Mapping[str, ArrayTree]
  counts: Callable[[], Counts]


class Recorder:
  """Takes the metrics of each step and writes those of the step before. A context.

  `streak` is the number of steps skipped in a row, `any_finite` whether any was not: both as of the
  last step that was written, so call `flush` before they decide something.
  """

  def __init__(
    self,
    journal: metrics.Journal | metrics.Silent,
    shown: progress.Progress,
    spent: goodput.Goodput,
    seen: throughput.Seen,
    meter: SpeedMeter,
    learning_rate: Callable[[int], float],
  ):
    self.seen, self.streak, self.any_finite, self.skipped = seen, 0, False, 0
    self.tokens, self.flops = 0, 0.0
    self._journal, self._shown, self._spent, self._meter = journal, shown, spent, meter
    self._learning_rate = learning_rate
    self._pending: _Pending | None = None
    self._busy_s = 0.0

  def __enter__(self) -> "Recorder":
    self._busy_s = self.busy_s()
    return self

  def __exit__(self, kind, error, trace) -> None:
    with contextlib.closing(self._journal):
      if error is None:
        self.flush()

  def add(self, number: int, found: Mapping[str, ArrayTree], counts: Callable[[], Counts]) -> None:
    """Keeps the metrics of step `number`, just begun, and writes those kept before.

    `counts()` gives what all processes counted in its batch, and may wait for the step.
    """
    self.flush()
    self._pending = _Pending(number, found, counts)

  def flush(self) -> None:
    """Writes what is kept, waiting for its step. Raises BadSteps when too many were skipped."""
    if self._pending is None:
      return
    pending, self._pending = self._pending, None
    step_metrics, counts = jax.device_get(pending.metrics), pending.counts()
    self.seen.add(counts)
    self.streak, self.skipped = int(step_metrics["skipped_in_a_row"]), int(step_metrics["skipped"])
    self.any_finite |= self.streak == 0
    values = self._values(pending.step, step_metrics, counts)
    self._journal.write(pending.step, values)
    self._shown.update(pending.step, values)
    self._spent.note(pending.step)
    guard.check_streak(self.streak, pending.step)

  def measured(self, number: int, held_out: Mapping[str, Mapping[str, float]]) -> None:
    """Writes held-out losses by task, and what was seen of each task so far."""
    self._journal.write(number, {"held_out": held_out, "seen": self.seen.by_task()})
    losses = ", ".join(
      f"{task} {values['loss']:.3f}" for task, values in held_out.items() if "loss" in values
    )
    self._shown.say(f"step {number} | held-out loss: {losses}")

  def mfu(self) -> float | str:
    """Returns the share of the hardware's peak over all steps written, or "unknown"."""
    return self._meter.mfu(self.flops, self.busy_s())

  def busy_s(self) -> float:
    """Returns the seconds spent on steps and on waiting for their data, up to this moment."""
    self._spent.book()
    return sum(self._spent.seconds[bucket] for bucket in BUSY)

  def _values(self, number: int, found: Mapping[str, Any], counts: Counts) -> dict[str, Any]:
    before, self._busy_s = self._busy_s, self.busy_s()
    seconds = max(self._busy_s - before, 1e-9)
    flops = counts.flops(self._meter.flops_per_token)
    self.tokens += counts.tokens
    self.flops += flops
    losses = found["losses"]
    named = {f"loss/{player}": loss for player, loss in losses.items()} if len(losses) > 1 else {}
    return {
      "loss": sum(losses.values()),
      **named,
      **step.rates(found["sums"]),
      "grad_norm": found["grad_norm"],
      "update_norm": found["update_norm"],
      "lr": self._learning_rate(number - 1),
      "skipped": self.skipped,
      "tokens": counts.tokens,
      "batch": counts.digest,
      "tokens_per_s": round(counts.tokens / seconds, 1),
      "mfu": self._meter.mfu(flops, seconds),
    }
