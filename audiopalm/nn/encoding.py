"""The layers of speech encoders: transformer blocks with biases, and Conformer blocks.

Every frame of a clip sees every other, and none sees padding. Source: Conformer, arXiv:2005.08100.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec

from audiopalm import sharding
from audiopalm.errors import ConfigError
from audiopalm.nn import attention, distances, layers, masks, mixing, rotary

ACTIVATIONS = {"gelu": layers.gelu, "silu": jax.nn.silu}


@dataclasses.dataclass(frozen=True)
class EncoderBlockSettings:
  """Sizes and options of the blocks of an encoder.

  `order`: "post" norms after each residual sum, "pre" before each branch, "conformer" has half a
  feed-forward branch on either side of attention and a convolution of `conv_width` frames.
  """

  layers: int
  width: int
  heads: int
  hidden: int
  order: Literal["post", "pre", "conformer"]
  activation: Literal["gelu", "silu"]
  key_bias: bool
  norm_eps: float
  distances: distances.Buckets | distances.Clipped | distances.Rotary | None
  conv_width: int

  @property
  def head_width(self) -> int:
    return self.width // self.heads


@dataclasses.dataclass(frozen=True, eq=False)
class Surroundings:
  """What all layers of a pass share: the frames that belong to clips, the dtype of products (as in
  `nn.layers`), the attention backend, and the bias of `distances.Buckets`, else None."""

  valid_BL: jax.Array
  products: jax.typing.DTypeLike | None = None
  backend: str = "xla"
  bias_1NLJ: jax.Array | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Dropout:
  """Zeroes values of the branches of one layer with probability `rate`; none without a key."""

  rate: float = 0.0
  key: jax.Array | None = None

  def __call__(self, x_BLD: jax.Array, branch: int) -> jax.Array:
    key = None if self.key is None else jax.random.fold_in(self.key, branch)
    return layers.dropout(x_BLD, self.rate, key)


NONE = Dropout()


class EncoderAttention(nnx.Module):
  """Self-attention with biases, and what the settings add to its scores by distance."""

  def __init__(self, settings: EncoderBlockSettings, key: jax.Array):
    s = settings
    keys = jax.random.split(key, 5)
    into, heads = (s.width,), (s.heads, s.head_width)
    axes = ("embed", "heads", "head_width")
    self.query = layers.Dense(into, heads, axes, keys[0])
    self.key = layers.Dense(into, heads, axes, keys[1], s.key_bias)
    self.value = layers.Dense(into, heads, axes, keys[2])
    self.out = layers.Dense(heads, into, ("heads", "head_width", "embed"), keys[3])
    if isinstance(s.distances, distances.Buckets):
      self.buckets = distances.GatedBuckets(s.heads, s.head_width, keys[4])
    if isinstance(s.distances, distances.Clipped):
      rows = s.distances.before + 1 + s.distances.after
      self.distance_keys = layers.normal(
        keys[4], (rows, s.head_width), s.head_width**-0.5, (None, "head_width")
      )
    self.settings = s

  def __call__(self, x_BLD: jax.Array, around: Surroundings) -> jax.Array:
    """Returns attended_BLD."""
    s, products = self.settings, around.products
    query = self.query(x_BLD, products) * s.head_width**-0.5
    key, value = self.key(x_BLD, products), self.value(x_BLD, products)
    if isinstance(s.distances, distances.Rotary):
      positions_1L = jnp.arange(x_BLD.shape[1])[None]
      frequencies = rotary.frequencies(s.head_width, s.distances.base)
      rotation = rotary.angles(positions_1L, frequencies)
      query, key = rotary.rotate(query, rotation), rotary.rotate(key, rotation)
    if around.backend != "xla":
      return self.out(self._fused(query, key, value, around), products)
    split = sharding.layout_of(query)
    clips, heads = PartitionSpec(split[0]), PartitionSpec(split[0], None, split[2])
    arrays = {"query_BLNH": query, "key_BJNH": key, "value_BJNH": value}
    specs = dict.fromkeys(arrays, heads)
    arrays["seen_BJ"], specs["seen_BJ"] = around.valid_BL, clips
    match s.distances:
      case distances.Buckets():
        # The bias has no batch, so that the clips of a batch share one.
        arrays["per_row"] = self.buckets(x_BLD), around.bias_1NLJ
        specs["per_row"] = PartitionSpec(split[0], split[2]), PartitionSpec(None, split[2])
      case distances.Clipped():
        arrays["table_EH"], specs["table_EH"] = self.distance_keys[...], PartitionSpec()
    mixed = sharding.mapped(self._mixed_on(products), (specs,), heads)(arrays)
    return self.out(mixed, products)

  def _mixed_on(
    self, products: jax.typing.DTypeLike | None
  ) -> Callable[[dict[str, jax.Array]], jax.Array]:
    """Returns the function that mixes the clips and heads of one device."""
    s = self.settings

    def gated(query_BNRH, part, start):
      gates_BNR1, bias_1NRJ = part
      return gates_BNR1 * bias_1NRJ

    def mixed(arrays):
      bias = gated if "per_row" in arrays else None
      if "table_EH" in arrays:
        table_EH, keys = arrays["table_EH"], arrays["seen_BJ"].shape[1]

        def bias(query_BNRH, part, start):
          return distances.clipped_bias(query_BNRH, table_EH, s.distances, start, keys)

      others = {name: array for name, array in arrays.items() if name != "table_EH"}
      return mixing.biased(**others, bias=bias, products=products)

    return mixed

  def _fused(
    self, query: jax.Array, key: jax.Array, value: jax.Array, around: Surroundings
  ) -> jax.Array:
    """Returns mixed_BLNH by a backend that has no biases."""
    distance = self.settings.distances
    if isinstance(distance, distances.Buckets | distances.Clipped):
      raise ConfigError(
        f"The attention backend {around.backend!r} adds no biases to scores, but the encoder has "
        f"those of {type(distance).__name__}. Choose attention='xla' for this model."
      )
    segments_BL = around.valid_BL.astype(jnp.int32)
    positions_BL = jnp.arange(query.shape[1], dtype=jnp.int32) + jnp.zeros_like(segments_BL)
    rows = masks.Rows(segments_BL, positions_BL, segments_BL)
    mix = attention.mixer(around.backend, rows, ahead=True, products=around.products)
    return mix(query, key, value, 0)


class FeedForward(nnx.Module):
  """Returns down(activation(up(x)))."""

  def __init__(self, settings: EncoderBlockSettings, key: jax.Array):
    s = settings
    up, down = jax.random.split(key)
    self.up = layers.Dense((s.width,), (s.hidden,), ("embed", "hidden"), up)
    self.down = layers.Dense((s.hidden,), (s.width,), ("hidden", "embed"), down)
    self.activation = s.activation

  def __call__(self, x_BLD: jax.Array, products: jax.typing.DTypeLike | None) -> jax.Array:
    return self.down(ACTIVATIONS[self.activation](self.up(x_BLD, products)), products)


class EncoderBlock(nnx.Module):
  """Attention and a feed-forward branch, each added to its input; norms before or after them."""

  def __init__(self, settings: EncoderBlockSettings, key: jax.Array):
    first, second = jax.random.split(key)
    self.attention_norm = layers.LayerNorm(settings.width, settings.norm_eps)
    self.attention = EncoderAttention(settings, first)
    self.feed_forward_norm = layers.LayerNorm(settings.width, settings.norm_eps)
    self.feed_forward = FeedForward(settings, second)
    self.settings = settings

  def __call__(self, x_BLD: jax.Array, around: Surroundings, drop: Dropout = NONE) -> jax.Array:
    products = around.products
    if self.settings.order == "post":
      x_BLD = self.attention_norm(x_BLD + drop(self.attention(x_BLD, around), 0))
      return self.feed_forward_norm(x_BLD + drop(self.feed_forward(x_BLD, products), 1))
    x_BLD = x_BLD + drop(self.attention(self.attention_norm(x_BLD), around), 0)
    return x_BLD + drop(self.feed_forward(self.feed_forward_norm(x_BLD), products), 1)


class ConvolutionBranch(nnx.Module):
  """A gated projection, a causal convolution of each channel, and a projection back.

  Frame t sees `conv_width` frames up to t. Source: w2v-BERT 2.0, arXiv:2312.05187.
  """

  def __init__(self, settings: EncoderBlockSettings, key: jax.Array):
    s = settings
    keys = jax.random.split(key, 3)
    square = (s.width,), ("embed", "hidden")
    self.norm = layers.LayerNorm(s.width, s.norm_eps)
    axes = ("embed", None, "hidden")
    self.into = layers.Dense(square[0], (2, s.width), axes, keys[0], biased=False)
    self.depthwise = layers.normal(
      keys[1], (s.conv_width, s.width), s.conv_width**-0.5, (None, "hidden")
    )
    self.depthwise_norm = layers.LayerNorm(s.width, s.norm_eps)
    self.out = layers.Dense(square[0], (s.width,), ("hidden", "embed"), keys[2], biased=False)
    self.activation = s.activation

  def __call__(self, x_BLD: jax.Array, products: jax.typing.DTypeLike | None) -> jax.Array:
    length = x_BLD.shape[1]
    both_BL2D = self.into(self.norm(x_BLD), products)
    gated_BLD = both_BL2D[:, :, 0] * jax.nn.sigmoid(both_BL2D[:, :, 1])
    kernel_KD = self.depthwise[...].astype(gated_BLD.dtype)
    padded_BLD = jnp.pad(gated_BLD, ((0, 0), (len(kernel_KD) - 1, 0), (0, 0)))
    mixed_BLD = sum(
      padded_BLD[:, tap : tap + length] * kernel_KD[tap] for tap in range(len(kernel_KD))
    )
    active_BLD = ACTIVATIONS[self.activation](self.depthwise_norm(mixed_BLD))
    return self.out(active_BLD, products)


class ConformerBlock(nnx.Module):
  """Half a feed-forward branch, attention, a convolution, half a feed-forward branch, a norm."""

  def __init__(self, settings: EncoderBlockSettings, key: jax.Array):
    keys = jax.random.split(key, 4)

    def norm():
      return layers.LayerNorm(settings.width, settings.norm_eps)

    self.first_norm, self.first = norm(), FeedForward(settings, keys[0])
    self.attention_norm, self.attention = norm(), EncoderAttention(settings, keys[1])
    self.convolution = ConvolutionBranch(settings, keys[2])
    self.second_norm, self.second = norm(), FeedForward(settings, keys[3])
    self.norm = norm()

  def __call__(self, x_BLD: jax.Array, around: Surroundings, drop: Dropout = NONE) -> jax.Array:
    products = around.products
    x_BLD = x_BLD + drop(0.5 * self.first(self.first_norm(x_BLD), products), 0)
    x_BLD = x_BLD + drop(self.attention(self.attention_norm(x_BLD), around), 1)
    x_BLD = x_BLD + drop(self.convolution(x_BLD, products), 2)
    x_BLD = x_BLD + drop(0.5 * self.second(self.second_norm(x_BLD), products), 3)
    return self.norm(x_BLD)


def block_class(settings: EncoderBlockSettings) -> type[nnx.Module]:
  """Returns the class of the blocks, as `transformer.stack` and `run` take it."""
  return ConformerBlock if settings.order == "conformer" else EncoderBlock
