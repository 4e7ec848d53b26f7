import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm import sharding
from audiopalm.batch import PackedBatch
from audiopalm.errors import ConfigError
from audiopalm.models import decoder
from audiopalm.nn import lora
from audiopalm.settings import Machine
from audiopalm.tokens import space as token_space
from audiopalm.types import StreamSpec

ALL = tuple(lora.CONTRACTED)
PLAIN = decoder.Decoder(layers=2, width=16, heads=2, kv_heads=1, head_width=8, hidden=24)
ONE = Machine(name="one", fsdp=1)
EIGHT = Machine(name="eight", data=1, fsdp=4, tensor=2)
SPACE = token_space.build([StreamSpec("text", "text", (40,), None, "made up")], {}, lambda tag: ())


def adapted(on=ALL, rank=3):
  return dataclasses.replace(PLAIN, lora=lora.Lora(rank=rank, alpha=6.0, on=on))


def made(settings, machine=ONE, random_up=True):
  """Returns (model, parameters, hidden_BLD) of a small batch."""
  model, mesh = settings.build(SPACE), sharding.mesh(machine)
  with jax.set_mesh(mesh):
    params = model.init(jax.random.key(1), mesh)
    if random_up and settings.lora is not None:
      params = jax.tree_util.tree_map_with_path(
        lambda path, x: (
          x + 0.1 * jnp.cos(jnp.arange(x.size)).reshape(x.shape)
          if "lora" in jax.tree_util.keystr(path) and "'up'" in jax.tree_util.keystr(path[-1:])
          else x
        ),
        jax.device_get(params),
      )
      params = jax.tree.map(lambda x, s: jax.device_put(x, s.sharding), params, model.shapes(mesh))
    return model, params, hidden(model, params, machine)


def hidden(model, params, machine=ONE):
  tokens_BLK = np.arange(32, dtype=np.int32).reshape(4, 8, 1)
  positions_BL = np.tile(np.arange(8, dtype=np.int32), (4, 1))
  zeros = np.zeros((4, 8), np.int32)
  batch = PackedBatch(tokens_BLK, None, zeros + 1, positions_BL, zeros, zeros[:, 0])
  mesh = sharding.mesh(machine)
  with jax.set_mesh(mesh):
    placed = sharding.place(batch, mesh, batch.axes())
    return np.asarray(jax.jit(model.hidden, static_argnums=2)(params, placed, machine))


def test_new_adapters_change_nothing():
  _, plain, expected = made(PLAIN)
  model, params, found = made(adapted(), random_up=False)
  kernels = jax.tree.map(np.asarray, plain["layers"]["mlp"])
  for name, kernel in kernels.items():
    np.testing.assert_array_equal(params["layers"]["mlp"][name], kernel)
  np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
  "on",
  [
    ALL,
    ("out",),
    pytest.param(("query", "value"), marks=pytest.mark.long),
    pytest.param(("down",), marks=pytest.mark.long),
  ],
)
def test_merged_adapters_compute_the_same(on):
  model, params, found = made(adapted(on))
  settings, merged = model.settings.without_adapters(params)
  assert settings == PLAIN
  plain = settings.build(SPACE)
  assert jax.tree.structure(merged) == jax.tree.structure(plain.shapes(sharding.mesh(ONE)))
  np.testing.assert_allclose(hidden(plain, merged), found, rtol=0, atol=1e-5)
  assert np.abs(found - made(PLAIN)[2]).max() > 0.01


def test_only_the_kernels_named_have_adapters():
  _, params, _ = made(adapted(("query", "down")))
  assert list(params["layers"]["attention"]["lora"]) == ["query"]
  assert list(params["layers"]["mlp"]["lora"]) == ["down"]
  shapes = jax.tree.map(np.shape, params["layers"]["attention"]["lora"]["query"])
  assert shapes == {"down": (2, 16, 3), "up": (2, 3, 2, 8)}


@pytest.mark.long
def test_many_devices_compute_the_same_with_adapters():
  one, eight = made(adapted())[2], made(adapted(), EIGHT)[2]
  np.testing.assert_allclose(eight, one, rtol=0, atol=2e-6)


def test_parameters_of_adapters_are_counted():
  settings = adapted(("query", "out", "gate"), rank=5)
  _, params, _ = made(settings)
  counted = settings.parameters(SPACE)
  assert counted == sum(leaf.size for leaf in jax.tree.leaves(params))
  assert counted > PLAIN.parameters(SPACE)


def test_an_invalid_rank_or_kernel_name_is_refused():
  with pytest.raises(ConfigError, match="Lora.rank must be an integer of at least 1, not 0"):
    lora.Lora(rank=0)
  with pytest.raises(ConfigError, match="Lora.on must name one or more of query, key, value, out"):
    lora.Lora(on=("kernel",))
