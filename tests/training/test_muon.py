"""Muon against its reference in optax, on one device and on eight."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from audiopalm import sharding
from audiopalm.settings import Machine
from audiopalm.training import optimizers

SHAPES = {
  "embed": {"table": (12, 16)},
  "layers": {
    "attention": {
      "lora": {"query": {"down": (4, 16, 2), "up": (4, 2, 4, 8)}},
      "out": (4, 4, 8, 16),
      "query": (4, 16, 4, 8),
      "query_bias": (4, 4, 8),
    },
    "attention_norm": {"scale": (4, 16)},
    "mlp": {"down": (4, 24, 16), "up": (4, 16, 24)},
  },
}
AXES = {  # reductions and outputs of what is orthogonal
  "out": optax.contrib.MuonDimensionNumbers((1, 2), 3),
  "query": optax.contrib.MuonDimensionNumbers(1, (2, 3)),
  "down": optax.contrib.MuonDimensionNumbers(1, 2),
  "up": optax.contrib.MuonDimensionNumbers(1, 2),
}


def random_tree(seed):
  random = np.random.default_rng(seed)
  return jax.tree.map(
    lambda shape: jnp.asarray(random.normal(size=shape), jnp.float32),
    SHAPES,
    is_leaf=lambda x: isinstance(x, tuple),
  )


def dimensions(params):
  def one(path, _):
    *groups, name = [entry.key for entry in path]
    return AXES.get(name) if "layers" in groups and "lora" not in groups else None

  return jax.tree_util.tree_map_with_path(one, params)


def updates(chain, gradients, params):
  state, found = chain.init(params), []
  for gradient in gradients:
    update, state = jax.jit(chain.update)(gradient, state, params)
    found.append(update)
  return found


def test_kernels_move_as_in_optax_and_all_else_as_with_adam():
  chain = optimizers.scale_by_muon(0.9, 0.98, 1e-8)
  (found,) = updates(chain, [random_tree(1)], random_tree(0))
  reference = optax.contrib.muon(
    -1.0, adam_learning_rate=-1.0, muon_weight_dimension_numbers=dimensions, consistent_rms=0.2
  )
  (wanted,) = updates(reference, [random_tree(1)], random_tree(0))
  (adam,) = updates(optax.scale_by_adam(0.9, 0.98, 1e-8), [random_tree(1)], random_tree(0))

  def check(path, dims, a, muon_b, adam_b):
    b = adam_b if dims is None else muon_b
    np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5, err_msg=jax.tree_util.keystr(path))

  jax.tree_util.tree_map_with_path(
    check, dimensions(found), found, wanted, adam,
    is_leaf=lambda x: x is None or isinstance(x, optax.contrib.MuonDimensionNumbers),
  )  # fmt: skip


def test_momentum_looks_ahead_and_forgets():
  chain = optimizers.scale_by_muon(0.9, 0.98, 1e-8)
  gradients = [random_tree(seed) for seed in range(3)]
  found = updates(chain, gradients, random_tree(9))[-1]["layers"]["mlp"]["up"]
  up = [np.asarray(gradient["layers"]["mlp"]["up"]) for gradient in gradients]
  momentum = 0.05 * (0.95**2 * up[0] + 0.95 * up[1] + up[2])
  ahead = jnp.asarray(0.95 * momentum + 0.05 * up[2])
  wanted = 0.2 * np.sqrt(24) * optimizers.orthogonalized(ahead)
  np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shape", ((3, 8, 20), (3, 20, 8), (1, 5, 5)))
def test_singular_values_come_near_one_and_directions_stay(shape):
  matrices = np.random.default_rng(0).normal(size=shape).astype(np.float32)
  left, _, right = np.linalg.svd(matrices, full_matrices=False)
  turned = left.mT @ np.asarray(optimizers.orthogonalized(jnp.asarray(matrices))) @ right.mT
  values = np.diagonal(turned, axis1=1, axis2=2)
  assert values.min() > 0.6 and values.max() < 1.3
  np.testing.assert_allclose(turned - values[:, None] * np.eye(values.shape[1]), 0, atol=1e-4)


def test_zeros_stay_zeros():
  assert not np.asarray(optimizers.orthogonalized(jnp.zeros((2, 3, 4)))).any()


@pytest.mark.parametrize("machine", (Machine(fsdp=8), Machine(data=2, fsdp=2, tensor=2)))
def test_updates_are_the_same_on_eight_devices(machine):
  chain = optimizers.scale_by_muon(0.9, 0.98, 1e-8)
  gradients, params = [random_tree(seed) for seed in range(2)], random_tree(9)
  alone = updates(chain, gradients, params)[-1]
  with jax.set_mesh(sharding.mesh(machine)):
    split = [jax.tree.map(lambda x: jax.device_put(x, last_axis_split(x)), g) for g in gradients]
    params = jax.tree.map(lambda x: jax.device_put(x, last_axis_split(x)), params)
    together = updates(chain, split, params)[-1]
  for found, wanted in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    assert found.sharding.spec == last_axis_split(found)


def last_axis_split(array):
  return jax.P(*[None] * (array.ndim - 1), None if array.shape[-1] % 8 else "fsdp")
