"""What a step takes and gives back: parameters, optimizer, variables and three counters."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class TrainState:
  """The whole state of a run on the devices; the data position is `step`, as a batch depends on it alone.

  `params` is the model's nested dict of float32 arrays; `optimizer` holds one optax state per player
  of the objective; `variables` is what the objective keeps that no gradient reaches ({} for most).
  `step` counts steps begun, `skipped` those of them whose update was left out for not being finite,
  `skipped_in_a_row` the last unbroken streak of these.
  """

  params: Any
  optimizer: Mapping[str, Any]
  variables: Any
  step: jax.Array
  skipped: jax.Array
  skipped_in_a_row: jax.Array


def owned(params: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, Any]:
  """Returns a player's own parameters: the groups `names` of the tree, all of them where () is given."""
  return {name: params[name] for name in names} if names else params


def create(params: Any, variables: Any, players: Mapping[str, tuple[str, ...]], chain: Any):
  """Returns the state before the first step. `players` maps each player to the groups it owns.

  Call under `jax.set_mesh`: the optimizer's arrays are then placed as their parameters are.
  """

  def rest(params):
    optimizer = {player: chain.init(owned(params, names)) for player, names in players.items()}
    return optimizer, jnp.int32(0), jnp.int32(0), jnp.int32(0)

  optimizer, *counters = jax.jit(rest)(params)
  return TrainState(params, optimizer, variables, *counters)


def updated(params: Mapping[str, Any], names: tuple[str, ...], update: Any) -> Mapping[str, Any]:
  """Returns the parameters with a player's update added to its own."""
  return {**params, **optax.apply_updates(owned(params, names), update)}
