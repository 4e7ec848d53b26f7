"""The smallest pieces of a network: a matrix product, a norm, a table of embeddings, dropout.

Parameters are `nnx.Param(value, axes=(logical axes))`. Kernels are float32 and follow the dtype of
what they multiply.
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import PartitionSpec

from audiopalm import sharding

# The names by which a remat policy keeps the outputs of matrix products, and what attention mixed.
PROJECTION, MIXED = "projection", "mixed"


def normal(key, shape, scale, axes):
  """Returns a parameter drawn from a normal distribution of standard deviation `scale`."""
  return nnx.Param(scale * jax.random.normal(key, shape, jnp.float32), axes=axes)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def linear(x, kernel, contracted=1):
  """Returns x times kernel: the last `contracted` axes of `x` against the first of `kernel`, in the
  dtype of `x`.

      [B, L, D] x [D, N, H], contracted=1 -> [B, L, N, H]
      [B, L, N, H] x [N, H, D], contracted=2 -> [B, L, D]

  The gradient of the kernel is written as x^T dy, not as the transposed product that
  differentiation gives: on a CPU that order is faster. It is summed in float32 and lands where the
  kernel lives (a reduce-scatter under FSDP).
  """
  return _product(x, sharding.gathered(kernel.astype(x.dtype)), contracted)


def _product(x, kernel, contracted):
  split = sharding.layout_of(x)[: x.ndim - contracted] + sharding.layout_of(kernel)[contracted:]
  axes = tuple(range(x.ndim - contracted, x.ndim)), tuple(range(contracted))
  return checkpoint_name(_dot(x, kernel, axes, split), PROJECTION)


def _dot(a, b, axes, split, dtype=None):
  there = PartitionSpec(*split) if any(split) else None
  return lax.dot_general(a, b, (axes, ((), ())), preferred_element_type=dtype, out_sharding=there)


def _linear_forward(x, kernel, contracted):
  return linear(x, kernel, contracted), (x, kernel)


def _linear_backward(contracted, saved, dy):
  x, kernel = saved
  free = tuple(range(x.ndim - contracted))
  d_kernel = _dot(x, dy, (free, free), sharding.layout_of(kernel), jnp.float32)
  whole = sharding.gathered(kernel.astype(dy.dtype))
  axes = tuple(range(len(free), dy.ndim)), tuple(range(contracted, kernel.ndim))
  return _dot(dy, whole, axes, sharding.layout_of(x)), d_kernel.astype(kernel.dtype)


linear.defvjp(_linear_forward, _linear_backward)


def rms_norm(x, scale, eps):
  """Returns x / rms(x) * scale over the last axis, computed in float32. Source:
  arXiv:1910.07467."""
  x32 = x.astype(jnp.float32)
  mean_square = jnp.mean(x32 * x32, axis=-1, keepdims=True)
  return (x32 * lax.rsqrt(mean_square + eps) * scale).astype(x.dtype)


class RMSNorm(nnx.Module):
  """Root-mean-square norm with a learned scale; with `offset` the parameter is the scale minus one
  (Gemma)."""

  def __init__(self, width: int, eps: float, offset: bool):
    self.scale = nnx.Param(jnp.zeros(width) if offset else jnp.ones(width), axes=("norm",))
    self.eps = eps
    self.offset = offset

  def __call__(self, x):
    return rms_norm(x, self.scale[...] + 1 if self.offset else self.scale[...], self.eps)


class Embedding(nnx.Module):
  """One table [V, D] holding the ids of all columns, one contiguous slice after another."""

  def __init__(self, rows: int, width: int, key):
    self.table = normal(key, (rows, width), width**-0.5, ("vocab", "embed"))

  def __call__(self, tokens_BLK, starts, dtype):
    """Returns x_BLD: the sum over columns of each cell's embedding; a hole (-1) adds nothing."""
    ids_BLK = jnp.maximum(tokens_BLK, 0) + jnp.asarray(starts, tokens_BLK.dtype)
    cells_BLKD = looked_up(self.table[...], ids_BLK, jnp.dtype(dtype))
    return jnp.sum(jnp.where(tokens_BLK[..., None] >= 0, cells_BLKD, 0), axis=2)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def looked_up(table_VD, ids, dtype):
  """Returns the rows of a table, [..., D] in `dtype`.

  The table is gathered in `dtype`; its gradient is summed in float32: common ids have many parts.
  """
  return _rows(table_VD.astype(dtype), ids)


def _rows(table_VD, ids):
  there = PartitionSpec(*sharding.layout_of(ids), None)
  return sharding.gathered(table_VD).at[ids].get(out_sharding=there if any(there) else None)


def _looked_up_forward(table_VD, ids, dtype):
  return looked_up(table_VD, ids, dtype), (table_VD, ids)


def _looked_up_backward(dtype, saved, d_cells):
  table_VD, ids = saved
  back = jax.linear_transpose(lambda table: _rows(table, ids), table_VD)
  return *back(d_cells.astype(table_VD.dtype)), None


looked_up.defvjp(_looked_up_forward, _looked_up_backward)


def dropout(x, rate: float, key):
  """Returns x with a share `rate` of its values set to zero and the rest scaled up; x itself
  without a key."""
  if key is None or not rate:
    return x
  there = sharding.placed_like(x)
  # 16 random bits a value: half the work of a float, and a rate exact to 1e-5.
  bits = jax.random.bits(key, x.shape, jnp.uint16, out_sharding=there)
  return jnp.where(bits >= round(rate * 2**16), x / (1 - rate), 0).astype(x.dtype)
