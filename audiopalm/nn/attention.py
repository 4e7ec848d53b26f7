"""Attention with grouped queries: the module that owns the projections, and what mixes values.

A backend is `mix(query_BLNH, key_BJGH, value_BJGH, mask_BLJ, softcap, ahead) -> mixed_BLNH`, asked
for by name in `settings.Machine.attention`. Queries come already scaled. `ahead` says whether the
mask may let a row see later ones.
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from audiopalm import sharding
from audiopalm.errors import ConfigError
from audiopalm.nn import layers, rotary

MOST_BLOCKS = 4
SMALLEST_BLOCK = 64
UNSEEN = -1e30  # finite: a row that sees nothing (padding) must not become NaN


def xla(query_BLNH, key_BJGH, value_BJGH, mask_BLJ, softcap: float | None, ahead: bool):
  """Returns softmax(q k) v, computed by plain XLA operations with a float32 softmax.

  The backward pass computes the weights again: none are kept. Without `ahead` no row sees a later
  one: queries then go in blocks that meet only the keys up to their end, which saves up to 7/16 of
  the work. Sources: grouped queries, arXiv:2305.13245; soft-cap, Gemma 2, arXiv:2408.00118,
  section 2.
  """
  key_BJGH, value_BJGH = _shared_out(key_BJGH, query_BLNH), _shared_out(value_BJGH, query_BLNH)
  rows = query_BLNH.shape[1]
  # Heads in front: each one's rows then lie together, and a CPU multiplies them faster.
  query_BGRLH = jnp.moveaxis(_grouped(query_BLNH, key_BJGH.shape[2]), 1, 3)
  key_BGJH, value_BGJH = jnp.swapaxes(key_BJGH, 1, 2), jnp.swapaxes(value_BJGH, 1, 2)
  mix = jax.checkpoint(functools.partial(_mixed, softcap=softcap))
  blocks = 1 if ahead else max(1, min(MOST_BLOCKS, rows // SMALLEST_BLOCK))
  mixed = []
  for block in range(blocks):
    start, end = rows * block // blocks, rows * (block + 1) // blocks
    seen = slice(rows if ahead else end)
    mask = mask_BLJ[:, start:end, seen]
    query = query_BGRLH[..., start:end, :]
    mixed.append(mix(query, key_BGJH[:, :, seen], value_BGJH[:, :, seen], mask))
  mixed_BLGRH = jnp.moveaxis(jnp.concatenate(mixed, axis=3), 3, 1)
  # A remat policy that keeps products keeps this one: the weights are not computed a third time.
  return checkpoint_name(mixed_BLGRH.reshape(query_BLNH.shape), layers.PROJECTION)


def _mixed(query_BGRLH, key_BGJH, value_BGJH, mask_BLJ, softcap):
  scores_BGRLJ = jnp.einsum(
    "BGRLH,BGJH->BGRLJ", query_BGRLH, key_BGJH, preferred_element_type=jnp.float32
  )
  weights_BGRLJ = _weights(scores_BGRLJ, mask_BLJ, softcap).astype(value_BGJH.dtype)
  return jnp.einsum("BGRLJ,BGJH->BGRLH", weights_BGRLJ, value_BGJH)


def _grouped(query_BLNH, groups: int):
  """Returns query_BLGRH: the R query heads of each key."""
  batch, rows, heads, width = query_BLNH.shape
  return query_BLNH.reshape(batch, rows, groups, heads // groups, width)


def _weights(scores_BGRLJ, mask_BLJ, softcap: float | None):
  if softcap is not None:
    scores_BGRLJ = softcap * jnp.tanh(scores_BGRLJ / softcap)
  return jax.nn.softmax(jnp.where(mask_BLJ[:, None, None], scores_BGRLJ, UNSEEN), axis=-1)


def _shared_out(key_BJGH, query_BLNH):
  """Returns the keys as they are, or copied to all N heads where queries are split over devices and
  keys cannot be."""
  split = sharding.layout_of(query_BLNH)[2]
  if split is None or split == sharding.layout_of(key_BJGH)[2]:
    return key_BJGH
  copies = query_BLNH.shape[2] // key_BJGH.shape[2]
  return sharding.constrain(jnp.repeat(key_BJGH, copies, axis=2), ("batch", None, "heads", None))


def over_cache(query_BLNH, keys, values, mask_BLJ, softcap: float | None = None):
  """Returns mixed_BLNH over a cache [B, J, G, H] and the new rows [B, L, G, H] behind it, without
  joining the two.

  `keys` and `values` are pairs (cached, new); `mask_BLJ` covers both. Joining would copy the cache
  at every step.
  """
  query_BLGRH = _grouped(query_BLNH, keys[1].shape[2])
  product = functools.partial(jnp.einsum, "BLGRH,BJGH->BGRLJ", preferred_element_type=jnp.float32)
  scores = jnp.concatenate([product(query_BLGRH, key) for key in keys], axis=-1)
  weights = _weights(scores, mask_BLJ, softcap).astype(query_BLNH.dtype)
  cached = values[0].shape[1]
  mixed_BLGRH = jnp.einsum("BGRLJ,BJGH->BLGRH", weights[..., :cached], values[0])
  mixed_BLGRH += jnp.einsum("BGRLJ,BJGH->BLGRH", weights[..., cached:], values[1])
  return mixed_BLGRH.reshape(query_BLNH.shape)


BACKENDS = {"xla": xla}


def backend(name: str):
  """Returns the backend of that name; a ConfigError that lists them if there is none."""
  if name not in BACKENDS:
    raise ConfigError(
      f"Unknown attention backend {name!r}. Available: {', '.join(sorted(BACKENDS))}."
    )
  return BACKENDS[name]


class Attention(nnx.Module):
  """Projections to queries, keys and values, their norms and rotation, and the projection back.

  What happens between is the caller's: `mix(query_BLNH, key_BLGH, value_BLGH) -> mixed_BLNH` may
  read a mask or a cache. `settings` is a `models.decoder.Decoder`.
  """

  def __init__(self, settings, key):
    s = settings
    keys = jax.random.split(key, 4)
    wide, narrow = (s.width, s.heads, s.head_width), (s.width, s.kv_heads, s.head_width)
    into = s.width**-0.5
    back = (
      s.heads * s.head_width * 2 * s.layers
    ) ** -0.5  # GPT-2: residual branches shrink with depth
    self.query = layers.normal(keys[0], wide, into, ("embed", "heads", "head_width"))
    self.key = layers.normal(keys[1], narrow, into, ("embed", "kv_heads", "head_width"))
    self.value = layers.normal(keys[2], narrow, into, ("embed", "kv_heads", "head_width"))
    self.out = layers.normal(keys[3], (*wide[1:], s.width), back, ("heads", "head_width", "embed"))
    if s.qkv_bias:
      self.query_bias = nnx.Param(jnp.zeros(wide[1:]), axes=("heads", "head_width"))
      self.key_bias = nnx.Param(jnp.zeros(narrow[1:]), axes=("kv_heads", "head_width"))
      self.value_bias = nnx.Param(jnp.zeros(narrow[1:]), axes=("kv_heads", "head_width"))
    if s.qk_norm:
      self.query_norm = layers.RMSNorm(s.head_width, s.norm_eps, s.norm_offset)
      self.key_norm = layers.RMSNorm(s.head_width, s.norm_eps, s.norm_offset)
    self.settings = s

  def __call__(self, x_BLD, rotation, mix):
    """Returns (attended_BLD, key_BLGH, value_BLGH); keys and values as a cache would keep them."""
    s = self.settings
    query = layers.linear(x_BLD, self.query[...])
    key = layers.linear(x_BLD, self.key[...])
    value = layers.linear(x_BLD, self.value[...])
    if s.qkv_bias:
      query = query + self.query_bias[...].astype(query.dtype)
      key = key + self.key_bias[...].astype(key.dtype)
      value = value + self.value_bias[...].astype(value.dtype)
    if s.qk_norm:
      query, key = self.query_norm(query), self.key_norm(key)
    scale = s.head_width**-0.5 if s.query_scale is None else s.query_scale
    query, key = rotary.rotate(query, rotation) * scale, rotary.rotate(key, rotation)
    return layers.linear(mix(query, key, value), self.out[...], 2), key, value
