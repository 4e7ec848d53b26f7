"""What an objective is to the training step: players, variables and losses."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import jax


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Loss:
  """A loss before it is averaged: `sum` over cells and `weight`, the sum of their weights.

  The step divides the sum over all devices and micro-batches by their summed weight. Each metric is
  a pair (sum, weight) too, and is reduced in the same way.
  """

  sum: Any
  weight: Any
  metrics: Mapping[str, tuple[Any, Any]]


class Objective(Protocol):
  """Frozen settings of a loss, with these methods; all are pure.

  A *player* is a subset of the parameters with its own loss and optimizer state: one for a language
  model, two for a GAN. *Variables* are state without a gradient.
  """

  @property
  def players(self) -> Mapping[str, tuple[str, ...]]:
    """Returns the groups of parameters (names at the top of the tree) of each player; () is all."""

  def variables(self, model, key) -> dict:
    """Returns the first variables, {} where there are none."""

  def losses(self, model, params, variables, batch, key, machine) -> tuple[dict[str, Loss], dict]:
    """Returns ({player: Loss}, new variables). Without a key nothing is random: evaluation."""
