"""The layers of published speech encoders: transformer blocks with biases, and Conformer blocks.

Every frame of a clip sees every other, and none sees padding. Source: Conformer, arXiv:2005.08100.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from audiopalm.nn import distances, layers, mixing

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
  distances: distances.Buckets | distances.Clipped | None
  conv_width: int

  @property
  def head_width(self) -> int:
    return self.width // self.heads


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

  def __call__(self, x_BLD, valid_BL, bias_1NLJ, products):
    """Returns attended_BLD; `bias_1NLJ` is that of `Buckets`, else None."""
    s = self.settings
    query = self.query(x_BLD, products) * s.head_width**-0.5
    key, value = self.key(x_BLD, products), self.value(x_BLD, products)
    bias = per_row = None
    match s.distances:
      case distances.Buckets():
        gates_BNL1 = self.buckets(x_BLD)
        # The bias has no batch, so that the clips of a batch share one.
        per_row = gates_BNL1, bias_1NLJ

        def bias(query_BNRH, part, start):
          gates_BNR1, bias_1NRJ = part
          return gates_BNR1 * bias_1NRJ
      case distances.Clipped():
        table = self.distance_keys[...]

        def bias(query_BNRH, part, start):
          return distances.clipped_bias(query_BNRH, table, s.distances, start, x_BLD.shape[1])

    mixed = mixing.biased(query, key, value, valid_BL, bias, per_row, products)
    return self.out(mixed, products)


class FeedForward(nnx.Module):
  """Returns down(activation(up(x)))."""

  def __init__(self, settings: EncoderBlockSettings, key: jax.Array):
    s = settings
    up, down = jax.random.split(key)
    self.up = layers.Dense((s.width,), (s.hidden,), ("embed", "hidden"), up)
    self.down = layers.Dense((s.hidden,), (s.width,), ("hidden", "embed"), down)
    self.activation = s.activation

  def __call__(self, x_BLD, products):
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

  def __call__(self, x_BLD, valid_BL, bias_1NLJ=None, products=None):
    if self.settings.order == "post":
      x_BLD = self.attention_norm(x_BLD + self.attention(x_BLD, valid_BL, bias_1NLJ, products))
      return self.feed_forward_norm(x_BLD + self.feed_forward(x_BLD, products))
    normed_BLD = self.attention_norm(x_BLD)
    x_BLD = x_BLD + self.attention(normed_BLD, valid_BL, bias_1NLJ, products)
    return x_BLD + self.feed_forward(self.feed_forward_norm(x_BLD), products)


class ConvolutionBranch(nnx.Module):
  """A gated projection, a causal convolution of each channel, and a projection back.

  Frame t sees `conv_width` frames up to t. Source: w2v-BERT 2.0, arXiv:2312.05187.
  """

  def __init__(self, settings: EncoderBlockSettings, key: jax.Array):
    s = settings
    keys = jax.random.split(key, 3)
    square = (s.width,), ("embed", "hidden")
    self.norm = layers.LayerNorm(s.width, s.norm_eps)
    self.into = layers.Dense(square[0], (2 * s.width,), square[1], keys[0], biased=False)
    self.depthwise = layers.normal(
      keys[1], (s.conv_width, s.width), s.conv_width**-0.5, (None, "hidden")
    )
    self.depthwise_norm = layers.LayerNorm(s.width, s.norm_eps)
    self.out = layers.Dense(square[0], (s.width,), ("hidden", "embed"), keys[2], biased=False)
    self.activation = s.activation

  def __call__(self, x_BLD, products):
    length = x_BLD.shape[1]
    values_BLD, gates_BLD = jnp.split(self.into(self.norm(x_BLD), products), 2, axis=-1)
    gated_BLD = values_BLD * jax.nn.sigmoid(gates_BLD)
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

  def __call__(self, x_BLD, valid_BL, bias_1NLJ=None, products=None):
    x_BLD = x_BLD + 0.5 * self.first(self.first_norm(x_BLD), products)
    x_BLD = x_BLD + self.attention(self.attention_norm(x_BLD), valid_BL, bias_1NLJ, products)
    x_BLD = x_BLD + self.convolution(x_BLD, products)
    x_BLD = x_BLD + 0.5 * self.second(self.second_norm(x_BLD), products)
    return self.norm(x_BLD)


def block_class(settings: EncoderBlockSettings) -> type[nnx.Module]:
  """Returns the class of the blocks, as `transformer.stack` and `run` take it."""
  return ConformerBlock if settings.order == "conformer" else EncoderBlock
