import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from audiopalm.errors import ConfigError
from audiopalm.settings import Optimizer
from audiopalm.training import optimizers

PARAMS = {
  "embed": {"table": jnp.linspace(-1, 1, 12).reshape(4, 3)},
  "layers": {
    "attention": {"query": jnp.linspace(0.1, 0.6, 12).reshape(2, 3, 2)},
    "norm": {"scale": jnp.ones((2, 3))},
  },
  "norm": {"scale": jnp.ones(3)},
}


def gradients(number):
  keys = iter(jax.random.split(jax.random.key(number), 8))
  return jax.tree.map(lambda x: jax.random.normal(next(keys), x.shape), PARAMS)


def stepped(chain, gradient_list):
  """Returns the parameters after these gradients."""

  @jax.jit
  def one(params, state, gradient, step):
    update, state = optax.with_extra_args_support(chain).update(gradient, state, params, step=step)
    return optax.apply_updates(params, update), state

  params, state = PARAMS, chain.init(PARAMS)
  for step, gradient in enumerate(gradient_list):
    params, state = one(params, state, gradient, jnp.int32(step))
  return params


def updated(settings, gradient_list, steps=10):
  return stepped(optimizers.build(settings, steps), gradient_list)


def differ(a, b):
  return jax.tree.map(lambda x, y: not np.array_equal(x, y), a, b)


@pytest.mark.parametrize("decay", optimizers.DECAYS)
def test_rate_rises_to_the_peak_and_ends_at_the_end(decay):
  settings = Optimizer(peak_lr=1e-2, end_lr=1e-4, warmup_steps=4, decay=decay)
  rates = optimizers.learning_rate(settings, 20, np.arange(20))
  np.testing.assert_allclose(rates[:4], [2.5e-3, 5e-3, 7.5e-3, 1e-2], rtol=1e-6)
  assert rates[-1] == pytest.approx(1e-2 if decay == "constant" else 1e-4, rel=1e-5)
  assert np.all(np.diff(rates[3:]) <= 1e-9)


def test_rate_by_numpy_equals_the_rate_on_the_device():
  for decay in optimizers.DECAYS:
    settings = Optimizer(end_lr=1e-5, warmup_steps=3, decay=decay)
    host = optimizers.learning_rate(settings, 12, np.arange(12))
    device = optimizers.learning_rate(settings, 12, jnp.arange(12), jnp)
    np.testing.assert_allclose(host, device, rtol=1e-5)


def test_warmup_longer_than_the_run_stays_below_the_peak():
  rates = optimizers.learning_rate(Optimizer(peak_lr=1.0, warmup_steps=100), 3, np.arange(3))
  np.testing.assert_allclose(rates, [0.01, 0.02, 0.03], rtol=1e-5)


def test_adamw_equals_optax_with_the_same_schedule_and_mask():
  settings = Optimizer(peak_lr=1e-2, warmup_steps=2, weight_decay=0.1, clip_norm=0.5)
  grads = [gradients(number) for number in range(4)]
  reference = optax.chain(
    optax.clip_by_global_norm(0.5),
    optax.adamw(
      lambda count: optimizers.learning_rate(settings, 10, count, jnp),
      b1=0.9, b2=0.98, eps=1e-8, weight_decay=0.1, mask=optimizers.decayed,
    ),
  )  # fmt: skip
  pairs = zip(
    jax.tree.leaves(updated(settings, grads)),
    jax.tree.leaves(stepped(reference, grads)),
    strict=True,
  )
  for ours, theirs in pairs:
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_norms_do_not_decay_in_a_stack_or_outside():
  plain = updated(Optimizer(warmup_steps=0), [gradients(0)])
  decayed = updated(Optimizer(warmup_steps=0, weight_decay=0.5), [gradients(0)])
  assert differ(plain, decayed) == {
    "embed": {"table": True},
    "layers": {"attention": {"query": True}, "norm": {"scale": False}},
    "norm": {"scale": False},
  }


def test_gradients_are_clipped_together_and_small_ones_not_at_all():
  settings = Optimizer(warmup_steps=0, eps=1.0)  # eps 1: a step keeps the size of its gradient
  loose = dataclasses.replace(settings, clip_norm=None)
  norm = optax.tree.norm(gradients(0))
  huge, unit, small = (
    jax.tree.map(lambda g, scale=scale: scale * g, gradients(0)) for scale in (1e6, 1 / norm, 1e-3)
  )
  for a, b in zip(
    jax.tree.leaves((updated(settings, [huge]), updated(settings, [small]))),
    jax.tree.leaves((updated(loose, [unit]), updated(loose, [small]))),
    strict=True,
  ):
    np.testing.assert_allclose(a, b, rtol=1e-5)


def test_adafactor_step_is_the_rate_times_the_size_of_each_layer():
  settings = Optimizer(
    name="adafactor", peak_lr=0.1, warmup_steps=0, decay="constant", b1=0, eps=1e-30, clip_norm=None
  )
  before, after = (
    PARAMS["layers"]["attention"],
    updated(settings, [gradients(1)])["layers"]["attention"],
  )
  moved = np.asarray(after["query"] - before["query"])
  sizes = np.sqrt(np.mean(np.asarray(before["query"]) ** 2, axis=(1, 2), keepdims=True))
  # The first step of a tensor too small to factor is the sign of its gradient.
  np.testing.assert_allclose(np.abs(moved), np.broadcast_to(0.1 * sizes, moved.shape), rtol=1e-4)


def test_adafactor_keeps_a_first_moment_when_asked():
  with_moment = Optimizer(name="adafactor", b1=0.9, eps=1e-30)
  without = dataclasses.replace(with_moment, b1=0.0)
  size = [
    sum(leaf.size for leaf in jax.tree.leaves(optimizers.build(s, 10).init(PARAMS)))
    for s in (with_moment, without)
  ]
  assert size[0] - size[1] == 1 + sum(leaf.size for leaf in jax.tree.leaves(PARAMS))


@pytest.mark.parametrize(
  "change, text",
  [
    ({"name": "sgd"}, "optimizer.name must be one of adamw, muon, adafactor, not 'sgd'"),
    ({"decay": "step"}, "optimizer.decay must be one of constant, cosine, linear, exponential"),
    ({"decay": "exponential"}, "never reaches 0: it needs optimizer.peak_lr and optimizer.end_lr"),
    ({"b2": 1.0}, "optimizer.b2 must be at least 0 and below 1, not 1.0"),
    ({"peak_lr": float("nan")}, "optimizer.peak_lr must be at least 0, not nan"),
    ({"clip_norm": 0.0}, "optimizer.clip_norm must be above 0, or None for no clipping, not 0.0"),
    ({"spike": 1.0}, "optimizer.spike must be above 1, or None to skip no finite step, not 1.0"),
  ],
)
def test_impossible_settings_say_what_to_give(change, text):
  with pytest.raises(ConfigError) as error:
    optimizers.build(dataclasses.replace(Optimizer(), **change), 10)
  assert text in str(error.value)
