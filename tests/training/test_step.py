import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from audiopalm import sharding
from audiopalm.errors import ConfigError
from audiopalm.models import decoder
from audiopalm.objectives.base import Loss
from audiopalm.settings import Machine, Optimizer
from audiopalm.training import optimizers, state, step

EIGHT = Machine(name="eight", data=1, fsdp=4, tensor=2)
FACTORED = Optimizer(name="adafactor", b1=0.9, eps=1e-30)


# Moves nothing and keeps the gradient as its state.
KEEP = optax.GradientTransformationExtraArgs(
  lambda params: jax.tree.map(jnp.zeros_like, params),
  lambda grads, state, params, **_: (jax.tree.map(jnp.zeros_like, grads), grads),
)


HUGE = optax.GradientTransformationExtraArgs(
  optax.init_empty_state, lambda grads, state, params, **_: (optax.tree.scale(3e38, grads), state)
)


class Trial:
  """A tiny decoder, its state and a step, on a machine."""

  def __init__(self, tiny, machine=None, chain=KEEP, **model):
    made = tiny.experiment()
    self.objective, self.machine, self.chain = made.objective, machine or tiny.ONE, chain
    self.mesh = sharding.mesh(self.machine)
    self.model = decoder.model(dataclasses.replace(made.model, **model), tiny.Prepared(made).space)
    with jax.set_mesh(self.mesh):
      params = tiny.params(self.model, self.mesh)
      self.state = state.create(params, {}, self.objective.players, chain)
    self.step = step.build(self.model, self.objective, chain, self.machine)
    self.key = jax.random.key(1)

  def run(self, batch):
    with jax.set_mesh(self.mesh):
      self.state, found = self.step(self.state, sharding.place(batch, self.mesh), self.key)
    return jax.device_get(found)


def adamw(**changes):
  return optimizers.build(Optimizer(warmup_steps=0, **changes), 10)


def copied(tree):
  return jax.tree.map(np.array, tree)


def equal(a, b):
  return all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))


@pytest.fixture(scope="module")
def one(tiny):
  """(gradient, metrics) of one batch on one device."""
  trial = Trial(tiny)
  found = trial.run(tiny.batch())
  return copied(trial.state.optimizer["model"]), found


@pytest.mark.parametrize(
  "machine",
  [
    Machine(name="micro-batches", data=1, fsdp=1, accumulation=4),
    EIGHT,
    dataclasses.replace(EIGHT, data=2, fsdp=2, accumulation=2),
  ],
  ids=["micro-batches", "fsdp x tensor", "data x fsdp x tensor with micro-batches"],
)
def test_step_equals_that_of_one_big_batch_on_one_device(tiny, one, machine):
  assert len(jax.devices()) == 8
  trial = Trial(tiny, machine)
  found = trial.run(tiny.batch())
  grads, expected = one

  def check(path, a, b):
    far = np.abs(a - b).max()
    assert far <= 1e-5 * np.abs(a).max(), f"{jax.tree_util.keystr(path)}: {far}"

  jax.tree_util.tree_map_with_path(check, grads, copied(trial.state.optimizer["model"]))
  for name in ("losses", "sums", "grad_norm"):
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), expected[name], found[name]
    )


def test_optimizer_state_lies_where_its_parameters_lie(tiny):
  trial = Trial(tiny, EIGHT, optimizers.build(FACTORED, 10))
  with jax.set_mesh(trial.mesh):
    shapes = state.shapes(
      trial.model.shapes(trial.mesh), {}, trial.objective.players, trial.chain, trial.mesh
    )

  def places(tree):
    return [(x.shape, x.dtype, x.sharding.spec, x.sharding.mesh) for x in jax.tree.leaves(tree)]

  before = places(trial.state)
  assert before == places(shapes)
  assert any("fsdp" in spec for _, _, spec, _ in places(trial.state.optimizer))
  trial.run(tiny.batch())
  assert before == places(trial.state)


def test_step_changes_parameters_and_counts_itself(tiny):
  trial = Trial(tiny, chain=adamw())
  before = copied(trial.state.params)
  found = trial.run(tiny.batch())
  assert not equal(before, copied(trial.state.params))
  assert (int(trial.state.step), int(found["skipped"])) == (1, 0)
  sums = found["sums"]
  assert sums["nll_text"][1] > 0 and np.isfinite(sums["nll_text"][0])


def test_batch_that_is_not_finite_changes_nothing_and_is_counted(tiny):
  trial = Trial(tiny, chain=adamw())
  good = tiny.batch()
  trial.run(good)
  before = copied((trial.state.params, trial.state.optimizer))
  bad = dataclasses.replace(good, weights_BLK=good.weights_BLK * np.float32("nan"))
  streaks = [int(trial.run(batch)["skipped_in_a_row"]) for batch in (bad, bad)]
  assert equal(before, copied((trial.state.params, trial.state.optimizer)))
  assert streaks == [1, 2]
  found = trial.run(good)
  assert not equal(before[0], copied(trial.state.params))
  assert (int(found["skipped"]), int(found["skipped_in_a_row"])) == (2, 0)
  assert int(trial.state.step) == 4


def test_update_that_overflows_is_skipped_though_its_gradient_is_finite(tiny):
  trial = Trial(tiny, chain=HUGE)
  before = copied(trial.state.params)
  found = trial.run(tiny.batch())
  assert np.isfinite(found["grad_norm"]) and not np.isfinite(found["update_norm"])
  assert equal(before, copied(trial.state.params)) and int(found["skipped"]) == 1


def test_what_a_step_draws_depends_on_the_key_and_its_number_alone(tiny):
  losses = []
  for _ in range(2):
    trial = Trial(tiny, dropout=0.5)
    losses.append([float(trial.run(tiny.batch())["losses"]["model"]) for _ in range(2)])
  assert losses[0] == losses[1]
  assert losses[0][0] != losses[0][1]


def test_held_out_loss_is_the_training_loss_without_dropout(tiny):
  with_dropout, without = Trial(tiny, dropout=0.5), Trial(tiny)
  batch = tiny.batch()
  with jax.set_mesh(without.mesh):
    measure = step.build_held_out(with_dropout.model, with_dropout.objective, tiny.ONE)
    loss = measure(without.state.params, {}, sharding.place(batch, without.mesh))["model"]
  expected = without.run(batch)["losses"]["model"]
  np.testing.assert_allclose(loss.sum / loss.weight, expected, rtol=1e-6)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rows:
  task_B: jax.Array


@dataclasses.dataclass(frozen=True)
class Duel:
  """Two players: "left" pulls its vector to the other's, "right" pushes its own away."""

  players = {"left": ("left",), "right": ("right",)}

  def losses(self, model, params, variables, batch, key, machine):
    gap = jnp.sum((params["left"] - params["right"]) ** 2)
    rows = jnp.float32(len(batch.task_B))
    total = variables["rows"] + rows
    return {
      "left": Loss(gap * rows, rows, {}),
      "right": Loss(-2 * gap * rows, rows, {}),
    }, {"rows": total}


@pytest.mark.parametrize("accumulation", [1, 2])
def test_each_player_moves_its_own_parameters_by_its_own_loss(accumulation):
  chain = optax.GradientTransformationExtraArgs(
    optax.init_empty_state, lambda grads, state, params, **_: (grads, state)
  )
  params = {"left": jnp.array([1.0, 0.0]), "right": jnp.array([0.0, 3.0])}
  now = state.create(params, {"rows": jnp.float32(0)}, Duel.players, chain)
  train = step.build(None, Duel(), chain, Machine(accumulation=accumulation))
  now, found = train(now, Rows(jnp.zeros(4, jnp.int32)), jax.random.key(0))
  np.testing.assert_allclose(now.params["left"], [3.0, -6.0])  # 1 + 2 * (1 - 0), 0 + 2 * (0 - 3)
  np.testing.assert_allclose(now.params["right"], [4.0, -9.0])  # 0 + 4 * (1 - 0), 3 + 4 * (0 - 3)
  assert {name: float(loss) for name, loss in found["losses"].items()} == {
    "left": 10.0,
    "right": -20.0,
  }
  assert float(now.variables["rows"]) == 4.0


def test_rows_that_cannot_be_divided_say_what_to_choose():
  step.check_rows(16, Machine(accumulation=2), 8)
  with pytest.raises(ConfigError) as error:
    step.check_rows(12, Machine(name="cpu8", accumulation=2), 4)
  text = str(error.value)
  assert "batch_rows=12" in text and "accumulation=2" in text
  assert "Choose batch_rows divisible by 8" in text
