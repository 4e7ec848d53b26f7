"""Backends agree with the reference, on one device and on a mesh, whatever shares a row."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas.ops.tpu import splash_attention
from jax.sharding import PartitionSpec as P

from audiopalm import settings, sharding
from audiopalm.errors import ConfigError
from audiopalm.nn import attention, kernels, masks, mixing


def arrays(rows=6, heads=4, groups=2, width=8, batch=2):
  keys = jax.random.split(jax.random.key(0), 3)
  query = jax.random.normal(keys[0], (batch, rows, heads, width))
  key, value = (jax.random.normal(k, (batch, rows, groups, width)) for k in keys[1:])
  return query, key, value


def packed(length, cuts, batch=2):
  """Returns the rows of segments that end at `cuts`; what follows is padding."""
  segments_L, positions_L = np.zeros((2, length), np.int32)
  for number, (start, end) in enumerate(zip((0, *cuts), cuts, strict=False), 1):
    segments_L[start:end] = number
    positions_L[start:end] = np.arange(end - start)
  zeros_L = np.zeros(length, np.int32)
  return masks.Rows(*(np.tile(row, (batch, 1)) for row in (segments_L, positions_L, zeros_L)))


@pytest.fixture
def interpreted(monkeypatch):
  """Kernels for TPUs run on this CPU, slowly."""
  make = functools.partial(splash_attention.make_splash_mha, interpret=True)
  monkeypatch.setattr(splash_attention, "make_splash_mha", make)


def gradients(mix, query, key, value):
  """Returns (mixed, gradients) of a mix, with weights that differ by place."""

  def total(query, key, value):
    mixed = mix(query, key, value)
    return jnp.sum(mixed * jnp.sin(jnp.arange(mixed.size).reshape(mixed.shape))), mixed

  (_, mixed), grads = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True))(
    query, key, value
  )
  return [mixed, *grads]


def close(found, wanted, at=1e-5):
  for a, b in zip(found, wanted, strict=True):
    np.testing.assert_allclose(a, b, atol=at * np.abs(b).max(), equal_nan=False)


@pytest.mark.parametrize("softcap", [None, 2.0])
def test_a_cache_and_a_new_row_equal_the_whole_sequence(softcap):
  query, key, value = arrays()
  rows = packed(6, [6])
  whole = mixing.xla(query, key, value, rows, rows, softcap=softcap)
  seen = masks.seen(rows[:, 5:], rows)
  heads_first = (jnp.swapaxes(array, 1, 2) for array in (key, value))
  last = attention.over_cache(query[:, 5:], *heads_first, seen, softcap)
  np.testing.assert_allclose(last, whole[:, 5:], atol=1e-6)


def test_another_segment_has_no_gradient_and_padding_is_finite():
  query, key, value = arrays()
  rows = packed(6, [3, 5])

  def total(key, value):
    return mixing.xla(query, key, value, rows, rows)[:, 3:5].sum()

  for grads in jax.grad(total, argnums=(0, 1))(key, value):
    assert np.isfinite(grads).all()
    assert np.abs(grads[:, :3]).max() == np.abs(grads[:, 5:]).max() == 0
    assert np.abs(grads[:, 3:5]).max() > 0


@pytest.mark.parametrize("window", [0, 50])
def test_blocks_and_chunks_of_queries_change_nothing(monkeypatch, window):
  query, key, value = arrays(rows=256)
  rows = packed(256, [100, 230])
  found = {}
  for name, blocks, scores in (("whole", 1, 2**30), ("blocks", 4, 2**30), ("pieces", 2, 2**12)):
    monkeypatch.setattr(mixing, "MOST_BLOCKS", blocks)
    monkeypatch.setattr(mixing, "MOST_SCORES", scores)
    found[name] = gradients(lambda *qkv: mixing.xla(*qkv, rows, rows, window), query, key, value)
  close(found["blocks"], found["whole"])
  close(found["pieces"], found["whole"])


@pytest.mark.parametrize(
  ("cuts", "window", "softcap"),
  [
    pytest.param([256], 0, None, marks=pytest.mark.long),
    ([100, 130, 250], 0, None),
    ([200, 256], 64, 5.0),
  ],
)
def test_splash_equals_xla_on_packed_rows(interpreted, cuts, window, softcap):
  query, key, value = arrays(rows=256, width=128, batch=1)
  rows = packed(256, cuts, batch=1)
  inside = (rows.segments_BL > 0)[..., None, None]

  def with_(backend):
    return lambda *qkv: jnp.where(inside, backend(*qkv, rows, rows, window, softcap=softcap), 0)

  wanted = gradients(with_(mixing.xla), query, key / 8, value)
  close(gradients(with_(kernels.splash), query, key / 8, value), wanted, at=1e-4)


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="cudnn needs an NVIDIA GPU")
@pytest.mark.parametrize(("cuts", "window"), [([256], 0), ([100, 130, 250], 0), ([200, 256], 64)])
def test_cudnn_equals_xla_on_packed_rows(cuts, window):
  query, key, value = (array.astype(jnp.bfloat16) for array in arrays(rows=256, width=64))
  rows = packed(256, cuts)
  inside = (rows.segments_BL > 0)[..., None, None]

  def with_(backend):
    return lambda *qkv: jnp.where(inside, backend(*qkv, rows, rows, window), 0).astype(jnp.float32)

  found, wanted = (gradients(with_(one), query / 8, key, value)
                   for one in (kernels.cudnn, mixing.xla))  # fmt: skip
  close(*([np.float32(array) for array in arrays] for arrays in (found, wanted)), at=2e-2)


MESHES = {
  "batch": {"data": 2, "fsdp": 4},
  "heads": {"data": 1, "fsdp": 2, "tensor": 4},
  "rows": {"data": 1, "fsdp": 2, "context": 4},
  "rows and heads": {"data": 1, "fsdp": 1, "context": 4, "tensor": 2},
}


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("named", MESHES)
def test_a_mesh_changes_nothing(named, groups):
  query, key, value = arrays(rows=64, groups=groups, batch=8)
  rows = packed(64, [30, 50], batch=8)
  wanted = gradients(lambda *qkv: mixing.xla(*qkv, rows, rows), query, key, value)
  mesh = sharding.mesh(settings.Machine(**MESHES[named]))
  with jax.set_mesh(mesh):
    axes = ("batch", "rows", "heads", None), ("batch", "rows", "kv_heads", None)
    split = [
      jax.device_put(array, jax.NamedSharding(mesh, sharding.spec(names, array.shape)))
      for array, names in zip((query, key, value), (axes[0], axes[1], axes[1]), strict=True)
    ]
    placed = sharding.place(rows, mesh, ("batch", "rows"))
    found = jax.jit(lambda rows, *qkv: gradients(
      lambda *qkv: attention.mixer("xla", rows)(*qkv, 0), *qkv
    ))(placed, *split)  # fmt: skip
    assert sharding.layout_of(found[1]) == sharding.layout_of(split[0])
  close([np.asarray(array) for array in found], wanted)


def test_splash_on_a_mesh_equals_one_device(interpreted):
  query, key, value = arrays(rows=512, width=128, groups=1, batch=2)
  rows = packed(512, [300, 500])
  inside = (rows.segments_BL > 0)[..., None, None]
  wanted = mixing.xla(query, key / 8, value, rows, rows)
  mesh = sharding.mesh(settings.Machine(fsdp=2, context=2, tensor=2))
  with jax.set_mesh(mesh):
    split = P("fsdp", "context", "tensor", None), P("fsdp", "context", None, None)
    qkv = [
      jax.device_put(array, jax.NamedSharding(mesh, where))
      for array, where in zip((query, key / 8, value), (split[0], split[1], split[1]), strict=True)
    ]
    placed = sharding.place(rows, mesh, ("batch", "rows"))
    found = jax.jit(lambda rows, *qkv: attention.mixer("splash", rows)(*qkv, 0))(placed, *qkv)
  close([np.asarray(found) * inside], [wanted * inside], at=1e-4)


def test_a_backend_that_cannot_run_says_what_can():
  with pytest.raises(ConfigError, match="'flash'. Available: cudnn, splash, xla."):
    attention.check("flash", "cpu")
  with pytest.raises(ConfigError, match="'splash' runs on a tpu, but the devices are cpus"):
    attention.check("splash", "cpu")
  attention.check("xla", "cpu")


def test_kernels_refuse_what_they_do_not_support():
  query, key, value = arrays()
  rows = packed(6, [6])
  with pytest.raises(ConfigError, match="'splash' is causal"):
    kernels.splash(query, key, value, rows, rows, ahead=True)
  with pytest.raises(ConfigError, match="in multiples of 128, but a device has 6"):
    kernels.splash(query, key, value, rows, rows)
  with pytest.raises(ConfigError, match="one window for all layers"):
    kernels.splash(query, key, value, rows, rows, np.int32(3))
  with pytest.raises(ConfigError, match="'cudnn' has no soft-cap"):
    kernels.cudnn(query, key, value, rows, rows, softcap=2.0)
  with pytest.raises(ConfigError, match="'cudnn' computes in bfloat16, not in float32"):
    kernels.cudnn(query, key, value, rows, rows)


@pytest.mark.parametrize("chunk_scores", (2**22, 40))
def test_biased_attention_equals_softmax_whatever_the_chunks(chunk_scores, monkeypatch):
  monkeypatch.setattr(mixing, "CHUNK_SCORES", chunk_scores)
  query, key, value = arrays(rows=7, heads=2, groups=2)
  seen_BJ = np.arange(7) < np.array([[7], [4]])
  gate_BNL1 = jnp.arange(28.0).reshape(2, 2, 7, 1) / 28
  bias_1NLJ = jax.random.normal(jax.random.key(3), (1, 2, 7, 7))

  def bias(query_BNRH, part, start):
    gate, shared = part
    rows = (start + jnp.arange(query_BNRH.shape[2]))[:, None]
    return gate * shared + rows * query_BNRH[..., :1]

  found = mixing.biased(query, key, value, seen_BJ, bias, (gate_BNL1, bias_1NLJ))
  rows_BNL1 = jnp.arange(7)[:, None] * jnp.swapaxes(query, 1, 2)[..., :1]
  scores = jnp.einsum("BLNH,BJNH->BNLJ", query, key) + gate_BNL1 * bias_1NLJ + rows_BNL1
  weights = jax.nn.softmax(jnp.where(seen_BJ[:, None, None], scores, -jnp.inf), axis=-1)
  np.testing.assert_allclose(found, jnp.einsum("BNLJ,BJNH->BLNH", weights, value), atol=1e-5)
  plain = mixing.biased(query, key, value, seen_BJ)
  rows = masks.Rows(seen_BJ.astype(int), np.zeros((2, 7), int), seen_BJ.astype(int))
  np.testing.assert_allclose(
    plain[seen_BJ], mixing.xla(query, key, value, rows, rows, ahead=True)[seen_BJ], atol=1e-5
  )
