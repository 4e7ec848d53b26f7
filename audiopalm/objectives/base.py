"""What an objective is to the training step: players, variables and losses."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import jax

from audiopalm.batch import Batch
from audiopalm.errors import ConfigError
from audiopalm.models.base import Model, Params
from audiopalm.settings import Machine, Optimizer


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Loss:
  """A loss before it is averaged: `sum` over cells and `weight`, the sum of their weights.

  The step divides the sum over all devices and micro-batches by their summed weight. Each metric is
  a pair (sum, weight) too, and is reduced in the same way.
  """

  sum: jax.Array
  weight: jax.Array
  metrics: Mapping[str, tuple[jax.Array, jax.Array]]


@dataclasses.dataclass(frozen=True)
class Player:
  """A part of the parameters with a loss of its own: one for a language model, two for a GAN.

  `owns` names groups at the top of the tree of parameters, () is all of them. `optimizer` None is
  that of the experiment. Parameters move at every `every`-th step, from the first on.
  """

  owns: tuple[str, ...] = ()
  optimizer: Optimizer | None = None
  every: int = 1

  def __post_init__(self):
    if type(self.every) is not int or self.every < 1:
      raise ConfigError(f"Player.every must be an integer of at least 1, not {self.every!r}.")


class Objective(Protocol):
  """Frozen settings of a loss, with these methods; all are pure.

  *Variables* are arrays that no gradient reaches: codebooks that follow a running mean, a random
  projection. They are saved with the parameters, and are there wherever the model is used.
  """

  @property
  def players(self) -> Mapping[str, Player]:
    """Returns the players by name."""

  @property
  def specials(self) -> tuple[str, ...]:
    """Returns the specials that every column must have an id for, ("mask",); () for most."""

  def variables(self, model: Model, params: Params, key: jax.Array) -> Params:
    """Returns the first variables, a nested dict of arrays; {} where there are none."""

  def variable_axes(self, model: Model) -> dict[str, Any]:
    """Returns the logical axes of every variable, a tuple for each array, in the same tree."""

  def losses(
    self,
    model: Model,
    params: Params,
    variables: Params,
    batch: Batch,
    *,
    key: jax.Array,
    train: bool,
    step: jax.Array,
    machine: Machine,
  ) -> tuple[dict[str, Loss], Params]:
    """Returns ({player: Loss}, new variables) of the step-th batch.

    `key` draws what the loss draws (masks, noise, times), in training and in evaluation; `train`
    says whether dropout and updates of variables happen.
    """

  def score(
    self,
    model: Model,
    params: Params,
    variables: Params,
    batch: Batch,
    *,
    segments: int,
    machine: Machine,
  ) -> dict[str, dict[str, jax.Array]] | None:
    """Returns what `evaluate` asks of teacher-forced answers, sums for each of `segments` segments
    of a batch row: {modality: {"nll", "count", "correct"}}, each [B, segments + 1]. None for an
    objective without likelihoods."""


class OnePlayer:
  """The defaults of an objective with one player, without specials, variables or likelihoods."""

  players: ClassVar[Mapping[str, Player]] = MappingProxyType({"model": Player()})
  specials: ClassVar[tuple[str, ...]] = ()

  def variables(self, model: Model, params: Params, key: jax.Array) -> Params:
    return {}

  def variable_axes(self, model: Model) -> dict[str, Any]:
    return {}

  def score(self, *_: object, **__: object) -> None:
    return None


def metrics(losses: Mapping[str, Loss]) -> dict[str, tuple[jax.Array, jax.Array]]:
  """Returns the metrics of all players; where there are several, each under its player's name:
  "critic/accuracy"."""
  several = len(losses) > 1
  return {
    f"{player}/{name}" if several else name: pair
    for player, loss in losses.items()
    for name, pair in loss.metrics.items()
  }
