"""What a step takes and gives back: parameters, optimizer, variables, counters."""

import dataclasses
import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from audiopalm import sharding
from audiopalm.models.base import Model, Params
from audiopalm.objectives.base import Objective
from audiopalm.training.learners import Learner


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class TrainState:
  """The whole state of a run on the devices.

  `optimizer` has the optax state of each player of the objective, `variables` what the objective
  keeps without gradients ({} for most). `step` counts steps and is the data position too, as a
  batch depends on it alone; `skipped` counts steps without an update because something was not
  finite or spiked, `skipped_in_a_row` the last unbroken streak of these. `usual_norm` is the
  running mean of the gradient norms of the others, 0 before the first.
  """

  params: Params
  optimizer: Mapping[str, optax.OptState]
  variables: Params
  step: jax.Array
  skipped: jax.Array
  skipped_in_a_row: jax.Array
  usual_norm: jax.Array


def merged(params: Params, own: Params) -> Params:
  """Returns the parameters with those of `own`, a part of the tree, in their places."""
  result = dict(params)
  for name, child in own.items():
    result[name] = merged(params.get(name, {}), child) if isinstance(child, Mapping) else child
  return result


def create(params: Params, variables: Params, learners: Mapping[str, Learner]) -> TrainState:
  """Returns the state before the first step.

  Call under `jax.set_mesh`: the optimizer's arrays are then placed as their parameters are.
  """
  optimizer, *counters = jax.jit(functools.partial(_beginning, learners))(params)
  return TrainState(params, optimizer, variables, *counters)


def shapes(
  model: Model, objective: Objective, learners: Mapping[str, Learner], mesh: jax.sharding.Mesh
) -> TrainState:
  """Returns the state of a run as ShapeDtypeStructs with shardings: the target of a restore."""
  params = model.shapes(mesh)
  variables = variable_shapes(objective, model, params, mesh)
  optimizer, *counters = jax.eval_shape(functools.partial(_beginning, learners), params)

  def placed(shaped):
    spec = shaped.sharding.spec if shaped.sharding is not None else jax.P()
    where = jax.NamedSharding(mesh, spec)
    return jax.ShapeDtypeStruct(shaped.shape, shaped.dtype, sharding=where)

  rest = jax.tree.map(placed, (optimizer, *counters))
  return TrainState(params, rest[0], variables, *rest[1:])


def variable_shapes(
  objective: Objective, model: Model, params: Params, mesh: jax.sharding.Mesh
) -> Params:
  """Returns the variables of an objective as ShapeDtypeStructs with shardings, from parameters or
  their shapes."""
  key = jax.eval_shape(lambda: jax.random.key(0))
  shapes = jax.eval_shape(functools.partial(objective.variables, model), params, key)
  shardings = sharding.shardings(objective.variable_axes(model), shapes, mesh)
  return jax.tree.map(
    lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where), shapes, shardings
  )


def variables(
  objective: Objective, model: Model, params: Params, key: jax.Array, mesh: jax.sharding.Mesh
) -> Params:
  """Returns the first variables of an objective, placed on the mesh; the same whatever the mesh."""
  where = jax.tree.map(lambda s: s.sharding, variable_shapes(objective, model, params, mesh))
  make = functools.partial(objective.variables, model)
  return jax.jit(make, out_shardings=where)(params, key)


def _beginning(learners: Mapping[str, Learner], params: Params) -> tuple:
  optimizer = {player: learner.init(player, params) for player, learner in learners.items()}
  return optimizer, jnp.int32(0), jnp.int32(0), jnp.int32(0), jnp.float32(0)
