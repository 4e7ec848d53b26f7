"""Reading of metrics while the next step computes, so that the device never waits."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from audiopalm.batch import Counts
from audiopalm.sharding import ArrayTree
from audiopalm.training import guard, step
from audiopalm.training.goodput import Goodput
from audiopalm.training.metrics import Journal
from audiopalm.training.progress import Progress

BUSY = ("step", "lost work", "data wait")  # the buckets whose time counts for tokens per second


class Seen:
  """Batch rows, examples, tokens and epochs of each task since step 0, as kept in checkpoints.

  `epoch_rows` are the batch rows of an epoch by task, `before` is an earlier result of `by_task`.
  """

  FIELDS = ("rows", "examples", "tokens")

  def __init__(self, epoch_rows: Mapping[str, int], before: Mapping[str, Mapping] | None = None):
    self._epoch_rows, before = epoch_rows, before or {}
    self._sums = {
      field: np.array([before.get(task, {}).get(field, 0) for task in epoch_rows], np.int64)
      for field in self.FIELDS
    }

  def add(self, counts: Counts) -> None:
    for field in self.FIELDS:
      self._sums[field] += getattr(counts, f"{field}_T")

  def by_task(self) -> dict[str, dict[str, float]]:
    """Returns {task: {"rows", "examples", "tokens", "epochs"}}."""
    return {
      task: {
        **{field: int(sums_T[number]) for field, sums_T in self._sums.items()},
        "epochs": round(self._sums["rows"][number] / rows, 4),
      }
      for number, (task, rows) in enumerate(self._epoch_rows.items())
    }


class Recorder:
  """Takes the metrics of each step and writes those of the previous step.

  `streak` is the number of steps skipped in a row, `any_finite` whether any step was not skipped.
  Both are as of the last step that was written, so call `flush` before using them.

  `flops_per_token(length)` is for a position of an example, `utilization(flops, seconds)` the
  fraction of the hardware's peak or "unknown"; `learning_rate(step)` counts steps from 0.
  """

  def __init__(
    self,
    journal: Journal,
    display: Progress,
    timer: Goodput,
    seen: Seen,
    flops_per_token: Callable[[int], float],
    utilization: Callable[[float, float], float | str],
    learning_rate: Callable[[int], float],
  ):
    self.seen, self.streak, self.any_finite, self.skipped = seen, 0, False, 0
    self._journal, self._display, self._timer = journal, display, timer
    self._flops_per_token, self._utilization = flops_per_token, utilization
    self._learning_rate = learning_rate
    self._pending: tuple[int, Mapping[str, ArrayTree], Callable[[], Counts]] | None = None
    self._tokens, self._flops, self._busy_s = 0, 0.0, 0.0

  def add(
    self, number: int, metrics: Mapping[str, ArrayTree], counts: Callable[[], Counts]
  ) -> None:
    """Keeps the metrics of step `number`, which has just begun, and writes those of the previous
    step.

    `counts()` returns the counts of its batch over all processes, and may wait for the step.
    """
    self.flush()
    self._pending = number, metrics, counts

  def flush(self) -> None:
    """Writes the metrics kept, waiting for their step. Raises BadSteps if too many steps were
    skipped."""
    if self._pending is None:
      return
    (number, metrics, counts_of), self._pending = self._pending, None
    metrics, counts = jax.device_get(metrics), counts_of()
    self.seen.add(counts)
    self.streak, self.skipped = int(metrics["skipped_in_a_row"]), int(metrics["skipped"])
    self.any_finite |= self.streak == 0
    values = self._values(number, metrics, counts)
    self._journal.write(number, values)
    self._display.update(number, values)
    self._timer.note(number)
    guard.check_streak(self.streak, number)

  def write_held_out(self, number: int, held_out: Mapping[str, Mapping[str, float]]) -> None:
    """Writes held-out losses by task, and the counts of each task so far."""
    self._journal.write(number, {"held_out": held_out, "seen": self.seen.by_task()})
    losses = ", ".join(
      f"{task} {values['loss']:.3f}" for task, values in held_out.items() if "loss" in values
    )
    self._display.say(f"step {number} | held-out loss: {losses}")

  def speed(self) -> tuple[float, float | str]:
    """Returns tokens per second and utilization over all steps written."""
    busy_s = self._busy()
    return self._tokens / max(busy_s, 1e-9), self._utilization(self._flops, busy_s)

  def _busy(self) -> float:
    """Returns the seconds spent so far on steps and on waiting for their data."""
    self._timer.book()
    return sum(self._timer.seconds[bucket] for bucket in BUSY)

  def _values(self, number: int, metrics: Mapping[str, Any], counts: Counts) -> dict[str, Any]:
    before, self._busy_s = self._busy_s, self._busy()
    seconds = max(self._busy_s - before, 1e-9)
    flops = counts.flops(self._flops_per_token)
    self._tokens += counts.tokens
    self._flops += flops
    losses = metrics["losses"]
    by_player = {f"loss/{player}": loss for player, loss in losses.items()}
    return {
      "loss": sum(losses.values()),
      **(by_player if len(losses) > 1 else {}),
      **step.rates(metrics["sums"]),
      "grad_norm": metrics["grad_norm"],
      "update_norm": metrics["update_norm"],
      "lr": self._learning_rate(number - 1),
      "skipped": self.skipped,
      "tokens": counts.tokens,
      "batch": counts.digest,
      "tokens_per_s": round(counts.tokens / seconds, 1),
      "mfu": self._utilization(flops, seconds),
    }
