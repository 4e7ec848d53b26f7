"""The basic layers: matrix product, norms, embedding table, dropout.

Parameters are `nnx.Param(value, axes=(logical axes))` and kernels are float32. `products` is the
dtype that both operands of a matrix product are cast to, by default the dtype of the input;
products accumulate in float32, and the output has the dtype of the input.
"""

import functools
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import PartitionSpec

from audiopalm import sharding

# Checkpoint names by which a remat policy saves outputs of matrix products and of attention.
PROJECTION, MIXED = "projection", "mixed"


def normal(key: jax.Array, shape: tuple[int, ...], scale: float, axes: tuple) -> nnx.Param:
  """Returns a parameter drawn from a normal distribution of standard deviation `scale`."""
  return nnx.Param(scale * jax.random.normal(key, shape, jnp.float32), axes=axes)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def linear(
  x: jax.Array, kernel: jax.Array, contracted: int = 1, products: jax.typing.DTypeLike | None = None
) -> jax.Array:
  """Returns the product of the last `contracted` axes of x with the first ones of kernel.

      [B, L, D] x [D, N, H], contracted=1 -> [B, L, N, H]
      [B, L, N, H] x [N, H, D], contracted=2 -> [B, L, D]

  The result has the dtype of `x`; operands are cast to `products`, in the backward pass too. The
  gradient of the kernel is computed as x^T dy instead of its transpose, which is faster on CPUs.
  It is summed in float32 and reduce-scattered to the devices that hold the kernel.
  """
  whole = sharding.gathered(kernel.astype(products or x.dtype))
  split = sharding.layout_of(x)[: x.ndim - contracted] + sharding.layout_of(whole)[contracted:]
  axes = tuple(range(x.ndim - contracted, x.ndim)), tuple(range(contracted))
  return checkpoint_name(_dot(x, whole, axes, split), PROJECTION)


def _dot(
  x: jax.Array,
  kernel: jax.Array,
  axes: tuple[tuple[int, ...], tuple[int, ...]],
  split: tuple[sharding.Split, ...],
) -> jax.Array:
  """Returns a product in the dtype of `x`, its operands in that of `kernel`."""
  # If only the contracted axes are sharded (over `tensor`), `out_sharding` asks for the all-reduce.
  sharded = any(sharding.layout_of(x) + sharding.layout_of(kernel))
  out_sharding = PartitionSpec(*split) if sharded else None
  operand = x.astype(kernel.dtype)
  return lax.dot_general(
    operand, kernel, (axes, ((), ())), preferred_element_type=x.dtype, out_sharding=out_sharding
  )


def _linear_forward(
  x: jax.Array, kernel: jax.Array, contracted: int, products: jax.typing.DTypeLike | None
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  return linear(x, kernel, contracted, products), (x, kernel)


def _linear_backward(
  contracted: int,
  products: jax.typing.DTypeLike | None,
  saved: tuple[jax.Array, jax.Array],
  dy: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  x, kernel = saved
  dtype = products or x.dtype
  free = tuple(range(x.ndim - contracted))
  split = sharding.layout_of(kernel)
  summed = [name for axis in free for name in sharding.names(sharding.layout_of(x)[axis])]

  def part(x, dy):
    product = lax.dot_general(x, dy, ((free, free), ((), ())), preferred_element_type=jnp.float32)
    return sharding.sum_to(product, split, summed)

  specs = tuple(PartitionSpec(*sharding.layout_of(array)) for array in (x, dy))
  d_kernel = sharding.mapped(part, specs, PartitionSpec(*split))(x.astype(dtype), dy.astype(dtype))
  whole = sharding.gathered(kernel.astype(dtype))
  axes = tuple(range(len(free), dy.ndim)), tuple(range(contracted, kernel.ndim))
  return _dot(dy, whole, axes, sharding.layout_of(x)), d_kernel.astype(kernel.dtype)


linear.defvjp(_linear_forward, _linear_backward)


def rms_norm(x: jax.Array, scale: jax.Array, eps: float) -> jax.Array:
  """Returns x / rms(x) * scale over the last axis, computed in float32 (arXiv:1910.07467)."""
  x32 = x.astype(jnp.float32)
  mean_square = jnp.mean(x32 * x32, axis=-1, keepdims=True)
  return (x32 * lax.rsqrt(mean_square + eps) * scale).astype(x.dtype)


class RMSNorm(nnx.Module):
  """Root-mean-square norm with a learned scale; with `offset`, as in Gemma, the parameter is the
  scale minus one."""

  def __init__(self, width: int, eps: float, offset: bool):
    self.scale = nnx.Param(jnp.zeros(width) if offset else jnp.ones(width), axes=("norm",))
    self.eps = eps
    self.offset = offset

  def __call__(self, x: jax.Array) -> jax.Array:
    return rms_norm(x, self.scale[...] + 1 if self.offset else self.scale[...], self.eps)


def gelu(x: jax.Array) -> jax.Array:
  """Returns the exact GELU. jax.nn.gelu computes it by erfc, at twice the time on a CPU."""
  return 0.5 * x * (1 + lax.erf(x * 2**-0.5))


def layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array, eps: float) -> jax.Array:
  """Returns (x - mean) / deviation * scale + bias over the last axis, computed in float32
  (arXiv:1607.06450)."""
  x32 = x.astype(jnp.float32)
  centered = x32 - jnp.mean(x32, axis=-1, keepdims=True)
  variance = jnp.mean(centered * centered, axis=-1, keepdims=True)
  return (centered * lax.rsqrt(variance + eps) * scale + bias).astype(x.dtype)


def direction(x: jax.Array) -> jax.Array:
  """Returns vectors of length 1 along the last axis, in float32; 0 for a vector of zeros."""
  x32 = x.astype(jnp.float32)
  squares = jnp.sum(x32 * x32, axis=-1, keepdims=True)
  return x32 * lax.rsqrt(jnp.maximum(squares, 1e-16))


class LayerNorm(nnx.Module):
  """Layer norm with a learned scale and bias."""

  def __init__(self, width: int, eps: float):
    self.scale = nnx.Param(jnp.ones(width), axes=("norm",))
    self.bias = nnx.Param(jnp.zeros(width), axes=("norm",))
    self.eps = eps

  def __call__(self, x: jax.Array) -> jax.Array:
    return layer_norm(x, self.scale[...], self.bias[...], self.eps)


class Dense(nnx.Module):
  """A product with a kernel [into..., out...] and, with `biased`, a bias [out...].

  `axes` are the logical axes of the kernel, of which `into` are contracted with the input.
  """

  def __init__(
    self,
    into: tuple[int, ...],
    out: tuple[int, ...],
    axes: tuple[str | None, ...],
    key: jax.Array,
    biased: bool = True,
  ):
    self.kernel = normal(key, (*into, *out), math.prod(into) ** -0.5, axes)
    if biased:
      out_axes = tuple("norm" if axis == "embed" else axis for axis in axes[len(into) :])
      self.bias = nnx.Param(jnp.zeros(out), axes=out_axes)
    self.contracted = len(into)
    self.biased = biased

  def __call__(self, x: jax.Array, products: jax.typing.DTypeLike | None = None) -> jax.Array:
    y = linear(x, self.kernel[...], self.contracted, products)
    return y + self.bias[...].astype(y.dtype) if self.biased else y


class Convolution(nnx.Module):
  """A convolution over time in `groups` groups of channels: [B, T, C] -> [B, U, D].

  U = (T + padding - taps) // stride + 1. It is computed in the dtype of its input: on CPUs XLA's
  float32 convolution takes 0.6 of the time of a product of concatenated frames.
  """

  def __init__(
    self,
    channels: int,
    width: int,
    taps: int,
    key: jax.Array,
    *,
    stride: int = 1,
    groups: int = 1,
    biased: bool = True,
  ):
    shape = taps, channels // groups, width
    self.kernel = normal(key, shape, (taps * shape[1]) ** -0.5, (None, None, "embed"))
    if biased:
      self.bias = nnx.Param(jnp.zeros(width), axes=("norm",))
    self.stride, self.groups, self.biased = stride, groups, biased

  def __call__(self, x_BTC: jax.Array, padding: tuple[int, int] = (0, 0)) -> jax.Array:
    """Returns y_BUD; `padding` frames of zeros go before and after the input."""
    y_BUD = lax.conv_general_dilated(
      x_BTC, self.kernel[...].astype(x_BTC.dtype), (self.stride,), [padding],
      dimension_numbers=("NWC", "WIO", "NWC"), feature_group_count=self.groups,
    )  # fmt: skip
    return y_BUD + self.bias[...].astype(y_BUD.dtype) if self.biased else y_BUD


class Embedding(nnx.Module):
  """One table [V, D] for all columns, each a contiguous slice of it: of embeddings (`embedded`), or
  of a head."""

  def __init__(self, rows: int, width: int, key: jax.Array):
    self.table = normal(key, (rows, width), width**-0.5, ("vocab", "embed"))


def embedded(
  table_VD: jax.Array, tokens_BLK: jax.Array, starts: tuple[int, ...], dtype: jax.typing.DTypeLike
) -> jax.Array:
  """Returns [B, L, K, D]: the rows of cells in a table whose columns begin at `starts`; zero for a
  hole (-1)."""
  ids_BLK = jnp.maximum(tokens_BLK, 0) + jnp.asarray(starts, tokens_BLK.dtype)
  with jax.named_scope("embedding"):
    cells_BLKD = looked_up(table_VD, ids_BLK, jnp.dtype(dtype))
  return jnp.where(tokens_BLK[..., None] >= 0, cells_BLKD, 0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def looked_up(table_VD: jax.Array, ids_BLK: jax.Array, dtype: jnp.dtype) -> jax.Array:
  """Returns the table rows of ids, [B, L, K, D] in `dtype`; gradients are summed in float32.

  No device holds the whole table or its gradient. Where D is sharded, each device looks up its part
  of D for the cells of all devices, and an all-to-all exchanges the parts: rows of a few thousand
  cells instead of the whole vocabulary. Where V is sharded, a psum adds them up.
  """
  return _look_up(table_VD, ids_BLK, dtype)


def _look_up(table_VD: jax.Array, ids_BLK: jax.Array, dtype: jnp.dtype) -> jax.Array:
  vocab, embed, cells, specs = _lookup_axes(table_VD, ids_BLK)

  def local(table_vd, ids_blk):
    local_ids = _gathered_ids(ids_blk, embed) - _first_row(len(table_vd), vocab)
    is_local = (local_ids >= 0) & (local_ids < len(table_vd))
    table_rows = table_vd[jnp.where(is_local, local_ids, 0)].astype(dtype)
    cells = jnp.where(is_local[..., None], table_rows, 0)
    cells = lax.psum(cells, vocab) if vocab else cells
    if not embed:
      return cells
    return lax.all_to_all(cells, embed, split_axis=0, concat_axis=3, tiled=True)

  return sharding.mapped(local, specs, cells)(table_VD, ids_BLK)


def _looked_up_forward(
  table_VD: jax.Array, ids_BLK: jax.Array, dtype: jnp.dtype
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  return _look_up(table_VD, ids_BLK, dtype), (table_VD, ids_BLK)


def _looked_up_backward(
  dtype: jnp.dtype, saved: tuple[jax.Array, jax.Array], d_cells_BLKD: jax.Array
) -> tuple[jax.Array, None]:
  table_VD, ids_BLK = saved
  vocab, embed, cells, specs = _lookup_axes(table_VD, ids_BLK)
  split = sharding.layout_of(ids_BLK)
  summed = [name for entry in split for name in sharding.names(entry) if name not in embed]

  def local(table_vd, ids_blk, d_cells_blkD):
    d_cells = d_cells_blkD
    if embed:
      d_cells = lax.all_to_all(d_cells, embed, split_axis=3, concat_axis=0, tiled=True)
    ids = _gathered_ids(ids_blk, embed) - _first_row(len(table_vd), vocab)
    ids = jnp.where((ids >= 0) & (ids < len(table_vd)), ids, len(table_vd))  # others are dropped
    d_table = jnp.zeros(table_vd.shape, jnp.float32)
    d_table = d_table.at[ids].add(d_cells.astype(jnp.float32), mode="drop")
    return lax.psum(d_table, tuple(summed)) if summed else d_table

  d_table_VD = sharding.mapped(local, (*specs, cells), specs[0])(table_VD, ids_BLK, d_cells_BLKD)
  return d_table_VD, None


looked_up.defvjp(_looked_up_forward, _looked_up_backward)


def _lookup_axes(
  table_VD: jax.Array, ids_BLK: jax.Array
) -> tuple[tuple[str, ...], tuple[str, ...], PartitionSpec, tuple[PartitionSpec, PartitionSpec]]:
  """Returns the mesh axes that shard V and D, and the specs of the cells and of (table, ids)."""
  vocab, embed = map(sharding.names, sharding.layout_of(table_VD))
  split = sharding.layout_of(ids_BLK)
  specs = PartitionSpec(*sharding.layout_of(table_VD)), PartitionSpec(*split)
  return vocab, embed, PartitionSpec(*split, None), specs


def _gathered_ids(ids_blk: jax.Array, embed: tuple[str, ...]) -> jax.Array:
  """Returns the ids of all devices that hold other parts of D, [devices * B, L, K]."""
  return lax.all_gather(ids_blk, embed, axis=0, tiled=True) if embed else ids_blk


def _first_row(rows: int, vocab: tuple[str, ...]) -> int | jax.Array:
  return lax.axis_index(vocab) * rows if vocab else 0


def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
  """Returns x with each value zeroed with probability `rate` and the rest scaled up; x without a
  key."""
  if key is None or not rate:
    return x
  # 16 random bits per value: half the work of a float, and a rate exact to 1e-5.
  bits = jax.random.bits(key, x.shape, jnp.uint16, out_sharding=sharding.placed_like(x))
  return jnp.where(bits >= round(rate * 2**16), x / (1 - rate), 0).astype(x.dtype)
