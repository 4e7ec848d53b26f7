"""Held-out loss by task during training: always the same batches, without dropout."""

from collections.abc import Mapping

import jax

from audiopalm import sharding
from audiopalm.batch import Batch
from audiopalm.data import feeds
from audiopalm.data.prepared import Prepared
from audiopalm.errors import ConfigError
from audiopalm.experiment import Experiment
from audiopalm.models.base import Model, Params
from audiopalm.objectives import base
from audiopalm.settings import Machine
from audiopalm.training import goodput, step, together


class HeldOut:
  """Measures the mean loss of each task on `evaluation.held_out_batch_rows` batch rows of its
  validation split. A task without any is left out. Batches are made once and kept on the host.
  """

  def __init__(
    self,
    experiment: Experiment,
    prepared: Prepared,
    model: Model,
    machine: Machine,
    mesh: jax.sharding.Mesh,
    timer: goodput.Goodput,
  ):
    self._experiment, self._prepared, self._mesh, self._timer = experiment, prepared, mesh, timer
    data = experiment.data
    rows = data.batch_rows // sharding.batch_ways(mesh)
    self._batch_rows = data.batch_rows // machine.accumulation(rows, data.length)
    self._step = step.build_held_out(model, experiment.objective, machine)
    self._key = jax.random.key(0)
    self._batches: dict[str, list[Batch]] | None = None
    self._compiled: jax.stages.Compiled | None = None

  def check(self, metric: str, params: Params, variables: Params) -> None:
    """Raises ConfigError unless `measure` will return TASK/METRIC; takes arrays or their shapes."""
    task, name = metric.split("/", 1)
    batches = self._loaded()
    if task not in batches:
      raise ConfigError(f"keep_best={metric!r}: task {task!r} has no held-out rows to measure.")
    losses = jax.eval_shape(self._step, params, variables, batches[task][0], self._key)
    names = ["loss", *base.metrics(losses)]
    if name not in names:
      raise ConfigError(f"keep_best={metric!r}: {task} is measured by {', '.join(names)} only.")

  def measure(self, params: Params, variables: Params) -> dict[str, dict[str, float]]:
    """Returns {task: {"loss", "nll_text", "nll_speech", "accuracy_text", ...}}."""
    with self._timer.spend("evaluation"):
      return {
        task: _means([self._losses(params, variables, *item) for item in enumerate(batches)])
        for task, batches in self._loaded().items()
      }

  def _loaded(self) -> dict[str, list[Batch]]:
    if self._batches is None:
      tasks, rows = self._experiment.tasks, self._experiment.evaluation.held_out_batch_rows
      feed = self._experiment.data.feed(self._prepared, tasks, "validation")
      own_rows = sharding.rows_here(self._mesh, self._batch_rows)
      batches = {
        task.name: feeds.held_out(feed, number, rows, self._batch_rows, own_rows)
        for number, task in enumerate(tasks)
      }
      self._batches = {task: of_task for task, of_task in batches.items() if of_task}
    return self._batches

  def _losses(
    self, params: Params, variables: Params, number: int, batch: Batch
  ) -> dict[str, base.Loss]:
    placed = sharding.place(batch, self._mesh, batch.axes(), self._batch_rows)
    key = jax.random.fold_in(self._key, number)  # the same draws at every measurement
    if self._compiled is None:
      with self._timer.spend("compile"):
        self._compiled = self._step.lower(params, variables, placed, key).compile()
        # As in the loop: no process waits in a collective while another compiles.
        together.gathered(None)
    return self._compiled(params, variables, placed, key)


def _means(batches: list[Mapping[str, base.Loss]]) -> dict[str, float]:
  """Returns weighted means, added up on the host in double precision; "loss" is the sum of the
  players' means, as in training."""
  totals: dict[str, list[float]] = {}
  batches = jax.device_get(batches)
  for losses in batches:
    means = {f"loss/{player}": (loss.sum, loss.weight) for player, loss in losses.items()}
    for name, (value, weight) in {**means, **base.metrics(losses)}.items():
      total = totals.setdefault(name, [0.0, 0.0])
      total[0] += float(value)
      total[1] += float(weight)
  rates = step.rates(totals)
  names = [f"loss/{player}" for player in batches[0] if f"loss/{player}" in rates]
  by_player = {name: rates.pop(name) for name in names}
  loss = {"loss": sum(by_player.values())} if by_player else {}  # no loss if all weights are 0
  return {**loss, **(by_player if len(batches[0]) > 1 else {}), **rates}
