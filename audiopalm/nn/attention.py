"""Attention with grouped queries: how values are mixed, over all rows or over a cache.

`mixer` asks for a backend (`nn.mixing`, `nn.kernels`) by the name in `settings.Machine.attention`
and places what goes in and out on the mesh; `over_cache` is for one row after another.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import PartitionSpec

from audiopalm import sharding
from audiopalm.errors import ConfigError
from audiopalm.nn import kernels, layers, masks, mixing

BACKENDS = {"xla": mixing.xla, "splash": kernels.splash, "cudnn": kernels.cudnn}
PLATFORMS = {"splash": "tpu", "cudnn": "gpu"}


def check(name: str, platform: str | None = None) -> None:
  """Raises ConfigError unless there is a backend of that name, for devices of that platform."""
  if name not in BACKENDS:
    raise ConfigError(
      f"Unknown attention backend {name!r}. Available: {', '.join(sorted(BACKENDS))}."
    )
  needed = PLATFORMS.get(name, platform)
  if platform is not None and needed != platform:
    raise ConfigError(
      f"The attention backend {name!r} runs on a {needed}, but the devices are {platform}s. Choose "
      "a machine for these devices, or attention='xla', which runs on all."
    )


def mixer(
  name: str,
  rows: masks.Rows,
  *,
  softcap: float | None = None,
  ahead: bool = False,
  products: jax.typing.DTypeLike | None = None,
) -> Callable[..., jax.Array]:
  """Returns mix(query_BLNH, key_BLGH, value_BLGH, window) -> mixed_BLNH, by a backend.

  Queries come already scaled. `ahead` says whether a row may see later ones; a `window` of 0 is no
  limit; `products` is as in `layers.linear`. On a mesh every device mixes its own rows and heads;
  keys and values, which grouped queries have few of, are gathered from the devices that hold other
  parts of the rows.
  """
  check(name)
  local = functools.partial(BACKENDS[name], softcap=softcap, ahead=ahead, products=products)

  def mix(query, key, value, window):
    if jax.sharding.get_abstract_mesh().size <= 1:
      mixed = local(query, key, value, rows, rows, window)
    else:
      mixed = _on_mesh(local, query, key, value, rows, window)
    return checkpoint_name(mixed, layers.MIXED)

  return mix


def _on_mesh(
  local: Callable[..., jax.Array],
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  rows: masks.Rows,
  window: int | jax.Array,
) -> jax.Array:
  batch, row, heads, _ = sharding.layout_of(query)
  groups = sharding.layout_of(key)[2]
  if heads != groups and key.shape[2] > 1:
    # Fewer key heads than devices: each device takes the copies that its queries ask for.
    copies = query.shape[2] // key.shape[2]
    key, value = (jnp.repeat(array, copies, axis=2) for array in (key, value))
    groups = heads
  whole = PartitionSpec(batch, None, groups, None)
  key, value = (jax.sharding.reshard(array, whole) for array in (key, value))
  others = jax.tree.map(lambda array: jax.sharding.reshard(array, PartitionSpec(batch, None)), rows)
  split = PartitionSpec(batch, row, heads, None)
  arrays = (query, key, value, rows, others)
  specs = (split, whole, whole, PartitionSpec(batch, row), PartitionSpec(batch, None))
  local = functools.partial(local, row_axis=row)
  if isinstance(window, int):
    local = functools.partial(local, window=window)
  else:  # of this layer, from a scan
    arrays, specs = (*arrays, window), (*specs, PartitionSpec())
  # Kernels of Pallas do not say what varies over the mesh: check_vma would refuse them.
  mapped = jax.shard_map(local, in_specs=specs, out_specs=split, check_vma=False)
  return mapped(*arrays)


def over_cache(
  query_BLNH: jax.Array,
  key_BGJH: jax.Array,
  value_BGJH: jax.Array,
  mask_BLJ: jax.Array,
  softcap: float | None = None,
) -> jax.Array:
  """Returns mixed_BLNH over the slots of a cache, into which the new rows are written already. It
  has heads before slots, so products need no transpose, and the dtype of products."""
  query_BGRLH = jnp.moveaxis(mixing.grouped(query_BLNH, key_BGJH.shape[1]), 1, 3)
  scores_BGRLJ = jnp.einsum(
    "BGRLH,BGJH->BGRLJ", query_BGRLH.astype(key_BGJH.dtype), key_BGJH,
    preferred_element_type=jnp.float32,
  )  # fmt: skip
  weights_BGRLJ = jax.nn.softmax(mixing.masked(scores_BGRLJ, mask_BLJ, softcap), axis=-1)
  mixed_BGRLH = jnp.einsum(
    "BGRLJ,BGJH->BGRLH", weights_BGRLJ.astype(value_BGJH.dtype), value_BGJH,
    preferred_element_type=query_BLNH.dtype,
  )  # fmt: skip
  return jnp.moveaxis(mixed_BGRLH, 3, 1).reshape(query_BLNH.shape)
