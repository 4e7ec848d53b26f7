"""Held-out loss by task while training: the same rows, the same order, no dropout."""

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
  """Measures the mean loss of each task on rows of its validation split.

  They are `experiment.evaluation.rows` rows a task; one without any is left out. The batches are
  made once and kept on the host.
  """

  def __init__(
    self,
    experiment: Experiment,
    prepared: Prepared,
    model: Model,
    machine: Machine,
    mesh: jax.sharding.Mesh,
    spent: goodput.Goodput,
  ):
    self._experiment, self._prepared, self._mesh, self._spent = experiment, prepared, mesh, spent
    data = experiment.data
    rows = data.batch_rows // sharding.batch_ways(mesh)
    self._batch_rows = data.batch_rows // machine.accumulation(rows, data.length)
    self._step = step.build_held_out(model, experiment.objective, machine)
    self._key = jax.random.key(0)
    self._batches: dict[str, list[Batch]] | None = None
    self._compiled = None

  def check(self, metric: str, params: Params, variables: Params) -> None:
    """Raises ConfigError unless `measure` will give TASK/METRIC. Arrays or their shapes."""
    task, name = metric.split("/", 1)
    self._batches = self._batches or self._load()
    if task not in self._batches:
      raise ConfigError(f"keep_best={metric!r}: task {task!r} has no held-out rows to measure.")
    losses = jax.eval_shape(self._step, params, variables, self._batches[task][0], self._key)
    names = ["loss", *base.metrics(losses)]
    if name not in names:
      raise ConfigError(f"keep_best={metric!r}: {task} is measured by {', '.join(names)} only.")

  def measure(self, params: Params, variables: Params) -> dict[str, dict[str, float]]:
    """Returns {task: {"loss", "nll_text", "nll_speech", "accuracy_text", ...}}."""
    with self._spent.spend("evaluation"):
      if self._batches is None:
        self._batches = self._load()
      return {
        task: _means([self._sums(params, variables, *each) for each in enumerate(batches)])
        for task, batches in self._batches.items()
      }

  def _load(self) -> dict[str, list[Batch]]:
    tasks, data = self._experiment.tasks, self._experiment.data
    feed = data.feed(self._prepared, tasks, "validation")
    mine = sharding.rows_here(self._mesh, self._batch_rows)
    rows = self._experiment.evaluation.rows
    batches = {
      task.name: feeds.held_out(feed, number, rows, self._batch_rows, mine)
      for number, task in enumerate(tasks)
    }
    return {task: batches_of_task for task, batches_of_task in batches.items() if batches_of_task}

  def _sums(
    self, params: Params, variables: Params, number: int, batch: Batch
  ) -> dict[str, base.Loss]:
    placed = sharding.place(batch, self._mesh, batch.axes(), self._batch_rows)
    key = jax.random.fold_in(self._key, number)  # the same draws at every measurement
    if self._compiled is None:
      with self._spent.spend("compile"):
        self._compiled = self._step.lower(params, variables, placed, key).compile()
        together.gathered(None)  # as in the loop: its collectives wait for nobody's compiler
    return self._compiled(params, variables, placed, key)


def _means(batches: list[Mapping[str, base.Loss]]) -> dict[str, float]:
  """Returns sums over sums of weights, added on the host in double precision; "loss" is the sum of
  the players' means, as in training."""
  totals: dict[str, list[float]] = {}
  players: dict[str, None] = {}
  for losses in jax.device_get(batches):
    players |= dict.fromkeys(losses)
    means = {f"loss/{player}": (loss.sum, loss.weight) for player, loss in losses.items()}
    for name, pair in {**means, **base.metrics(losses)}.items():
      total = totals.setdefault(name, [0.0, 0.0])
      total[0] += float(pair[0])
      total[1] += float(pair[1])
  means_by_name = step.rates(totals)
  names = [f"loss/{player}" for player in players if f"loss/{player}" in means_by_name]
  losses_of_players = {name: means_by_name.pop(name) for name in names}
  # Where nothing was weighed there is no loss.
  total_loss = {"loss": sum(losses_of_players.values())} if losses_of_players else {}
  return {**total_loss, **(losses_of_players if len(players) > 1 else {}), **means_by_name}
