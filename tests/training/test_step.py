import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from audiopalm import sharding
from audiopalm.errors import ConfigError
from audiopalm.objectives.base import Loss, Player
from audiopalm.settings import Machine, Optimizer
from audiopalm.training import optimizers, state, step
from audiopalm.training.state import Learner

EIGHT = Machine(name="eight", data=1, fsdp=4, tensor=2)


# Moves nothing and keeps the gradient as its state.
KEEP = optax.GradientTransformationExtraArgs(
  lambda params: jax.tree.map(jnp.zeros_like, params),
  lambda grads, state, params, **_: (jax.tree.map(jnp.zeros_like, grads), grads),
)


def scaled(factor):
  """A chain without state that moves each parameter by its gradient times `factor`."""
  return optax.GradientTransformationExtraArgs(
    optax.init_empty_state,
    lambda grads, state, params, **_: (optax.tree.scale(factor, grads), state),
  )


class Trial:
  """A tiny decoder on a machine, stepped once. Holds its gradient and metrics."""

  def __init__(self, tiny, machine):
    made, mesh = tiny.experiment(), sharding.mesh(machine)
    model = made.model.build(tiny.Prepared(made).space)
    with jax.set_mesh(mesh):
      players = {"model": Learner((), KEEP)}
      now = state.create(tiny.params(model, mesh), {}, players)
      rows = made.data.batch_rows // sharding.batch_ways(mesh)
      self.accumulation = machine.accumulation(rows, made.data.row_length)
      train = step.build(model, made.objective, players, machine, self.accumulation)
      now, found = train(
        now, sharding.place(tiny.batch(), mesh, tiny.batch().axes()), jax.random.key(1)
      )
    self.gradient, self.found = jax.device_get((now.optimizer["model"], found))


@pytest.fixture(scope="module")
def one(tiny):
  return Trial(tiny, tiny.ONE)


@pytest.mark.parametrize(
  ("machine", "accumulation"),
  [
    (Machine(name="micro-batches", data=1, fsdp=1, micro_batch_tokens=2 * 96), 4),
    (Machine(name="eight", data=2, fsdp=2, tensor=2, micro_batch_tokens=96), 2),
  ],
  ids=["micro-batches", "eight devices, data x fsdp x tensor, with micro-batches"],
)
def test_step_equals_that_of_one_big_batch_on_one_device(tiny, one, machine, accumulation):
  assert len(jax.devices()) == 8
  other = Trial(tiny, machine)
  assert other.accumulation == accumulation

  def check(path, a, b):
    far = np.abs(a - b).max()
    assert far <= 1e-5 * np.abs(a).max(), f"{jax.tree_util.keystr(path)}: {far}"

  jax.tree_util.tree_map_with_path(check, one.gradient, other.gradient)
  for name in ("losses", "sums", "grad_norm"):
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), one.found[name], other.found[name]
    )
  assert one.found["sums"]["nll_text"][1] > 0


@pytest.mark.parametrize("name", ("adafactor", "muon"))
def test_optimizer_state_lies_where_its_parameters_lie_and_stays_there(tiny, name):
  made, mesh = tiny.experiment(), sharding.mesh(EIGHT)
  model = made.model.build(tiny.Prepared(made).space)
  chain = optimizers.build(Optimizer(name=name, b1=0.9, eps=1e-30), 10)
  players = {"model": Learner((), chain)}

  def places(tree):
    return [(x.shape, x.dtype, x.sharding.spec, x.sharding.mesh) for x in jax.tree.leaves(tree)]

  with jax.set_mesh(mesh):
    shapes = state.shapes(model, made.objective, players, mesh)
    now = state.create(tiny.params(model, mesh), {}, players)
    before = places(now)
    assert before == places(shapes)
    optimizer = now.optimizer["model"]
    _, after = jax.jit(chain.update)(now.params, optimizer, now.params, step=now.step)
  assert any("fsdp" in spec for _, _, spec, _ in places(optimizer))
  assert places(optimizer) == places(after)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rows:
  """A batch of numbers, and the rows of a batch for objectives that only count them."""

  weights_B: jax.Array


@dataclasses.dataclass(frozen=True)
class Noisy:
  """A loss of one vector: its distance to one, plus noise in training."""

  players = {"model": Player()}

  def losses(self, model, params, variables, batch, *, key, train, step, machine):
    noise = jax.random.normal(key) if train else 0.0
    rows = jnp.sum(batch.weights_B)
    loss = (jnp.sum((params["vector"] - 1) ** 2) + noise) * rows
    return {"model": Loss(loss, rows, {"nll_text": (loss, rows)})}, variables


GOOD, BAD = Rows(jnp.ones(4)), Rows(jnp.array([1.0, 1.0, jnp.nan, 1.0]))


class Run:
  """The vector (3, 5) under the noisy loss, stepped by a chain."""

  def __init__(self, chain):
    players = {"model": Learner((), chain)}
    self.now = state.create({"vector": jnp.array([3.0, 5.0])}, {}, players)
    self.step = step.build(None, Noisy(), players, Machine())

  def go(self, batch):
    self.now, found = self.step(self.now, batch, jax.random.key(0))
    return jax.device_get(found)

  @property
  def moving(self):
    return jax.device_get((self.now.params, self.now.optimizer))


def same(a, b):
  return all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))


def test_step_moves_by_the_gradient_of_the_mean_and_counts_itself():
  run = Run(scaled(-0.25))
  found = run.go(GOOD)
  np.testing.assert_allclose(run.now.params["vector"], [2.0, 3.0])  # 3 - 2 * 2 / 4, 5 - 2 * 4 / 4
  np.testing.assert_allclose(found["grad_norm"], np.hypot(4.0, 8.0), rtol=1e-6)
  np.testing.assert_allclose(found["update_norm"], np.hypot(1.0, 2.0), rtol=1e-6)
  assert (int(run.now.step), int(found["skipped"]), int(found["skipped_in_a_row"])) == (1, 0, 0)


def test_batch_that_is_not_finite_changes_nothing_and_is_counted():
  run = Run(optimizers.build(Optimizer(warmup_steps=0), 10))
  run.go(GOOD)
  before = run.moving
  assert [int(run.go(batch)["skipped_in_a_row"]) for batch in (BAD, BAD)] == [1, 2]
  assert same(before, run.moving)
  found = run.go(GOOD)
  assert not same(before, run.moving)
  assert (int(found["skipped"]), int(found["skipped_in_a_row"])) == (2, 0)
  assert int(run.now.step) == 4


def test_update_that_overflows_is_skipped_though_its_gradient_is_finite():
  run = Run(scaled(3e38))
  before = run.moving
  found = run.go(GOOD)
  assert np.isfinite(found["grad_norm"]) and not np.isfinite(found["update_norm"])
  assert same(before, run.moving) and int(found["skipped"]) == 1


def test_batch_without_a_weighted_cell_has_no_gradient_and_is_no_bad_step():
  run = Run(scaled(-0.25))
  before = run.moving
  assert int(run.go(Rows(jnp.zeros(4)))["skipped"]) == 0
  assert same(before, run.moving)


def test_what_a_step_draws_depends_on_the_key_and_its_number_alone():
  losses = []
  for _ in range(2):
    run = Run(scaled(0.0))
    losses.append([float(run.go(GOOD)["losses"]["model"]) for _ in range(3)])
  assert losses[0] == losses[1]
  assert len(set(losses[0])) == 3


def test_held_out_loss_has_no_noise():
  measure = step.build_held_out(None, Noisy(), Machine())
  key = jax.random.key(0)
  loss = measure({"vector": jnp.array([3.0, 5.0])}, {}, GOOD, key)["model"]
  assert (float(loss.sum), float(loss.weight)) == (80.0, 4.0)


@dataclasses.dataclass(frozen=True)
class Duel:
  """Two players: "left" pulls its vector to the other's, "right" pushes its own away."""

  players = {"left": Player(("left",)), "right": Player(("right",))}

  def losses(self, model, params, variables, batch, *, key, train, step, machine):
    gap = jnp.sum((params["left"] - params["right"]) ** 2)
    rows = jnp.float32(len(batch.weights_B))
    return {
      "left": Loss(gap * rows, rows, {"gap": (gap, 1.0)}),
      "right": Loss(-2 * gap * rows, rows, {"gap": (2 * gap, 1.0)}),
    }, {"rows": variables["rows"] + rows}


@pytest.mark.parametrize("accumulation", [1, 2])
def test_each_player_moves_its_own_parameters_by_its_own_loss(accumulation):
  params = {"left": jnp.array([1.0, 0.0]), "right": jnp.array([0.0, 3.0])}
  players = {name: Learner((name,), scaled(1.0)) for name in ("left", "right")}
  now = state.create(params, {"rows": jnp.float32(0)}, players)
  train = step.build(None, Duel(), players, Machine(), accumulation)
  now, found = train(now, GOOD, jax.random.key(0))
  np.testing.assert_allclose(now.params["left"], [3.0, -6.0])  # 1 + 2 * (1 - 0), 0 + 2 * (0 - 3)
  np.testing.assert_allclose(now.params["right"], [4.0, -9.0])  # 0 + 4 * (1 - 0), 3 + 4 * (0 - 3)
  losses = {name: float(loss) for name, loss in found["losses"].items()}
  assert losses == {"left": 10.0, "right": -20.0}
  assert float(now.variables["rows"]) == 4.0
  assert {name: float(total) for name, (total, _) in found["sums"].items()} == {
    "left/gap": 10.0 * accumulation,
    "right/gap": 20.0 * accumulation,
  }


def test_a_player_moves_at_its_own_steps_and_keeps_its_optimizer_between_them():
  chain = optimizers.build(Optimizer(warmup_steps=0), 10)
  players = {"left": Learner(("left",), chain, every=2), "right": Learner(("right",), chain)}
  params = {"left": jnp.array([1.0, 0.0]), "right": jnp.array([0.0, 3.0])}
  now = state.create(params, {"rows": jnp.float32(0)}, players)
  train = step.build(None, Duel(), players, Machine())
  seen = []
  for _ in range(4):
    now, _ = train(now, GOOD, jax.random.key(0))
    seen.append(jax.device_get((now.params, now.optimizer)))
  for before, after, moves in zip(seen, seen[1:], (False, True, False), strict=False):
    assert same(before[0]["left"], after[0]["left"]) is not moves
    assert same(before[1]["left"], after[1]["left"]) is not moves
    assert not same(before[0]["right"], after[0]["right"])


def test_players_have_the_optimizer_of_the_run_or_their_own(tiny):
  own = Optimizer(name="adafactor", train_only=("embed",))
  players = {"a": Player(("embed",), own, 3), "b": Player()}
  made = types.SimpleNamespace(
    objective=types.SimpleNamespace(players=players), optimizer=Optimizer(), steps=10
  )
  found = state.learners_of(made)
  assert (found["a"].only, found["a"].every, found["b"].only, found["b"].every) == (
    ("embed",), 3, (), 1,
  )  # fmt: skip
  params = {"embed": {"table": jnp.ones((4, 3))}, "norm": {"scale": jnp.ones(3)}}
  sizes = [len(jax.tree.leaves(each.init(name, params))) for name, each in found.items()]
  assert sizes[0] != sizes[1]


def test_a_player_of_parameters_that_are_not_there_names_those_that_are():
  learner = Learner(("critic",), scaled(1.0))
  with pytest.raises(ConfigError, match="'b' owns the parameters critic, but the model has left"):
    learner.init("b", {"left": jnp.ones(2)})


def test_a_player_skips_no_step_of_its_own():
  players = {"a": Player(optimizer=Optimizer(spike=3.0))}
  made = types.SimpleNamespace(
    objective=types.SimpleNamespace(players=players), optimizer=Optimizer(), steps=10
  )
  with pytest.raises(ConfigError, match="player 'a' has spike=3.0: a step is taken or skipped as"):
    state.learners_of(made)


def test_an_interval_of_no_steps_is_refused():
  with pytest.raises(ConfigError, match="Player.every must be an integer of at least 1, not 0"):
    Player(every=0)


def test_frozen_parameters_keep_their_bits_and_have_no_state_in_the_optimizer(tiny):
  made = tiny.experiment(optimizer=dataclasses.replace(
    tiny.experiment().optimizer, train_only=("embed", "layers/mlp")
  ))  # fmt: skip
  space = tiny.Prepared(made).space
  model, mesh = made.model.build(space), sharding.mesh(tiny.ONE)
  learning = state.learners_of(dataclasses.replace(made, steps=10))
  with jax.set_mesh(mesh):
    before = state.create(tiny.params(model, mesh), {}, learning)
    start = jax.device_get(before.params)
    kept = {leaf.shape for leaf in jax.tree.leaves(before.optimizer) if leaf.ndim}
    train = step.build(model, made.objective, learning, tiny.ONE, 2)
    after, found = train(before, tiny.batch(), jax.random.key(0))
  moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), start, jax.device_get(after.params))
  assert moved == {
    "embed": {"table": True},
    "norm": {"scale": False},
    "layers": {
      "attention": dict.fromkeys(("query", "key", "value", "out"), False),
      "attention_norm": {"scale": False},
      "mlp_norm": {"scale": False},
      "mlp": dict.fromkeys(("gate", "up", "down"), True),
    },
  }
  assert kept == {(128, 16), (2, 16, 32), (2, 32, 16)}
  assert float(found["grad_norm"]) > 0


def test_the_gradient_of_what_is_trained_is_the_same_with_the_rest_frozen(tiny):
  made = tiny.experiment()
  space = tiny.Prepared(made).space
  model, mesh = made.model.build(space), sharding.mesh(tiny.ONE)
  chain = optimizers.build(made.optimizer, 10)
  grads = {}
  with jax.set_mesh(mesh):
    for only in ((), ("attention",)):
      learning = {"model": Learner((), chain, only)}
      now = state.create(tiny.params(model, mesh), {}, learning)
      key = jax.random.key(0)
      _, found, _ = step.gradients(
        model, made.objective, learning, tiny.ONE, now, {}, tiny.batch(), key
      )
      grads[only] = jax.device_get(found["model"])
  whole, part = grads[()]["layers"]["attention"], grads["attention",]
  assert list(part) == ["layers"] and list(part["layers"]) == ["attention"]
  for name, kernel in part["layers"]["attention"].items():
    np.testing.assert_allclose(kernel, whole[name], rtol=0, atol=1e-6 * np.abs(kernel).max())


def test_train_only_what_is_not_there_says_what_is(tiny):
  made = tiny.experiment()
  model, mesh = made.model.build(tiny.Prepared(made).space), sharding.mesh(tiny.ONE)
  chain = optimizers.build(made.optimizer, 10)
  with (
    jax.set_mesh(mesh),
    pytest.raises(ConfigError, match=r"train_only=\('lora',\) names no param"),
  ):
    state.create(tiny.params(model, mesh), {}, {"model": Learner((), chain, ("lora",))})
