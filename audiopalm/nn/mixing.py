"""The attention backend "xla": plain XLA operations on any device, the reference for the others.

A backend is `mix(query_BLNH, key_BJGH, value_BJGH, rows, others, window, *, softcap, ahead,
row_axis, products) -> mixed_BLNH` for the rows of one device. `rows` (`masks.Rows`) belong to the
queries and `others` to the keys; they are the same rows unless the mesh axis `row_axis` splits
them. `products` is as in `nn.layers`.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from audiopalm import sharding
from audiopalm.nn import layers, masks

MOST_BLOCKS = 4
SMALLEST_BLOCK = 64
MOST_SCORES = 2**22  # of one head at a time; larger score matrices are computed in chunks of rows
CHUNK_SCORES = 2**22  # of all heads at a time in `biased`
UNSEEN = -1e30  # finite: a padding row, which sees no key, must not become NaN

Options = tuple[float | None, jax.typing.DTypeLike]  # soft-cap, dtype of products
# what the backward pass needs: the arguments of `_mixed`, its result, and log_z_BGRL1
Saved = tuple[
  jax.Array, jax.Array, jax.Array, masks.Rows, masks.Rows, int | jax.Array, jax.Array, jax.Array
]


def xla(
  query_BLNH: jax.Array,
  key_BJGH: jax.Array,
  value_BJGH: jax.Array,
  rows: masks.Rows,
  others: masks.Rows,
  window: int | jax.Array = 0,
  *,
  softcap: float | None = None,
  ahead: bool = False,
  row_axis: str | None = None,
  products: jax.typing.DTypeLike | None = None,
) -> jax.Array:
  """Returns softmax(q k) v with a float32 softmax.

  The backward pass recomputes the weights from one saved number per row (FlashAttention,
  arXiv:2205.14135, section 3.1). Without `ahead` no row sees a later one: each block of queries
  then meets only the keys up to its end, which saves up to 7/16 of the work. Sources: grouped
  queries, arXiv:2305.13245; soft-cap, Gemma 2, arXiv:2408.00118, section 2.
  """
  # Heads come before rows: the rows of a head are contiguous then, which is faster on CPUs.
  query_BGRLH = jnp.moveaxis(grouped(query_BLNH, key_BJGH.shape[2]), 1, 3)
  key_BGJH, value_BGJH = jnp.swapaxes(key_BJGH, 1, 2), jnp.swapaxes(value_BJGH, 1, 2)
  length = query_BLNH.shape[1]
  causal = row_axis is None and not ahead
  blocks = max(1, min(MOST_BLOCKS, length // SMALLEST_BLOCK)) if causal else 1
  mixed = []
  for block in range(blocks):
    queries = slice(length * block // blocks, length * (block + 1) // blocks)
    keys = slice(queries.stop if causal else None)
    arrays = query_BGRLH[..., queries, :], key_BGJH[:, :, keys], value_BGJH[:, :, keys]
    options = softcap, products or query_BLNH.dtype
    mixed.append(_in_chunks(options, *arrays, rows[:, queries], others[:, keys], window))
  mixed_BLGRH = jnp.moveaxis(jnp.concatenate(mixed, axis=3), 3, 1)
  return mixed_BLGRH.reshape(query_BLNH.shape)


def _in_chunks(
  options: Options,
  query_BGRLH: jax.Array,
  key_BGJH: jax.Array,
  value_BGJH: jax.Array,
  rows: masks.Rows,
  others: masks.Rows,
  window: int | jax.Array,
) -> jax.Array:
  """Returns `_mixed` of all queries, with at most MOST_SCORES scores per head at a time."""
  length, keys = query_BGRLH.shape[3], key_BGJH.shape[2]
  fitting = (n for n in range(1, length) if not length % n and length // n * keys <= MOST_SCORES)
  chunks = next(fitting, length)
  if chunks == 1:
    return _mixed(options, query_BGRLH, key_BGJH, value_BGJH, rows, others, window)

  def cut(array, axis):
    shape = (*array.shape[:axis], chunks, length // chunks, *array.shape[axis + 1 :])
    return jnp.moveaxis(array.reshape(shape), axis, 0)

  mixed = lax.map(
    lambda chunk: _mixed(options, chunk[0], key_BGJH, value_BGJH, chunk[1], others, window),
    (cut(query_BGRLH, 3), jax.tree.map(lambda array: cut(array, 1), rows)),
  )
  return jnp.moveaxis(mixed, 0, 3).reshape(query_BGRLH.shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _mixed(
  options: Options,
  query_BGRLH: jax.Array,
  key_BGJH: jax.Array,
  value_BGJH: jax.Array,
  rows: masks.Rows,
  others: masks.Rows,
  window: int | jax.Array,
) -> jax.Array:
  return _forward(options, query_BGRLH, key_BGJH, value_BGJH, rows, others, window)[0]


def _forward(
  options: Options,
  query_BGRLH: jax.Array,
  key_BGJH: jax.Array,
  value_BGJH: jax.Array,
  rows: masks.Rows,
  others: masks.Rows,
  window: int | jax.Array,
) -> tuple[jax.Array, Saved]:
  softcap, products = options
  dtype = query_BGRLH.dtype
  query_BGRLH, key_BGJH, value_BGJH = (
    array.astype(products) for array in (query_BGRLH, key_BGJH, value_BGJH)
  )
  scores_BGRLJ = _scores(softcap, query_BGRLH, key_BGJH, rows, others, window)
  best_BGRL1 = jnp.max(scores_BGRLJ, axis=-1, keepdims=True)
  weights_BGRLJ = jnp.exp(scores_BGRLJ - best_BGRL1)
  total_BGRL1 = jnp.sum(weights_BGRLJ, axis=-1, keepdims=True)
  mixed_BGRLH = jnp.einsum(
    "BGRLJ,BGJH->BGRLH", weights_BGRLJ.astype(products), value_BGJH, preferred_element_type=dtype
  )
  mixed_BGRLH = (mixed_BGRLH / total_BGRL1).astype(dtype)
  log_z_BGRL1 = checkpoint_name(best_BGRL1 + jnp.log(total_BGRL1), layers.MIXED)
  arrays = query_BGRLH, key_BGJH, value_BGJH, rows, others, window
  return mixed_BGRLH, (*arrays, mixed_BGRLH, log_z_BGRL1)


def _backward(
  options: Options, saved: Saved, d_mixed_BGRLH: jax.Array
) -> tuple[jax.Array | None, ...]:
  softcap, products = options
  query_BGRLH, key_BGJH, value_BGJH, rows, others, window, mixed_BGRLH, log_z_BGRL1 = saved
  scores_BGRLJ = _scores(softcap, query_BGRLH, key_BGJH, rows, others, window)
  weights_BGRLJ = jnp.exp(scores_BGRLJ - log_z_BGRL1)
  product = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
  operand_BGRLH = d_mixed_BGRLH.astype(products)
  d_weights_BGRLJ = product("BGRLH,BGJH->BGRLJ", operand_BGRLH, value_BGJH)
  mean_BGRL1 = jnp.sum(
    d_mixed_BGRLH.astype(jnp.float32) * mixed_BGRLH.astype(jnp.float32), axis=-1, keepdims=True
  )
  d_scores_BGRLJ = weights_BGRLJ * (d_weights_BGRLJ - mean_BGRL1)
  if softcap is not None:
    slope_BGRLJ = 1 - jnp.square(scores_BGRLJ / softcap)
    d_scores_BGRLJ *= jnp.where(scores_BGRLJ > UNSEEN, slope_BGRLJ, 0)
  d_scores_BGRLJ, weights_BGRLJ = (a.astype(products) for a in (d_scores_BGRLJ, weights_BGRLJ))
  gradients = (
    product("BGRLJ,BGJH->BGRLH", d_scores_BGRLJ, key_BGJH),
    product("BGRLJ,BGRLH->BGJH", d_scores_BGRLJ, query_BGRLH),
    product("BGRLJ,BGRLH->BGJH", weights_BGRLJ, operand_BGRLH),
  )
  return *(gradient.astype(mixed_BGRLH.dtype) for gradient in gradients), None, None, None


_mixed.defvjp(_forward, _backward)


def _scores(
  softcap: float | None,
  query_BGRLH: jax.Array,
  key_BGJH: jax.Array,
  rows: masks.Rows,
  others: masks.Rows,
  window: int | jax.Array,
) -> jax.Array:
  scores_BGRLJ = jnp.einsum(
    "BGRLH,BGJH->BGRLJ", query_BGRLH, key_BGJH, preferred_element_type=jnp.float32
  )
  return masked(scores_BGRLJ, masks.seen(rows, others, window), softcap)


def biased(
  query_BLNH: jax.Array,
  key_BJNH: jax.Array,
  value_BJNH: jax.Array,
  seen_BJ: jax.Array,
  bias: Callable[[jax.Array, Any, jax.Array], jax.Array] | None = None,
  per_row: sharding.ArrayTree | None = None,
  products: jax.typing.DTypeLike | None = None,
) -> jax.Array:
  """Returns softmax(q k + bias) v over the keys that `seen_BJ` says, for encoders.

  Every row sees the same keys, later ones too. The rows of a chunk have at most CHUNK_SCORES scores
  in all heads, which stay in the cache of a CPU and bound the memory; the backward pass computes
  them again. `bias(query_BNRH, part, start) -> bias_BNRJ` gives what is added to the scores of the
  rows from `start` on; `part` has their rows (axis 2) of each array of `per_row`, [B, N, L, ...]
  each. Queries come already scaled; `products` is as in `layers.linear`. There is no sharding: call
  it with the arrays of one device.
  """
  dtype, products = query_BLNH.dtype, products or query_BLNH.dtype
  batch, length, heads, width = query_BLNH.shape
  query_BNLH, key_BNJH, value_BNJH = (
    jnp.swapaxes(array, 1, 2).astype(products) for array in (query_BLNH, key_BJNH, value_BJNH)
  )
  hidden_B11J = jnp.where(seen_BJ, 0.0, UNSEEN)[:, None, None]
  chunks = -(-batch * heads * length * key_BNJH.shape[2] // CHUNK_SCORES)
  rows = -(-length // chunks)

  @jax.checkpoint
  def mixed(chunk):
    start, query_BNRH, part = chunk
    scores_BNRJ = jnp.einsum(
      "BNRH,BNJH->BNRJ", query_BNRH, key_BNJH, preferred_element_type=jnp.float32
    )
    if bias is not None:
      scores_BNRJ += bias(query_BNRH, part, start)
    scores_BNRJ += hidden_B11J
    best_BNR1 = jnp.max(lax.stop_gradient(scores_BNRJ), axis=-1, keepdims=True)
    weights_BNRJ = jnp.exp(scores_BNRJ - best_BNR1)
    total_BNR1 = jnp.sum(weights_BNRJ, axis=-1, keepdims=True)
    mixed_BNRH = jnp.einsum(
      "BNRJ,BNJH->BNRH", weights_BNRJ.astype(products), value_BNJH, preferred_element_type=dtype
    )
    return mixed_BNRH / total_BNR1.astype(dtype)

  if chunks == 1:
    return jnp.swapaxes(mixed((jnp.int32(0), query_BNLH, per_row)), 1, 2)

  def cut(array):
    beyond = [(0, 0)] * array.ndim
    beyond[2] = (0, chunks * rows - length)
    shape = (*array.shape[:2], chunks, rows, *array.shape[3:])
    return jnp.moveaxis(jnp.pad(array, beyond).reshape(shape), 2, 0)

  starts = rows * jnp.arange(chunks)
  mixed_CBNRH = lax.map(mixed, (starts, cut(query_BNLH), jax.tree.map(cut, per_row)))
  mixed_BCRNH = jnp.transpose(mixed_CBNRH, (1, 0, 3, 2, 4))
  return mixed_BCRNH.reshape(batch, chunks * rows, heads, width)[:, :length]


def grouped(query_BLNH: jax.Array, groups: int) -> jax.Array:
  """Returns query_BLGRH: the R query heads that share each key head."""
  batch, rows, heads, width = query_BLNH.shape
  return query_BLNH.reshape(batch, rows, groups, heads // groups, width)


def masked(scores_BGRLJ: jax.Array, mask_BLJ: jax.Array, softcap: float | None) -> jax.Array:
  """Returns the soft-capped scores, UNSEEN where the mask is False."""
  if softcap is not None:
    scores_BGRLJ = softcap * jnp.tanh(scores_BGRLJ / softcap)
  return jnp.where(mask_BLJ[:, None, None], scores_BGRLJ, UNSEEN)
