"""Held-out loss by task while training: the same rows, the same order, no dropout."""

from collections.abc import Mapping
from typing import Any

import jax

from audiopalm import sharding
from audiopalm.data import loader
from audiopalm.errors import ConfigError
from audiopalm.settings import Machine
from audiopalm.training import goodput, step, together


class HeldOut:
  """Measures the mean loss of each task on rows of its validation split.

  They are `experiment.evaluation.rows` rows a task; one without any is left out. The batches are
  made once and kept on the host.
  """

  def __init__(
    self,
    experiment: Any,
    prepared: Any,
    model: Any,
    machine: Machine,
    mesh: jax.sharding.Mesh,
    spent: goodput.Goodput,
  ):
    self._experiment, self._prepared, self._mesh, self._spent = experiment, prepared, mesh, spent
    rows = experiment.batch_rows // sharding.batch_ways(mesh)
    micro_batches = machine.accumulation(rows, experiment.row_length)
    self._batch_rows = experiment.batch_rows // micro_batches
    self._step = step.build_held_out(model, experiment.objective, machine)
    self._batches: dict[str, list] | None = None
    self._compiled = None

  def check(self, metric: str, params: Any, variables: Any) -> None:
    """Raises ConfigError unless `measure` will give TASK/METRIC. Arrays or their shapes."""
    task, name = metric.split("/", 1)
    self._batches = self._batches or self._load()
    if task not in self._batches:
      raise ConfigError(f"keep_best={metric!r}: task {task!r} has no held-out rows to measure.")
    losses = jax.eval_shape(self._step, params, variables, self._batches[task][0])
    names = ["loss", *(each for loss in losses.values() for each in loss.metrics)]
    if name not in names:
      raise ConfigError(f"keep_best={metric!r}: {task} is measured by {', '.join(names)} only.")

  def measure(self, params: Any, variables: Any) -> dict[str, dict[str, float]]:
    """Returns {task: {"loss", "nll_text", "nll_speech", "accuracy_text", ...}}."""
    with self._spent.spend("evaluation"):
      if self._batches is None:
        self._batches = self._load()
      return {
        task: _means([self._sums(params, variables, batch) for batch in batches])
        for task, batches in self._batches.items()
      }

  def _load(self) -> dict[str, list]:
    batches = {
      task.name: loader.held_out(
        self._prepared,
        task,
        self._experiment.evaluation.rows,
        batch_rows=self._batch_rows,
        mine=sharding.rows_here(self._mesh, self._batch_rows),
      )
      for task in self._experiment.tasks
    }
    return {task: found for task, found in batches.items() if found}

  def _sums(self, params: Any, variables: Any, batch: Any) -> Any:
    placed = sharding.place(batch, self._mesh, ("batch", "rows"), self._batch_rows)
    if self._compiled is None:
      with self._spent.spend("compile"):
        self._compiled = self._step.lower(params, variables, placed).compile()
        together.gathered(None)  # as in the loop: its collectives wait for nobody's compiler
    return self._compiled(params, variables, placed)


def _means(batches: list[Mapping[str, Any]]) -> dict[str, float]:
  """Returns sums over sums of weights, added on the host in double precision."""
  totals: dict[str, list[float]] = {}
  for losses in jax.device_get(batches):
    whole = [("loss", (loss.sum, loss.weight)) for loss in losses.values()]
    for name, pair in [
      *whole,
      *(item for loss in losses.values() for item in loss.metrics.items()),
    ]:
      total = totals.setdefault(name, [0.0, 0.0])
      total[0] += float(pair[0])
      total[1] += float(pair[1])
  return step.rates(totals)
