"""Rows decoded with products in bfloat16, beside the pass over all rows at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm import layouts, sharding
from audiopalm.batch import PackedBatch
from audiopalm.inference import cache as caches
from audiopalm.inference import row_step
from audiopalm.models import decoder
from audiopalm.settings import Machine
from audiopalm.tokens import space as spaces
from audiopalm.types import StreamSpec

HALF = Machine(fsdp=1, product_dtype="bfloat16")
ROWS, PROMPT_ROWS, SLOTS = 12, 4, 16


@pytest.fixture(autouse=True)
def mesh():
  with jax.set_mesh(sharding.mesh(HALF)):
    yield


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "head"])
def model(request):
  text = StreamSpec("text", "text", (60,), None, "t")
  layout = layouts.Concat(layouts.Tag("[TEXT]"), layouts.Flat("source.text"), layouts.Stop())
  settings = decoder.Decoder(
    layers=2, width=32, heads=4, kv_heads=2, head_width=8, hidden=48, tied=request.param
  )
  return settings.build(spaces.build((text,), {"text": layout}, lambda tag: [1]))


@pytest.fixture(scope="module")
def params(model):
  mesh = sharding.mesh(HALF)
  with jax.set_mesh(mesh):
    return model.init(jax.random.key(0), mesh)


def rows_of(tokens_BLK):
  shape = tokens_BLK.shape[:2]
  positions_BL = jnp.broadcast_to(jnp.arange(shape[1]), shape)
  return PackedBatch(
    tokens_BLK, None, jnp.ones(shape, int), positions_BL, jnp.zeros(shape, int), None
  )


def rows_one_by_one(model, params, read, tokens_BLK):
  """Returns the logits of the rows after the prompt, from parameters as decoding reads them."""
  prompt = rows_of(tokens_BLK[:, :PROMPT_ROWS])
  _, new = jax.jit(model.hidden_and_cache, static_argnums=2)(params, prompt, HALF)
  apart = isinstance(read["layers"], tuple)
  cache = caches.fill(new, prompt.positions_BL, SLOTS, apart, HALF.products)

  @jax.jit
  def step(tokens_BK, positions_B, cache):
    hidden_BD, new = model.step(read, tokens_BK, positions_B, cache, HALF)
    logits_BV = model.head.logits(read, hidden_BD, products=HALF.products)
    return logits_BV, caches.extend(cache, new, positions_B)

  found = []
  for row in range(PROMPT_ROWS, tokens_BLK.shape[1]):
    positions_B = jnp.full(len(tokens_BLK), row)
    logits_BV, cache = step(tokens_BLK[:, row], positions_B, cache)
    found.append(logits_BV)
  assert {array.dtype for array in jax.tree.leaves(cache.keys)} == {jnp.dtype("bfloat16")}
  return np.stack(found, axis=1)[..., : model.sizes[0]]


def test_rows_decoded_one_by_one_have_the_logits_of_all_rows_at_once(model, params):
  tokens_BLK = jax.random.randint(jax.random.key(1), (2, ROWS, 1), 0, 58)

  @jax.jit
  def logits(params):
    hidden_BLD = model.hidden(params, rows_of(tokens_BLK), HALF)
    return model.head.logits(params, hidden_BLD, products=HALF.products)

  whole_BLV = np.asarray(logits(params))[:, PROMPT_ROWS:, : model.sizes[0]]

  held = row_step.read(model, params, HALF)
  found_BLV = rows_one_by_one(model, params, held, tokens_BLK)
  # Both round what they multiply, in another order: 8 bits of a weight or of a sum may differ.
  assert np.abs(found_BLV - whole_BLV).max() <= 1e-2 * np.abs(whole_BLV).max()
  # Kernels that were cast beforehand are those that are cast at each row.
  plain_BLV = rows_one_by_one(model, params, params, tokens_BLK)
  assert np.abs(found_BLV - plain_BLV).max() <= 1e-5 * np.abs(plain_BLV).max()


def test_kernels_are_held_in_bfloat16_and_looked_up_rows_and_norms_in_float32(model, params):
  held = row_step.read(model, params, HALF)
  kept = {"float32": set(), "bfloat16": set()}
  for path, array in jax.tree_util.tree_flatten_with_path(held)[0]:
    kept[array.dtype.name].add(path[0].key + "/" + path[-1].key)
  kernels = {"query", "key", "value", "out", "gate", "up", "down"}
  assert kept["bfloat16"] == {f"layers/{name}" for name in kernels} | {"head/table"}
  assert kept["float32"] == {"embed/table", "layers/scale", "norm/scale"}


def test_decoding_in_float32_reads_the_parameters_as_they_are(model, params):
  read = row_step.read(model, params, Machine(fsdp=1))
  assert {array.dtype.name for array in jax.tree.leaves(read)} == {"float32"}
  assert ("head" in read) == (not model.settings.tied)


def test_parameters_that_are_read_as_they_are_are_not_copied(model, params, monkeypatch):
  monkeypatch.setattr(row_step, "MOST_APART", 1)
  assert row_step.read(model, params, Machine(fsdp=1)) is params
  assert row_step.read(model, params, HALF)["layers"]["mlp"]["up"].dtype == jnp.bfloat16
