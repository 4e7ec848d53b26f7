"""Products of bfloat16 operands with float32 sums, held to references that round the operands."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm.nn import attention, cross_entropy, kernels, layers, masks, mixing

BFLOAT16 = "bfloat16"


def rounded(array):
  """Returns the array rounded to bfloat16, as float64: sums of it are then exact beside float32."""
  return np.asarray(jnp.asarray(array).astype(jnp.bfloat16).astype(jnp.float32), np.float64)


def drawn(*shapes):
  random = np.random.default_rng(0)
  return [jnp.asarray(random.standard_normal(shape, np.float32)) for shape in shapes]


def close(found, wanted, at=1e-6):
  """At most `at` of the greatest value apart, where operands left as they are would be 1e-3."""
  assert found.dtype == jnp.float32
  assert np.abs(np.asarray(found, np.float64) - wanted).max() <= at * np.abs(wanted).max()


@pytest.mark.parametrize("contracted", [1, 2])
def test_linear_and_its_gradients_round_operands_and_nothing_else(contracted):
  shapes = ((2, 3, 64), (64, 2, 5)) if contracted == 1 else ((2, 3, 16, 4), (16, 4, 10))
  out = (2, 3, 2, 5) if contracted == 1 else (2, 3, 10)
  x, kernel, dy = drawn(*shapes, out)
  width = 64
  y, pull = jax.vjp(lambda x, k: layers.linear(x, k, contracted, BFLOAT16), x, kernel)
  dx, d_kernel = pull(dy)
  x_, kernel_, dy_ = rounded(x), rounded(kernel), rounded(dy)
  flat, square = x_.reshape(6, width), kernel_.reshape(width, 10)
  close(y, (flat @ square).reshape(out))
  close(dx, (dy_.reshape(6, 10) @ square.T).reshape(x.shape))
  close(d_kernel, (flat.T @ dy_.reshape(6, 10)).reshape(kernel.shape))
  exact = np.asarray(x, np.float64).reshape(6, width) @ np.asarray(kernel).reshape(width, 10)
  difference = np.abs(np.asarray(y).reshape(exact.shape) - exact).max()
  assert difference > 1e-4 * np.abs(exact).max()  # the tolerance tells rounded operands from others


def rows_of(segments_BL):
  segments_BL = jnp.asarray(segments_BL)
  positions_BL = jnp.broadcast_to(jnp.arange(segments_BL.shape[1]), segments_BL.shape)
  return masks.Rows(segments_BL, positions_BL, jnp.zeros_like(segments_BL))


def test_attention_and_its_gradients_round_the_operands_of_all_five_products():
  rows = rows_of([[1] * 5 + [2] * 3])
  query, key, value, d_mixed = drawn((1, 8, 2, 16), (1, 8, 1, 16), (1, 8, 1, 16), (1, 8, 2, 16))
  mix = functools.partial(mixing.xla, products=BFLOAT16)
  mixed, pull = jax.vjp(lambda *qkv: mix(*qkv, rows, rows), query, key, value)
  seen_LJ = np.asarray(masks.seen(rows, rows, 0))[0]
  q, (k,), (v,) = (np.moveaxis(rounded(a)[0], 1, 0) for a in (query, key, value))
  d = np.moveaxis(np.asarray(d_mixed, np.float64)[0], 1, 0)
  d_ = np.moveaxis(rounded(d_mixed)[0], 1, 0)
  scores = np.where(seen_LJ, q @ k.T, -np.inf)
  best = scores.max(axis=-1, keepdims=True)
  weights = np.exp(scores - best)
  total = weights.sum(axis=-1, keepdims=True)
  wanted = rounded(weights) @ v / total
  close(mixed[0], np.moveaxis(wanted, 0, 1), at=2e-4)  # a weight on the edge may round either way
  shares = weights / total
  mean = (d * wanted).sum(axis=-1, keepdims=True)
  d_scores = rounded(shares * (d_ @ v.T - mean))
  gradients = (
    np.moveaxis(d_scores @ k, 0, 1)[None],
    np.einsum("nlj,nlh->jh", d_scores, q)[None, :, None],
    np.einsum("nlj,nlh->jh", rounded(shares), d_)[None, :, None],
  )
  for found, gradient in zip(pull(d_mixed), gradients, strict=True):
    close(found, gradient, at=1e-3)


@pytest.mark.parametrize("chunk_cells", [1_000, 5])
def test_the_loss_and_its_gradients_round_the_operands_of_all_three_products(chunk_cells):
  hidden, table = drawn((2, 6, 32), (48, 32))
  tokens = jnp.arange(12).reshape(2, 6) * 3
  settings = cross_entropy.Settings(48, chunk_cells, products=BFLOAT16)

  def total(hidden, table):
    return cross_entropy.cross_entropy(hidden, table, tokens, settings)[0].sum()

  loss, (d_hidden, d_table) = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))(hidden, table)
  h, w = rounded(hidden).reshape(12, 32), rounded(table)
  logits = h @ w.T
  log_z = np.log(np.exp(logits).sum(axis=-1))
  picked = np.arange(12), np.asarray(tokens).reshape(-1)
  close(loss, (log_z - logits[picked]).sum())
  d_logits = np.exp(logits - log_z[:, None])
  d_logits[picked] -= 1
  d_logits = rounded(d_logits)
  close(d_hidden, (d_logits @ w).reshape(hidden.shape), at=1e-3)
  close(d_table, d_logits.T @ h, at=1e-3)


def test_a_row_over_a_bfloat16_cache_is_near_the_pass_over_all_rows():
  rows = rows_of([[1] * 6])
  query, key, value = drawn((1, 6, 2, 16), (1, 6, 1, 16), (1, 6, 1, 16))
  whole = mixing.xla(query, key, value, rows, rows, products=BFLOAT16)
  cached = (jnp.swapaxes(array, 1, 2).astype(jnp.bfloat16) for array in (key, value))
  last = attention.over_cache(query[:, 5:], *cached, jnp.ones((1, 1, 6), bool))
  # Weights are rounded before they are divided by their sum in the one, and after in the other.
  close(last, np.asarray(whole[:, 5:], np.float64), at=4e-3)


def test_splash_casts_its_operands(monkeypatch):
  rows = rows_of(np.ones((1, 128), np.int32))
  query, key, value = drawn((1, 128, 2, 64), (1, 128, 2, 64), (1, 128, 2, 64))
  taken = []

  def made(*args, **settings):
    def kernel(query_NLH, key_NJH, value_NJH, ids):
      taken.extend(array.dtype for array in (query_NLH, key_NJH, value_NJH))
      return query_NLH

    return kernel

  monkeypatch.setattr(kernels.splash_attention, "make_splash_mha", made)
  mixed = kernels.splash(query, key, value, rows, rows, products=BFLOAT16)
  assert mixed.dtype == jnp.float32 and set(taken) == {jnp.dtype(BFLOAT16)}
