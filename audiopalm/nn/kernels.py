"""The attention backends "splash" (TPU) and "cudnn" (NVIDIA GPU), which fuse attention.

Both are `mix` functions as in `nn.mixing` and handle packed segments exactly. The tests compare
them with "xla": splash interpreted on a CPU, cudnn where there is a GPU.
"""

import jax
from jax import lax
from jax.experimental.pallas.ops.tpu import splash_attention
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel

from audiopalm.errors import ConfigError
from audiopalm.nn import masks

LANES = 128  # a block has a multiple of this many rows
BLOCKS = (512, 256, LANES)  # rows of a block: the first that divides the length


def splash(
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
  """Returns softmax(q k) v by the Pallas kernel for TPUs, which skips blocks that are all masked.

  The rows of a segment are contiguous and in order, so a mask that is causal by index is causal by
  position.
  """
  if ahead:
    raise ConfigError(
      "The attention backend 'splash' is causal, but a layout has rows that see later ones "
      "(Given(..., both_ways=True)). Choose attention='xla' for this model."
    )
  if not isinstance(window, int):
    raise ConfigError(
      "The attention backend 'splash' needs one window for all layers, but Decoder.windows has "
      "several. Choose attention='xla' for this model."
    )
  length, heads = query_BLNH.shape[1:3]
  keys = key_BJGH.shape[1]
  causal = splash_attention.CausalMask((keys, keys))
  seen = splash_attention.LocalMask((keys, keys), (window - 1, 0), 0) if window else causal
  row_block, key_block = _block(length), _block(keys)
  kernel = splash_attention.make_splash_mha(
    splash_attention.MultiHeadMask([seen] * heads),
    block_sizes=splash_attention.BlockSizes(
      block_q=row_block, block_kv=key_block, block_kv_compute=key_block,
      block_q_dkv=row_block, block_kv_dkv=key_block, block_kv_dkv_compute=key_block,
      block_q_dq=row_block, block_kv_dq=key_block,
    ),
    attn_logits_soft_cap=softcap,
    head_shards=1,
    q_seq_shards=keys // length,
  )  # fmt: skip
  if row_axis is not None:
    kernel = _part(kernel, lax.axis_index(row_axis), keys // length)

  def mix_row(query_LNH, key_JGH, value_JGH, segments_L, segments_J):
    ids = splash_attention.SegmentIds(q=segments_L, kv=segments_J)
    operands = (a.astype(products or a.dtype) for a in (query_LNH, key_JGH, value_JGH))
    heads_first = (array.swapaxes(0, 1) for array in operands)
    return kernel(*heads_first, ids).swapaxes(0, 1)

  return jax.vmap(mix_row)(
    query_BLNH, key_BJGH, value_BJGH, rows.segments_BL, others.segments_BL
  ).astype(query_BLNH.dtype)


def _part(
  kernel: splash_attention_kernel.SplashAttentionKernel, number: jax.Array, parts: int
) -> splash_attention_kernel.SplashAttentionKernel:
  """Returns the kernel for part `number` of the rows: its slice of the mask's description."""
  axes = {"data_next": 1, "mask_next": 1, "block_mask": 1, "q_sequence": 0}

  def cut(info):
    if info is None:
      return None
    arrays = {name: getattr(info, name) for name in axes}
    for name, array in arrays.items():
      if array is not None:
        size = array.shape[axes[name]] // parts
        arrays[name] = lax.dynamic_slice_in_dim(array, number * size, size, axes[name])
    return info._replace(**arrays)

  infos, settings = kernel.tree_flatten()
  return type(kernel).tree_unflatten(settings, [cut(info) for info in infos])


def _block(rows: int) -> int:
  size = next((size for size in BLOCKS if rows % size == 0), None)
  if size is None:
    raise ConfigError(
      f"The attention backend 'splash' takes rows in multiples of {LANES}, but a device has "
      f"{rows}. Choose row_length / context as a multiple of {LANES}, or attention='xla'."
    )
  return size


def cudnn(
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
  """Returns softmax(q k) v by cuDNN's flash attention, in bfloat16 or float16, with one mask for
  all heads."""
  if softcap is not None:
    raise ConfigError(
      "The attention backend 'cudnn' has no soft-cap, but Decoder.attention_softcap is "
      f"{softcap}. Choose attention='xla' for this model."
    )
  dtype = jax.numpy.dtype(products or query_BLNH.dtype)
  if dtype.itemsize != 2:
    raise ConfigError(
      f"The attention backend 'cudnn' computes in bfloat16, not in {dtype}. Choose a "
      "machine with product_dtype='bfloat16', or attention='xla'."
    )
  mask_B1LJ = masks.seen(rows, others, window)[:, None]
  operands = (array.astype(dtype) for array in (query_BLNH, key_BJGH, value_BJGH))
  return jax.nn.dot_product_attention(
    *operands, mask=mask_B1LJ, scale=1.0, implementation="cudnn"
  ).astype(query_BLNH.dtype)
