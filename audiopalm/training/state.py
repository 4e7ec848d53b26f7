"""What a step takes and gives back: parameters, optimizer, variables, counters."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from audiopalm.errors import ConfigError


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


def owned(
  params: Mapping[str, Any], names: tuple[str, ...], only: tuple[str, ...] = ()
) -> dict[str, Any]:
  """Returns a player's own parameters: the groups `names` of the tree, all of them for ().

  Of these, with `only`, those in whose path one of its entries occurs ("lora", "layers/mlp"):
  all others are frozen.
  """
  groups = {name: params[name] for name in names or params}
  return _named(groups, only, "/") if only else groups


def _named(tree: Mapping[str, Any], only: tuple[str, ...], path: str) -> dict[str, Any]:
  """Returns the tree without leaves that `only` does not name, and without what is then empty."""
  kept = {}
  for name, child in tree.items():
    below = f"{path}{name}/"
    if any(f"/{entry}/" in below for entry in only):
      kept[name] = child
    elif isinstance(child, Mapping) and (left := _named(child, only, below)):
      kept[name] = left
  return kept


def merged(params: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the parameters with those of `own`, a part of the tree, in their places."""
  found = dict(params)
  for name, child in own.items():
    found[name] = merged(params.get(name, {}), child) if isinstance(child, Mapping) else child
  return found


def create(
  params: Any,
  variables: Any,
  players: Mapping[str, tuple[str, ...]],
  chain: Any,
  only: tuple[str, ...] = (),
) -> TrainState:
  """Returns the state before the first step. `players` maps each player to the groups it owns, of
  which it trains `only` (see `owned`).

  Call under `jax.set_mesh`: the optimizer's arrays are then placed as their parameters are.
  """
  optimizer, *counters = jax.jit(functools.partial(_beginning, players, chain, only))(params)
  return TrainState(params, optimizer, variables, *counters)


def shapes(
  params: Any,
  variables: Any,
  players: Mapping[str, tuple[str, ...]],
  chain: Any,
  mesh: jax.sharding.Mesh,
  only: tuple[str, ...] = (),
) -> TrainState:
  """Returns what `create` returns as ShapeDtypeStructs with shardings, from such.

  It is the target of a restore, which then computes no fresh parameters.
  """
  optimizer, *counters = jax.eval_shape(functools.partial(_beginning, players, chain, only), params)

  def placed(shaped):
    spec = shaped.sharding.spec if shaped.sharding is not None else jax.P()
    where = jax.NamedSharding(mesh, spec)
    return jax.ShapeDtypeStruct(shaped.shape, shaped.dtype, sharding=where)

  rest = jax.tree.map(placed, (optimizer, variables, *counters))
  return TrainState(params, *rest)


def _beginning(
  players: Mapping[str, tuple[str, ...]], chain: Any, only: tuple[str, ...], params: Any
) -> tuple:
  optimizer = {}
  for player, names in players.items():
    own = owned(params, names, only)
    if not own:
      raise ConfigError(
        f"optimizer.train_only={only!r} names no parameter of {player!r}. Name a part of a path, "
        f"such as {', '.join(params)} or layers/mlp; () trains all."
      )
    optimizer[player] = chain.init(own)
  return optimizer, jnp.int32(0), jnp.int32(0), jnp.int32(0), jnp.float32(0)


def updated(params: Mapping[str, Any], own: Mapping[str, Any], update: Any) -> Mapping[str, Any]:
  """Returns the parameters with a player's update added to its own."""
  return merged(params, optax.apply_updates(own, update))
