"""One training step: gradients, their reduction, the update, and the check that it is finite.

    batch -> micro-batches -> objective.losses -> sums / total weight -> optax -> finite? -> state

Objectives return sums and weights; only this file divides. So a large batch, its micro-batches and
its parts on many devices have the same gradient: that of the mean over all weighted cells.
"""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax

from audiopalm.batch import Batch
from audiopalm.models.base import Model, Params
from audiopalm.objectives import base
from audiopalm.objectives.base import Objective
from audiopalm.settings import Machine
from audiopalm.sharding import Tree
from audiopalm.training import state as states
from audiopalm.training.state import Learner

USUAL = 0.01  # the weight of a new value in the running mean of gradient norms


def build(
  model: Model,
  objective: Objective,
  learners: Mapping[str, Learner],
  machine: Machine,
  accumulation: int = 1,
  spike: float | None = None,
) -> Callable:
  """Returns the jitted train_step(state, batch, key) -> (state, metrics), which donates the state.

  The batch is split into `accumulation` micro-batches. `key` is the run's: each step folds its
  number into it. A step that is not finite, or whose gradient norm is more than `spike` times the
  usual one, changes only the counters of the state.

  Metrics are scalars on the device: `losses` {player: mean}, `sums` {name: (sum, weight)} of the
  objective, `grad_norm` before clipping, `update_norm`, `skipped` and `skipped_in_a_row`.
  """
  differentiate = functools.partial(gradients, model, objective, learners, machine)

  def train_step(state: states.TrainState, batch: Batch, key: jax.Array):
    key = jax.random.fold_in(key, state.step)
    if accumulation == 1:
      losses, grads, variables = differentiate(state, state.variables, batch, key)
    else:
      losses, grads, variables = _accumulated(
        differentiate, learners, state, batch, key, accumulation
      )
    weights = {p: jnp.where(loss.weight == 0, 1, loss.weight) for p, loss in losses.items()}
    means = {player: loss.sum / weights[player] for player, loss in losses.items()}

    params, optimizer, moved = state.params, {}, {}
    for player, learner in learners.items():
      weight = weights[player]
      grads[player] = jax.tree.map(lambda grad, weight=weight: grad / weight, grads[player])
      own, before = learner.own(state.params), state.optimizer[player]
      moved[player], optimizer[player] = learner.chain.update(
        grads[player], before, own, step=state.step
      )
      if learner.every > 1:
        due = state.step % learner.every == 0
        moved[player] = jax.tree.map(lambda move, due=due: jnp.where(due, move, 0), moved[player])
        optimizer[player] = _chosen(due, optimizer[player], before)
      params = states.merged(params, optax.apply_updates(own, moved[player]))

    grad_norm, update_norm = optax.tree.norm(grads), optax.tree.norm(moved)
    # Check the norm of the update too: a finite gradient can overflow in the optimizer.
    good = jnp.isfinite(jnp.stack([grad_norm, update_norm, *means.values()])).all()
    usual = state.usual_norm
    if spike is not None:
      good &= ~((usual > 0) & (grad_norm > spike * usual))
    new_usual = jnp.where(usual == 0, grad_norm, usual + USUAL * (grad_norm - usual))
    params, optimizer, variables, usual = _chosen(
      good,
      (params, optimizer, variables, new_usual),
      (state.params, state.optimizer, state.variables, usual),
    )
    bad = 1 - good.astype(jnp.int32)
    state = states.TrainState(
      params,
      optimizer,
      variables,
      step=state.step + 1,
      skipped=state.skipped + bad,
      skipped_in_a_row=(state.skipped_in_a_row + bad) * bad,
      usual_norm=usual,
    )
    metrics = {
      "losses": means,
      "sums": base.metrics(losses),
      "grad_norm": grad_norm,
      "update_norm": update_norm,
      "skipped": state.skipped,
      "skipped_in_a_row": state.skipped_in_a_row,
    }
    return state, metrics

  return jax.jit(train_step, donate_argnums=0)


def build_held_out(model: Model, objective: Objective, machine: Machine) -> Callable:
  """Returns held_out_step(params, variables, batch, key) -> {player: Loss}: sums, without dropout;
  `key` is for the random draws of the loss."""

  def held_out_step(params, variables, batch, key):
    losses, _ = objective.losses(
      model, params, variables, batch, key=key, train=False, step=jnp.int32(0), machine=machine
    )
    return losses

  return jax.jit(held_out_step)


def gradients(
  model: Model,
  objective: Objective,
  learners: Mapping[str, Learner],
  machine: Machine,
  state: states.TrainState,
  variables: Params,
  batch: Batch,
  key: jax.Array,
) -> tuple[dict[str, base.Loss], dict[str, Params], Params]:
  """Returns (losses, gradients of their sums by player, new variables) of one batch."""
  trained = {}
  for learner in learners.values():
    trained = states.merged(trained, learner.own(state.params))

  def sums(trained):
    params = states.merged(state.params, trained)
    losses, after = objective.losses(
      model, params, variables, batch, key=key, train=True, step=state.step, machine=machine
    )
    return {player: loss.sum for player, loss in losses.items()}, (losses, after)

  totals, pull, (losses, after) = jax.vjp(sums, trained, has_aux=True)
  grads = {}
  for player, learner in learners.items():
    of_player = {name: jnp.float32(name == player) for name in totals}
    grads[player] = learner.own(pull(of_player)[0])
  return losses, grads, after


def _accumulated(
  differentiate: Callable,
  learners: Mapping[str, Learner],
  state: states.TrainState,
  batch: Batch,
  key: jax.Array,
  count: int,
) -> tuple[dict[str, base.Loss], dict[str, Params], Params]:
  """Returns the result of `gradients` summed over `count` micro-batches, computed one after
  another."""

  def split(array):
    # Row b is in micro-batch b modulo `count`, so that no row moves to another device.
    parts = array.reshape(array.shape[0] // count, count, *array.shape[1:])
    return jnp.moveaxis(parts, 1, 0)

  def add(carry, micro):
    variables, sums = carry
    batch, number = micro
    losses, grads, variables = differentiate(
      state, variables, batch, jax.random.fold_in(key, number)
    )
    return (variables, jax.tree.map(jnp.add, sums, grads)), losses

  zeros = {
    player: jax.tree.map(jnp.zeros_like, learner.own(state.params))
    for player, learner in learners.items()
  }
  micros = jax.tree.map(split, batch), jnp.arange(count)
  (variables, grads), losses = jax.lax.scan(add, (state.variables, zeros), micros)
  return jax.tree.map(lambda sums: sums.sum(axis=0), losses), grads, variables


def _chosen(which: jax.Array, new: Tree, old: Tree) -> Tree:
  """Returns the new tree where `which` is true, else the old one."""
  return jax.tree.map(lambda a, b: jnp.where(which, a, b), new, old)


def rates(sums: Mapping[str, tuple[float, float]]) -> dict[str, float]:
  """Returns {name: sum / weight} of sums on the host, without names of weight 0."""
  return {name: total / weight for name, (total, weight) in sums.items() if weight}
