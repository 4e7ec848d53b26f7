"""Which parameters each player of an objective trains, by which optimizer and at which steps."""

import dataclasses
from collections.abc import Mapping

import optax

from audiopalm.errors import ConfigError
from audiopalm.experiment import Experiment
from audiopalm.models.base import Params
from audiopalm.training import optimizers


@dataclasses.dataclass(frozen=True, eq=False)
class Learner:
  """A player while it trains: the groups of parameters it `owns` (() is all), limited to paths with
  an entry of `only`, and the optimizer `chain` that moves them at each `every`-th step."""

  owns: tuple[str, ...]
  chain: optax.GradientTransformationExtraArgs
  only: tuple[str, ...] = ()
  every: int = 1

  def own(self, params: Params) -> Params:
    """Returns the part of a tree of parameters that it trains."""
    groups = {name: params[name] for name in self.owns or params if name in params}
    return named(groups, self.only) if self.only else groups

  def init(self, player: str, params: Params) -> optax.OptState:
    """Returns the first state of its optimizer; ConfigError where there is nothing to train."""
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


def of(experiment: Experiment) -> dict[str, Learner]:
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
  """Returns the leaves of a tree in whose path one of `only` occurs ("lora", "layers/mlp")."""
  selected = {}
  for name, child in tree.items():
    below = f"{path}{name}/"
    if any(f"/{entry}/" in below for entry in only):
      selected[name] = child
    elif isinstance(child, Mapping) and (selected_below := named(child, only, below)):
      selected[name] = selected_below
  return selected
