"""The depth head: its equations against numpy, what a column sees, the same numbers on one device
and on eight, and drawn cell by cell what it scores all at once."""

import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm import settings, sharding
from audiopalm.batch import PackedBatch
from audiopalm.errors import ConfigError
from audiopalm.models import decoder, depth
from audiopalm.objectives import next_token

ONE = settings.Machine(fsdp=1)
HEAD = depth.DepthTransformer(layers=2, width=16, heads=2, hidden=24)
TINY = decoder.Decoder(
  layers=1, width=32, heads=4, kv_heads=2, head_width=8, hidden=48, tied=False, depth_head=HEAD,
  final_softcap=9.0,
)  # fmt: skip
SIZES = (30, 14, 11)
D, E, K = 32, 16, 3


def space(sizes=SIZES):
  padded = tuple(-(-size // 16) * 16 for size in sizes)
  modality = tuple(
    np.where(np.arange(p) < s, 1, -1).astype(np.int8) for s, p in zip(sizes, padded, strict=True)
  )
  return types.SimpleNamespace(sizes=sizes, padded=padded, modality_KV=modality, both_ways=False)


@functools.cache
def model():
  return TINY.build(space())


@functools.cache
def params(machine=ONE):
  """Parameters whose every array is random, norms too; the same values on every mesh."""
  shapes = model().shapes(sharding.mesh(machine))
  random = np.random.default_rng(0)

  def draw(path, shape):
    values = random.normal(0, 0.2, shape.shape) + (path[-1].key == "scale")
    return jax.device_put(values.astype(np.float32), shape.sharding)

  return jax.tree_util.tree_map_with_path(draw, shapes)


def batch_of(tokens_BLK, segments_BL=None):
  tokens_BLK = np.asarray(tokens_BLK, np.int32)
  shape = tokens_BLK.shape[:2]
  segments_BL = np.ones(shape, np.int32) if segments_BL is None else np.int32(segments_BL)
  positions_BL = np.zeros(shape, np.int32)
  for b, i in np.ndindex(shape):
    if i and segments_BL[b, i] == segments_BL[b, i - 1]:
      positions_BL[b, i] = positions_BL[b, i - 1] + 1
  weights_BLK = np.float32((segments_BL[..., None] > 0) & (tokens_BLK >= 0))
  zeros_B = np.zeros(len(tokens_BLK), np.int32)
  return PackedBatch(
    tokens_BLK, weights_BLK, segments_BL, positions_BL, np.zeros(shape, np.int32), zeros_B
  )


def random_tokens(rows=8, length=8, seed=0):
  """Ids of each column, a hole here and there."""
  random = np.random.default_rng(seed)
  cells = [random.integers(-1, size, (rows, length)) for size in SIZES]
  return np.stack(cells, axis=-1).astype(np.int32)


def hidden_of(rows, seed=0):
  return jnp.asarray(np.random.default_rng(seed).normal(size=(*rows, D)), jnp.float32)


@jax.jit
def scored(params, hidden_BLD, tokens_BLK):
  return [scores.nll_BL for scores in model().head.losses(params, hidden_BLD, tokens_BLK, ONE)]


@jax.jit
def states(params, hidden_BLD, tokens_BLK):
  return jnp.stack(list(model().head.states(params, hidden_BLD, tokens_BLK, ONE)), axis=2)


def in_numpy(hidden_D, cells_K):
  """The log-probability of each cell of one row, by the equations, in float64."""
  of = jax.tree.map(lambda array: np.asarray(array, np.float64), params())
  starts = np.cumsum((0, *space().padded[:-1]))

  def norm(x, scale):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * scale

  x_KE = np.einsum("D,DKE->KE", np.float64(hidden_D), of["depth"]["into"])
  for k in range(1, K):
    if cells_K[k - 1] >= 0:
      x_KE[k] += of["depth_embed"]["table"][starts[k - 1] + cells_K[k - 1]] * np.sqrt(E)
  for layer in range(HEAD.layers):
    a = jax.tree.map(lambda array, layer=layer: array[layer], of["depth"]["layers"])
    normed = norm(x_KE, a["attention_norm"]["scale"])
    q, k, v = (
      np.einsum("KE,ENH->NKH", normed, a["attention"][n]) for n in ("query", "key", "value")
    )
    scores = np.where(np.tri(K, dtype=bool), q @ k.swapaxes(1, 2) / np.sqrt(E / 2), -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = weights / weights.sum(-1, keepdims=True) @ v
    x_KE = x_KE + np.einsum("NKH,NHE->KE", mixed, a["attention"]["out"])
    normed = norm(x_KE, a["mlp_norm"]["scale"])
    gate = normed @ a["mlp"]["gate"]
    x_KE = x_KE + (gate / (1 + np.exp(-gate)) * (normed @ a["mlp"]["up"])) @ a["mlp"]["down"]
  states_KE = norm(x_KE, of["depth"]["norm"]["scale"])
  found = []
  for k, (start, size) in enumerate(zip(starts, SIZES, strict=True)):
    logits_V = 9 * np.tanh(of["head"]["table"][start : start + size] @ states_KE[k] / 9)
    found.append(logits_V[cells_K[k]] - np.log(np.exp(logits_V).sum()))
  return found


def test_scores_equal_the_equations_in_numpy():
  hidden_BLD, tokens_BLK = hidden_of((2, 3)), random_tokens(2, 3)
  nll_K = scored(params(), hidden_BLD, tokens_BLK)
  for b, i in np.ndindex(2, 3):
    wanted = in_numpy(hidden_BLD[b, i], tokens_BLK[b, i])
    for k in range(K):
      if tokens_BLK[b, i, k] >= 0:
        assert nll_K[k][b, i] == pytest.approx(-wanted[k], abs=1e-5)


def test_a_column_sees_the_columns_before_it_and_no_other_row():
  hidden_BLD, tokens_BLK = hidden_of((1, 3)), np.int32([[[3, 4, 5], [1, -1, 2], [7, 8, 9]]])
  before = states(params(), hidden_BLD, tokens_BLK)
  for k in range(K):
    changed = tokens_BLK.copy()
    changed[0, 1, k] += 2
    after = states(params(), hidden_BLD, changed)
    moved_LK = np.abs(before - after).max(axis=-1)[0] > 0
    wanted_LK = np.zeros((3, K), bool)
    wanted_LK[1, k + 1 :] = True
    np.testing.assert_array_equal(moved_LK, wanted_LK)


@pytest.mark.parametrize("sizes", [(30, 14, 11), (30,)])
def test_the_formula_counts_the_parameters_of_the_tree(sizes):
  shapes = TINY.build(space(sizes)).shapes(sharding.mesh(ONE))
  counted = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
  assert TINY.parameters(space(sizes)) == counted


def test_flops_are_six_per_multiplied_parameter_of_each_cell_and_the_cells_seen():
  trunk = 32 * 12 * 8 + 3 * 32 * 48  # and 4 heads of 8 see 2.5 of 4 rows
  cell = 32 * 16 + 2 * (4 * 16 * 16 + 3 * 16 * 24)  # into, and two blocks; 1 + 2 + 3 cells are seen
  rows = sum(space().padded)
  wanted = 6 * (trunk + 3 * cell + rows * 16) + 12 * 32 * 2.5 + 12 * 16 * 2 * 6
  assert TINY.flops_per_token(space(), 4) == wanted


def test_the_tree_names_the_head():
  paths = jax.tree_util.tree_leaves_with_path(model().shapes(sharding.mesh(ONE)))
  named = {
    jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape for path, leaf in paths
  }
  assert named["depth/into"] == (D, K, E)
  assert named["depth/layers/attention/query"] == (2, E, 2, 8)
  assert named["depth_embed/table"] == named["head/table"] == (sum(space().padded), E)
  assert model().tables == ("embed", "depth_embed", "head")


def drawn(read, hidden_BD, cells_BK, machine=ONE):
  """Returns the logits of each column, drawn cell by cell; the cells are those given."""

  def choose(logits, column, logits_BV):
    return [*logits, np.asarray(logits_BV)], jnp.asarray(cells_BK[:, column])

  return model().head.draw(read, hidden_BD, [], choose, machine)


@pytest.mark.parametrize("apart", [pytest.param(False, marks=pytest.mark.long), True])
def test_drawn_cell_by_cell_every_column_has_the_logits_of_all_at_once(apart):
  hidden_BD, cells_BK = hidden_of((5,)), random_tokens(5, 1)[:, 0]
  read = model().unstacked(params()) if apart else params()
  states_BLKE = states(params(), hidden_BD[:, None], cells_BK[:, None])
  for k, logits_BV in enumerate(drawn(read, hidden_BD, cells_BK)):
    whole_BV = np.asarray(model().head.logits(params(), jnp.asarray(states_BLKE[:, 0, k]), k))
    np.testing.assert_allclose(
      logits_BV[:, : SIZES[k]], whole_BV[:, : SIZES[k]], atol=1e-5, rtol=1e-5
    )
    assert (logits_BV[:, SIZES[k] :] == -np.inf).all()


def test_kernels_held_in_bfloat16_are_those_cast_at_each_row():
  half = settings.Machine(fsdp=1, product_dtype="bfloat16")
  held = model().cast_kernels(params(), half)
  assert held["depth"]["into"].dtype == held["depth"]["layers"]["mlp"]["up"].dtype == jnp.bfloat16
  assert held["depth"]["norm"]["scale"].dtype == held["depth_embed"]["table"].dtype == jnp.float32
  hidden_BD, cells_BK = hidden_of((5,)), random_tokens(5, 1)[:, 0]
  pairs = zip(drawn(held, hidden_BD, cells_BK, half), drawn(params(), hidden_BD, cells_BK, half),
              strict=True)  # fmt: skip
  for k, (one_BV, other_BV) in enumerate(pairs):
    np.testing.assert_allclose(one_BV[:, : SIZES[k]], other_BV[:, : SIZES[k]], atol=1e-5)


def loss_and_grads(machine, batch):
  mesh = sharding.mesh(machine)

  def mean(params, batch):
    losses, _ = next_token.NextToken(z_loss=0.01).losses(
      model(), params, {}, batch, key=None, train=False, step=0, machine=machine
    )
    return losses["model"].sum / losses["model"].weight

  with jax.set_mesh(mesh):
    placed = sharding.place(batch, mesh, batch.axes())
    return jax.jit(jax.value_and_grad(mean))(params(machine), placed)


@functools.cache
def on_one_device():
  return loss_and_grads(ONE, batch_of(random_tokens()))


CHANGES = [
  dict(data=2, fsdp=2, tensor=2),
  dict(fsdp=2, context=2, tensor=2),
  dict(context=4, data=2),
  dict(loss_chunk_cells=5),
  dict(remat="dots"),
  dict(remat="full", unroll_layers=True),
]


@pytest.mark.parametrize(
  "change",
  [CHANGES[0], *(pytest.param(change, marks=pytest.mark.long) for change in CHANGES[1:])],
  ids=str,
)
def test_meshes_and_options_of_a_machine_change_neither_loss_nor_gradients(change):
  loss, grads = on_one_device()
  other, other_grads = loss_and_grads(
    settings.Machine(name="other", **{"data": 1, "fsdp": 1, **change}), batch_of(random_tokens())
  )
  np.testing.assert_allclose(loss, other, rtol=1e-6)

  def check(path, a, b):
    a, b = np.asarray(a), np.asarray(b)
    assert np.abs(a - b).max() <= 1e-5 * np.abs(a).max(), jax.tree_util.keystr(path)

  jax.tree_util.tree_map_with_path(check, grads, other_grads)


def test_gradients_with_products_in_bfloat16_are_near_those_of_float32():
  _, grads = on_one_device()
  half = settings.Machine(fsdp=1, product_dtype="bfloat16")
  _, other = loss_and_grads(half, batch_of(random_tokens()))
  for one, two in zip(jax.tree.leaves(grads), jax.tree.leaves(other), strict=True):
    one, two = np.asarray(one), np.asarray(two)
    assert np.abs(one - two).max() <= 0.1 * np.abs(one).max()


def test_packed_neighbors_do_not_change_my_loss():
  mine, other = random_tokens(1, 6, seed=1)[0], random_tokens(1, 5, seed=2)[0]
  score = functools.partial(next_token.NextToken().score, model(), params(), {}, machine=ONE)
  score = jax.jit(score, static_argnames="segments")
  alone = score(batch_of(mine[None]), segments=1)["speech"]["nll"][0, 1]
  for order, number in (((other, mine), 2), ((mine, other), 1)):
    segments = [[1] * len(order[0]) + [2] * len(order[1])]
    packed = score(batch_of(np.concatenate(order)[None], segments), segments=2)
    np.testing.assert_allclose(packed["speech"]["nll"][0, number], alone, rtol=1e-6)


def test_a_tied_decoder_is_refused():
  with pytest.raises(ConfigError, match="depth_head of width 16 has an output table of its own"):
    dataclasses.replace(TINY, tied=True)


def test_sizes_that_make_no_head_are_refused():
  with pytest.raises(ConfigError, match="DepthTransformer.layers must be at least 1, got 0"):
    depth.DepthTransformer(layers=0)
  with pytest.raises(ConfigError, match="width 128 but 3 heads.*make width a multiple of heads"):
    depth.DepthTransformer(heads=3)
