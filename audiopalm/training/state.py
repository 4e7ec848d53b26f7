"""The state of a run (parameters, optimizer, variables, counters), and the learner of each
player."""

import dataclasses
import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from audiopalm import sharding
from audiopalm.errors import ConfigError
from audiopalm.experiment import Experiment
from audiopalm.models.base import Model, Params
from audiopalm.objectives.base import Objective
from audiopalm.training import optimizers


@dataclasses.dataclass(frozen=True, eq=False)
class Learner:
  """A player in training: the groups of parameters that it `owns` (() is all), limited to paths
  that contain an entry of `only`, and the optimizer `chain` that updates them at each `every`-th
  step."""

  owns: tuple[str, ...]
  chain: optax.GradientTransformationExtraArgs
  only: tuple[str, ...] = ()
  every: int = 1

  def own(self, params: Params) -> Params:
    """Returns the part of the parameters that it trains."""
    groups = {name: params[name] for name in self.owns or params if name in params}
    return named(groups, self.only) if self.only else groups

  def init(self, player: str, params: Params) -> optax.OptState:
    """Returns the first state of its optimizer; ConfigError if there is nothing to train."""
    unknown = [name for name in self.owns if name not in params]
    if unknown:
      raise ConfigError(
        f"The player {player!r} owns the parameters {', '.join(unknown)}, but the model has "
        f"{', '.join(params)}. Use an objective that is made for this model."
      )
    own = self.own(params)
    if not own:
      raise ConfigError(
        f"optimizer.train_only={self.only!r} names no parameter of {player!r}. Name a part of a "
        f"path, such as {', '.join(params)} or layers/mlp; () trains all."
      )
    return self.chain.init(own)


def learners_of(experiment: Experiment) -> dict[str, Learner]:
  """Returns the learner of each player: with its own optimizer, or with that of the run."""
  learners = {}
  for name, player in experiment.objective.players.items():
    settings = player.optimizer or experiment.optimizer
    if player.optimizer is not None and player.optimizer.spike is not None:
      raise ConfigError(
        f"The optimizer of the player {name!r} has spike={player.optimizer.spike}: a step is taken "
        "or skipped as a whole. Set it in the optimizer of the experiment."
      )
    chain = optimizers.build(settings, experiment.steps)
    learners[name] = Learner(player.owns, chain, settings.train_only, player.every)
  return learners


def named(tree: Params, only: tuple[str, ...], path: str = "/") -> Params:
  """Returns the leaves of a tree whose path contains one of `only` ("lora", "layers/mlp")."""
  selected = {}
  for name, child in tree.items():
    below = f"{path}{name}/"
    if any(f"/{entry}/" in below for entry in only):
      selected[name] = child
    elif isinstance(child, Mapping) and (selected_below := named(child, only, below)):
      selected[name] = selected_below
  return selected


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class TrainState:
  """The whole state of a run on the devices.

  `optimizer` has the optax state of each player of the objective, `variables` the arrays of the
  objective without gradients ({} for most). `step` counts steps and is also the data position,
  because a batch depends only on the step. `skipped` counts steps without an update because a value
  was not finite or spiked, `skipped_in_a_row` the latest such steps in a row. `usual_norm` is the
  running mean of the gradient norms of the other steps, 0 before the first.
  """

  params: Params
  optimizer: Mapping[str, optax.OptState]
  variables: Params
  step: jax.Array
  skipped: jax.Array
  skipped_in_a_row: jax.Array
  usual_norm: jax.Array


def merged(params: Params, own: Params) -> Params:
  """Returns the parameters with those of `own`, a part of the tree, replaced."""
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
  """Returns the first variables of an objective, placed on the mesh; the values do not depend on
  the mesh."""
  where = jax.tree.map(lambda s: s.sharding, variable_shapes(objective, model, params, mesh))
  make = functools.partial(objective.variables, model)
  return jax.jit(make, out_shardings=where)(params, key)


def _beginning(learners: Mapping[str, Learner], params: Params) -> tuple:
  optimizer = {player: learner.init(player, params) for player, learner in learners.items()}
  return optimizer, jnp.int32(0), jnp.int32(0), jnp.int32(0), jnp.float32(0)
