"""What a step takes and gives back: parameters, optimizer, variables, counters."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class TrainState:
  """The whole state of a run on the devices.

  `params` is the model's nested dict of float32 arrays; `optimizer` holds one optax state per
  player of the objective; `variables` is what the objective keeps that no gradient reaches ({} for
  most). `step` counts steps begun and is the data position too, as a batch depends on it alone;
  `skipped` counts those whose update was left out for not being finite or for a spike,
  `skipped_in_a_row` the last unbroken streak of these. `usual_norm` is the running mean of the
  gradient norms of the others, 0 before the first.
  """

  params: Any
  optimizer: Mapping[str, Any]
  variables: Any
  step: jax.Array
  skipped: jax.Array
  skipped_in_a_row: jax.Array
  usual_norm: jax.Array


def owned(params: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, Any]:
  """Returns a player's own parameters: the groups `names` of the tree, all of them for ()."""
  return {name: params[name] for name in names} if names else params


def create(
  params: Any, variables: Any, players: Mapping[str, tuple[str, ...]], chain: Any
) -> TrainState:
  """Returns the state before the first step. `players` maps each player to the groups it owns.

  Call under `jax.set_mesh`: the optimizer's arrays are then placed as their parameters are.
  """
  optimizer, *counters = jax.jit(functools.partial(_beginning, players, chain))(params)
  return TrainState(params, optimizer, variables, *counters)


def shapes(
  params: Any,
  variables: Any,
  players: Mapping[str, tuple[str, ...]],
  chain: Any,
  mesh: jax.sharding.Mesh,
) -> TrainState:
  """Returns what `create` returns as ShapeDtypeStructs with shardings, from such.

  It is the target of a restore, which then computes no fresh parameters.
  """
  optimizer, *counters = jax.eval_shape(functools.partial(_beginning, players, chain), params)

  def placed(shaped):
    spec = shaped.sharding.spec if shaped.sharding is not None else jax.P()
    where = jax.NamedSharding(mesh, spec)
    return jax.ShapeDtypeStruct(shaped.shape, shaped.dtype, sharding=where)

  rest = jax.tree.map(placed, (optimizer, variables, *counters))
  return TrainState(params, *rest)


def _beginning(players: Mapping[str, tuple[str, ...]], chain: Any, params: Any) -> tuple:
  optimizer = {player: chain.init(owned(params, names)) for player, names in players.items()}
  return optimizer, jnp.int32(0), jnp.int32(0), jnp.int32(0), jnp.float32(0)


def updated(params: Mapping[str, Any], names: tuple[str, ...], update: Any) -> Mapping[str, Any]:
  """Returns the parameters with a player's update added to its own."""
  return {**params, **optax.apply_updates(owned(params, names), update)}
