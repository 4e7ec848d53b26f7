"""The decoder: its equations against numpy, its masks, and the same numbers on one device and on
eight, scanned or not, kept or recomputed."""

import dataclasses
import functools
import importlib.util
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm import settings, sharding
from audiopalm.batch import PackedBatch
from audiopalm.errors import ConfigError
from audiopalm.models import decoder, heads
from audiopalm.nn import layers, rotary
from audiopalm.objectives import next_token

_spec = importlib.util.spec_from_file_location(
  "reference", pathlib.Path(__file__).with_name("reference.py")
)
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)

ONE = settings.Machine(fsdp=1)
EIGHT = settings.Machine(data=2, fsdp=2, tensor=2)
TINY = decoder.Decoder(layers=3, width=32, heads=4, kv_heads=2, head_width=8, hidden=48)
FAMILIES = {
  "llama 3": dataclasses.replace(
    TINY, tied=False, rope_base=5e5, rope_scaling=rotary.Llama3Scaling(8.0, 1.0, 4.0, 16)
  ),
  "qwen 2": dataclasses.replace(TINY, qkv_bias=True, rope_base=1e6),
  "qwen 3": dataclasses.replace(TINY, qk_norm=True, rope_base=1e6),
  "gemma 2": dataclasses.replace(
    TINY, norm_offset=True, post_norms=True, embed_scale=True, activation="gelu_tanh",
    attention_softcap=5.0, final_softcap=3.0, query_scale=0.3, windows=(3, 0),
  ),
  "gemma 3": dataclasses.replace(
    TINY, norm_offset=True, post_norms=True, embed_scale=True, activation="gelu_tanh",
    qk_norm=True, windows=(3, 3, 0), rope_base=(1e4, 1e4, 1e6),
    rope_scaling=rotary.LinearScaling(8.0),
  ),
  "palm": dataclasses.replace(TINY, parallel_block=True, kv_heads=1),
}  # fmt: skip


def space(sizes=(60,), both_ways=True):
  padded = tuple(-(-size // 16) * 16 for size in sizes)
  modality = tuple(
    np.r_[np.zeros(s // 2), np.ones(s - s // 2), -np.ones(p - s)].astype(np.int8)
    for s, p in zip(sizes, padded, strict=True)
  )
  return types.SimpleNamespace(
    sizes=sizes, padded=padded, modality_KV=modality, both_ways=both_ways
  )


def params_of(model, machine=ONE, seed=0):
  """Parameters whose every array is random, norms and biases too; of numpy: nothing to compile."""
  rng = np.random.default_rng(seed)

  def array(path, shape):
    mean = 1.0 if path[-1].key == "scale" and not model.settings.norm_offset else 0.0
    values = rng.normal(mean, 0.2, shape.shape).astype(shape.dtype)
    return jax.device_put(values, shape.sharding)

  return jax.tree_util.tree_map_with_path(array, model.shapes(sharding.mesh(machine)))


def batch_of(tokens_BLK, segments_BL=None, visible_BL=None):
  tokens_BLK = np.asarray(tokens_BLK, np.int32)
  B, L, _ = tokens_BLK.shape
  segments_BL = np.ones((B, L), np.int32) if segments_BL is None else np.int32(segments_BL)
  positions_BL = np.zeros((B, L), np.int32)
  for b, i in np.ndindex(B, L):
    if i and segments_BL[b, i] == segments_BL[b, i - 1]:
      positions_BL[b, i] = positions_BL[b, i - 1] + 1
  visible_BL = np.zeros((B, L), np.int32) if visible_BL is None else np.int32(visible_BL)
  weights_BLK = np.where((segments_BL[..., None] > 0) & (tokens_BLK >= 0), 1, 0).astype(np.float32)
  return PackedBatch(
    tokens_BLK, weights_BLK, segments_BL, positions_BL, visible_BL, np.zeros(B, np.int32)
  )


def random_batch(columns=1, rows=8, length=12, high=60, seed=0):
  """Two packed segments a row, padding at the end, a hole here and there."""
  rng = np.random.default_rng(seed)
  tokens_BLK = rng.integers(-1, high, (rows, length, columns))
  segments_BL = np.tile([1] * 5 + [2] * (length - 7) + [0] * 2, (rows, 1))
  return batch_of(np.where(segments_BL[..., None] > 0, tokens_BLK, -1), segments_BL)


def hidden(model, params, batch, machine=ONE, key=None):
  return np.asarray(jax.jit(model.hidden, static_argnums=2)(params, batch, machine, key))


def loss_and_grads(model, params, batch, machine, objective=None, key=None):
  objective = objective or next_token.NextToken()
  mesh = sharding.mesh(machine)

  def mean(params, batch):
    losses, _ = objective.losses(
      model, params, {}, batch, key=key, train=key is not None, step=0, machine=machine
    )
    return losses["model"].sum / losses["model"].weight

  with jax.set_mesh(mesh):
    placed = sharding.place(batch, mesh, batch.axes())
    return jax.jit(jax.value_and_grad(mean))(params, placed)


def assert_same_gradients(found, wanted):
  """The project's tolerance: per tensor, max |a - b| <= 1e-5 max |a|."""

  def check(path, a, b):
    a, b = np.asarray(a), np.asarray(b)
    assert np.abs(a - b).max() <= 1e-5 * np.abs(a).max(), jax.tree_util.keystr(path)

  jax.tree_util.tree_map_with_path(check, wanted, found)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_equal_the_equations_in_numpy(family):
  tiny = FAMILIES[family]
  model = tiny.build(space())
  params = params_of(model)
  tokens = np.random.default_rng(0).integers(0, 60, (2, 11))
  logits_BLV = model.head.logits(params, hidden(model, params, batch_of(tokens[..., None])))

  def stretch(window):
    if tiny.rope_scaling is None or window:
      return lambda frequency: frequency
    if isinstance(tiny.rope_scaling, rotary.LinearScaling):
      return lambda frequency: frequency / tiny.rope_scaling.factor
    return lambda frequency: reference.llama3_frequency(frequency, tiny.rope_scaling)

  windows = [(tiny.windows or (0,))[i % len(tiny.windows or (0,))] for i in range(3)]
  bases = tiny.rope_base if isinstance(tiny.rope_base, tuple) else (tiny.rope_base,) * 3
  plain = jax.tree.map(lambda array: np.asarray(array, np.float64), params)
  for b in range(2):
    wanted = reference.logits(
      tiny, plain, tokens[b], windows, bases, [stretch(window) for window in windows]
    )
    np.testing.assert_allclose(logits_BLV[b, :, :60], wanted[:, :60], atol=1e-5, rtol=1e-5)
  assert np.all(np.asarray(logits_BLV)[..., 60:] == -np.inf)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_formula_counts_the_parameters_of_the_tree(family):
  model = FAMILIES[family].build(space((60, 30)))
  shapes = model.shapes(sharding.mesh(ONE))
  counted = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
  assert FAMILIES[family].parameters(space((60, 30))) == counted


def test_flops_are_six_per_multiplied_parameter_and_the_rows_seen():
  # 3 layers of (32 x 12 x 8 + 3 x 32 x 48) and 64 rows of head; 4 heads of 8 see 2.5 of 4 rows.
  kernels = 3 * (32 * 12 * 8 + 3 * 32 * 48) + 64 * 32
  assert TINY.flops_per_token(space(), 4) == 6 * kernels + 12 * 32 * 3 * 2.5
  near = dataclasses.replace(TINY, windows=(2,))  # rows see 1, 2, 2, 2
  assert near.flops_per_token(space(), 4) == 6 * kernels + 12 * 32 * 3 * 1.75


def test_the_tree_has_no_class_names():
  model = FAMILIES["gemma 3"].build(space())
  paths = jax.tree_util.tree_leaves_with_path(model.shapes(sharding.mesh(ONE)))
  assert {jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths} == {
    "embed/table",
    "layers/attention/key",
    "layers/attention/key_norm/scale",
    "layers/attention/out",
    "layers/attention/query",
    "layers/attention/query_norm/scale",
    "layers/attention/value",
    "layers/attention_norm/scale",
    "layers/attention_post_norm/scale",
    "layers/mlp/down",
    "layers/mlp/gate",
    "layers/mlp/up",
    "layers/mlp_norm/scale",
    "layers/mlp_post_norm/scale",
    "norm/scale",
  }


@pytest.mark.parametrize("length", [12, 200])  # 200: queries go in blocks
@pytest.mark.parametrize("both_ways", [True, False])
def test_row_does_not_see_its_future(length, both_ways):
  model = TINY.build(space(both_ways=both_ways))
  params = params_of(model)
  tokens = np.random.default_rng(0).integers(0, 60, (1, length, 1))
  changed = tokens.copy()
  row = length // 2
  changed[0, row] = (changed[0, row] + 1) % 60
  before, after = (hidden(model, params, batch_of(t)) for t in (tokens, changed))
  np.testing.assert_array_equal(before[0, :row], after[0, :row])
  assert (np.abs(before[0, row:] - after[0, row:]).max(axis=-1) > 0).all()


def test_blocks_of_queries_equal_one_pass():
  tokens = np.random.default_rng(0).integers(0, 60, (1, 200, 1))
  segments = [[1] * 90 + [2] * 105 + [0] * 5]
  whole, blocks = (TINY.build(space(both_ways=b)) for b in (True, False))
  params = params_of(whole)
  batch = batch_of(tokens, segments)
  np.testing.assert_allclose(hidden(whole, params, batch), hidden(blocks, params, batch), atol=1e-5)


def test_rows_of_a_both_ways_block_see_each_other_and_no_more():
  model, params = TINY.build(space()), None
  params = params_of(model)
  tokens = np.random.default_rng(0).integers(0, 60, (1, 8, 1))
  visible = [[0, 0, 1, 1, 1, 0, 0, 0]]
  before = hidden(model, params, batch_of(tokens, visible_BL=visible))
  for row, first in [(4, 2), (1, 1), (5, 5)]:
    changed = tokens.copy()
    changed[0, row] = (changed[0, row] + 1) % 60
    after = hidden(model, params, batch_of(changed, visible_BL=visible))
    moved = np.abs(before - after).max(axis=-1)[0] > 0
    np.testing.assert_array_equal(moved, np.arange(8) >= first)


def test_packed_neighbours_do_not_change_my_loss():
  model = dataclasses.replace(TINY, windows=(4, 0)).build(space(both_ways=False))
  params = params_of(model)
  rng = np.random.default_rng(0)
  mine, other = rng.integers(0, 60, (6, 1)), rng.integers(0, 60, (5, 1))
  alone = batch_of(mine[None])
  for order in ([other, mine], [mine, other]):
    number = 1 + (order[0] is other)
    segments = [[1] * len(order[0]) + [2] * len(order[1]) + [0]]
    packed = batch_of(np.concatenate([*order, [[-1]]])[None], segments)
    score = next_token.NextToken().score(model, params, {}, packed, segments=2, machine=ONE)
    wanted = next_token.NextToken().score(model, params, {}, alone, segments=1, machine=ONE)
    for kind in ("text", "speech"):
      np.testing.assert_allclose(
        score[kind]["nll"][0, number], wanted[kind]["nll"][0, 1], rtol=1e-6
      )


def test_holes_add_nothing_and_columns_add_up():
  model = TINY.build(space((60, 30)))
  params = params_of(model)
  table = params["embed"]["table"]
  grid = np.array([[[3, 4], [5, -1], [-1, 29], [-1, -1]]])
  with jax.set_mesh(sharding.mesh(ONE)):
    cells_BLKD = layers.embedded(table, jnp.asarray(grid), heads.starts(model.padded), jnp.float32)
    x_BLD = cells_BLKD.sum(axis=2)
  wanted = [table[3] + table[64 + 4], table[5], table[64 + 29], 0 * table[0]]
  np.testing.assert_allclose(x_BLD[0], wanted, atol=1e-7)


def test_a_column_scores_its_own_slice_of_the_table():
  model = TINY.build(space((60, 30)))
  params = params_of(model)
  state = jnp.ones((1, 32))
  table = np.asarray(params["embed"]["table"])
  np.testing.assert_allclose(
    model.head.logits(params, state, 1)[0, :30], table[64:94].sum(axis=-1), atol=1e-5
  )


MESHES = [
  {"data": 8},
  {"fsdp": 8},
  {"data": 2, "fsdp": 2, "tensor": 2},
  {"data": 2, "fsdp": 2, "context": 2},
  {"data": 2, "context": 2, "tensor": 2},
  {"fsdp": 2, "context": 2, "tensor": 2},
  {"fsdp": 2, "tensor": 4},
  {"context": 4, "tensor": 2},
  {"tensor": 2},  # splits nothing but what products sum over
]


@functools.cache
def on_one_device(family):
  """Returns (model, (loss, gradients)), what every mesh is held to."""
  model = FAMILIES[family].build(space((60, 30), both_ways=False))
  params = params_of(model)
  return model, loss_and_grads(model, params, random_batch(columns=2, high=30), ONE)


FEW = (MESHES[2], MESHES[5], MESHES[7])  # every axis is in one of them at least


def on_meshes():
  """Each family on every mesh; `make test` takes Llama on `FEW`."""
  for family in ("llama 3", "gemma 3", "palm"):
    for axes in MESHES:
      name = " ".join(f"{axis}={size}" for axis, size in axes.items())
      marks = () if family == "llama 3" and axes in FEW else pytest.mark.long
      yield pytest.param(family, axes, id=f"{family}-{name}", marks=marks)


@pytest.mark.parametrize(("family", "axes"), on_meshes())
def test_every_mesh_equals_one_device(family, axes):
  machine = settings.Machine(name="mesh", loss_chunk_cells=8, **{"data": 1, "fsdp": 1, **axes})
  model, (loss, grads) = on_one_device(family)
  params = params_of(model, machine)
  batch = random_batch(columns=2, high=30)
  loss_8, grads_8 = loss_and_grads(model, params, batch, machine)
  np.testing.assert_allclose(loss, loss_8, rtol=1e-6)
  assert_same_gradients(grads_8, grads)
  shapes = model.shapes(sharding.mesh(machine))
  for grad, shape in zip(jax.tree.leaves(grads_8), jax.tree.leaves(shapes), strict=True):
    assert grad.sharding.is_equivalent_to(shape.sharding, grad.ndim)


def test_the_comparison_of_meshes_notices_a_missing_sum(monkeypatch):
  model = TINY.build(space())
  monkeypatch.setattr(sharding, "sum_to", without_the_sum)
  found = []
  for machine in (ONE, settings.Machine(data=8, fsdp=1)):
    params = params_of(model, machine)
    found.append(loss_and_grads(model, params, random_batch(), machine)[1])
  with pytest.raises(AssertionError):
    assert_same_gradients(found[1], found[0])


def without_the_sum(part, split, summed):
  """A reduction as `sharding.sum_to`, but for the sum over devices."""
  return part


def test_new_parameters_are_the_same_on_every_mesh():
  model = FAMILIES["llama 3"].build(space())
  one, eight = (model.init(jax.random.key(0), sharding.mesh(m)) for m in (ONE, EIGHT))
  jax.tree.map(np.testing.assert_array_equal, one, eight)


def test_few_key_heads_live_on_every_device_and_queries_are_split():
  machine = settings.Machine(data=1, fsdp=2, tensor=4)
  model = TINY.build(space(both_ways=False))  # 2 key heads, 4 ways
  params = params_of(model, machine)
  assert params["layers"]["attention"]["key"].sharding.spec[2] is None
  assert params["layers"]["attention"]["query"].sharding.spec[2] == "tensor"
  one = params_of(model)
  loss, grads = loss_and_grads(model, one, random_batch(), ONE)
  loss_8, grads_8 = loss_and_grads(model, params, random_batch(), machine)
  np.testing.assert_allclose(loss, loss_8, rtol=1e-6)
  assert_same_gradients(grads_8, grads)


@pytest.mark.parametrize(
  "change",
  [
    {"unroll_layers": True},
    {"remat": "full"},
    pytest.param({"remat": "dots"}, marks=pytest.mark.long),
    pytest.param({"remat": "offload"}, marks=pytest.mark.long),
    {"loss_chunk_cells": 20},
  ],
)
def test_machine_options_do_not_change_the_step(change):
  model = FAMILIES["gemma 3"].build(space(both_ways=False))
  params, batch = params_of(model), random_batch()
  loss, grads = loss_and_grads(model, params, batch, ONE)
  other = dataclasses.replace(ONE, **change)
  loss_other, grads_other = loss_and_grads(model, params, batch, other)
  np.testing.assert_allclose(loss, loss_other, rtol=1e-6)
  assert_same_gradients(grads_other, grads)


def test_bfloat16_is_near_float32_and_hidden_states_say_so():
  model = TINY.build(space())
  params, batch = params_of(model), random_batch()
  half = dataclasses.replace(ONE, compute_dtype="bfloat16")
  loss, _ = loss_and_grads(model, params, batch, ONE)
  loss_half, grads_half = loss_and_grads(model, params, batch, half)
  np.testing.assert_allclose(loss, loss_half, rtol=0.02)
  assert all(grad.dtype == jnp.float32 for grad in jax.tree.leaves(grads_half))
  assert jax.eval_shape(lambda: model.hidden(params, batch, half)).dtype == jnp.bfloat16
  assert model.head.logits(params, jnp.ones((1, 32), jnp.bfloat16)).dtype == jnp.float32


def test_products_in_bfloat16_are_near_float32_on_one_device_and_on_eight():
  model = TINY.build(space())
  batch = random_batch()
  loss, grads = loss_and_grads(model, params_of(model), batch, ONE)
  for machine in (ONE, EIGHT):
    half = dataclasses.replace(machine, product_dtype="bfloat16")
    params = params_of(model, machine)
    found, found_grads = loss_and_grads(model, params, batch, half)
    assert float(loss) != float(found)
    np.testing.assert_allclose(loss, found, rtol=5e-3)
    for wanted, grad in zip(jax.tree.leaves(grads), jax.tree.leaves(found_grads), strict=True):
      assert grad.dtype == jnp.float32
      wanted, grad = np.asarray(wanted), np.asarray(grad)
      assert np.abs(wanted - grad).max() <= 5e-2 * np.abs(wanted).max()
  one = dataclasses.replace(ONE, product_dtype="bfloat16")
  hidden_BLD = jax.eval_shape(lambda params: model.hidden(params, batch, one), params_of(model))
  assert hidden_BLD.dtype == jnp.float32


def test_dropout_needs_a_key():
  model = dataclasses.replace(TINY, dropout=0.5).build(space())
  params, batch = params_of(model), random_batch()
  np.testing.assert_array_equal(hidden(model, params, batch), hidden(model, params, batch))
  first, again, other = (
    hidden(model, params, batch, key=jax.random.key(seed)) for seed in (1, 1, 2)
  )
  np.testing.assert_array_equal(first, again)
  assert np.abs(first - other).max() > 0.1
  assert np.abs(first - hidden(model, params, batch)).max() > 0.1


def test_dropout_is_the_same_on_eight_devices():
  model = dataclasses.replace(TINY, dropout=0.5).build(space())
  batch, key = random_batch(), jax.random.key(3)
  losses = [
    loss_and_grads(model, params_of(model, machine), batch, machine, key=key)[0]
    for machine in (ONE, EIGHT)
  ]
  np.testing.assert_allclose(*losses, rtol=1e-6)


def test_an_unknown_attention_backend_lists_those_there_are():
  model = TINY.build(space())
  machine = dataclasses.replace(ONE, attention="flash")
  with pytest.raises(ConfigError, match="Unknown attention backend 'flash'. Available: "):
    model.hidden(params_of(model), random_batch(), machine)


def test_an_unknown_remat_policy_lists_those_there_are():
  model = TINY.build(space())
  machine = dataclasses.replace(ONE, remat="some")
  with pytest.raises(ConfigError, match="Unknown remat policy 'some'. Available: none, full, dots"):
    model.hidden(params_of(model), random_batch(), machine)


@pytest.mark.parametrize(
  "change, text",
  [
    ({"kv_heads": 3}, "4 heads but 3 kv_heads.*make heads a multiple of kv_heads"),
    ({"head_width": 7}, "head_width is 7.*give an even width"),
    ({"layers": 0}, "Decoder.layers must be at least 1, got 0"),
    ({"activation": "relu"}, "Unknown Decoder.activation 'relu'. Available: silu, gelu_tanh"),
    ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
    ({"windows": (-1,)}, "windows are numbers of rows, 0 for no limit"),
  ],
)
def test_settings_that_cannot_be_built_say_why(change, text):
  with pytest.raises(ConfigError, match=text):
    dataclasses.replace(TINY, **change)
