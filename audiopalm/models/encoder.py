"""Published speech encoders: wav2vec 2.0, HuBERT, WavLM, w2v-BERT 2.0 and Whisper's.

  front/convolutions/0/kernel, bias           [K, C, D], [D]    of `fronts.Waves`; with norms/0, ...
  front/first, second, positions                                of `fronts.LogMels`
  projection/norm, dense                      [C], [C, D]       of waves and filterbanks
  positions/convolution/kernel, bias          [K, D / groups, D], [D]
  buckets/table                               [E, N]
  layers/...                                                    nn/encoding.py
  norm/scale, bias                            [D]

models/pytorch/encoder_names.py says which tensor each of them is. Encoders are frozen: nothing here
has dropout, and arrays lie on one device.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from audiopalm.errors import ConfigError
from audiopalm.models import base
from audiopalm.nn import distances, encoding, fronts, layers, transformer


@dataclasses.dataclass(frozen=True)
class Encoder:
  """Settings of a published encoder.

  Frames of the front are normed (`projection_norm`) and projected to the width of the blocks, but
  for Whisper, whose front has that width. States with convolved `positions` and, with blocks of
  order "post", a norm go into the blocks; after those of order "pre" follows a norm.
  """

  front: fronts.FrontSettings
  block: encoding.EncoderBlockSettings
  projection_norm: bool
  positions: distances.ConvolutionSettings | None

  def __post_init__(self):
    base.check_sizes(self.block, "layers", "width", "heads", "hidden")
    if self.block.width % self.block.heads:
      raise ConfigError(
        f"An encoder's width is {self.block.width}, expected a multiple of its {self.block.heads} "
        "heads."
      )

  @property
  def projects(self) -> bool:
    return not isinstance(self.front, fronts.LogMels)

  @property
  def rate_hz(self) -> float:
    """States per second."""
    return fronts.RATE_HZ / self.front.hop_samples

  @property
  def title(self) -> str:
    return f"an encoder of {self.block.layers} layers, width {self.block.width}"

  def build(self) -> "StateModel":
    return StateModel(self, functools.partial(EncoderArrays, self))


class Projection(nnx.Module):
  """A norm, if there is one, and a product into the width of the blocks."""

  def __init__(self, settings: Encoder, key: jax.Array):
    width = settings.front.width
    if settings.projection_norm:
      self.norm = layers.LayerNorm(width, settings.block.norm_eps)
    self.dense = layers.Dense((width,), (settings.block.width,), (None, "embed"), key)

  def __call__(self, x_BTC: jax.Array, products) -> jax.Array:
    return self.dense(self.norm(x_BTC) if hasattr(self, "norm") else x_BTC, products)


class BucketTable(nnx.Module):
  """The bias of each bucket of distances and head, which all layers share."""

  def __init__(self, rows: int, heads: int, key: jax.Array):
    self.table = layers.normal(key, (rows, heads), 0.02, (None, "heads"))


class EncoderArrays(nnx.Module):
  """The arrays of an encoder and their logical axes."""

  def __init__(self, settings: Encoder, key: jax.Array):
    s = settings
    keys = jax.random.split(key, 5)
    match s.front:
      case fronts.Waves():
        self.front = fronts.WaveFront(s.front, keys[0])
      case fronts.LogMels():
        self.front = fronts.LogMelFront(s.front, keys[0])
    if s.projects:
      self.projection = Projection(s, keys[1])
    if s.positions is not None:
      self.positions = distances.ConvolvedPositions(s.positions, s.block.width, keys[2])
    if isinstance(s.block.distances, distances.Buckets):
      self.buckets = BucketTable(s.block.distances.count, s.block.heads, keys[3])
    if s.block.order != "conformer":
      self.norm = layers.LayerNorm(s.block.width, s.block.norm_eps)
    self.layers = transformer.stack(s.block, keys[4], encoding.block_class(s.block))


@dataclasses.dataclass(frozen=True, eq=False)
class StateModel(base.NetworkModel):
  """An encoder without its arrays: pure functions of parameters and padded clips.

  Clips are wave_BS at 16 kHz, of which the first `samples_B` samples are theirs. What follows them
  changes nothing: a padded clip has the states of the clip alone. The published classes see padding
  where they norm over groups; Whisper's pads every clip to its window, and so does this one.
  Layers are stacked, or a tuple as `transformer.unstacked` gives: a short clip takes less time so,
  as no layer is copied out of its stack.
  """

  def features(self, wave_BS: jax.Array, samples_B: jax.Array) -> jax.Array:
    """Returns what the publisher's preprocessor gives: wave_BS, mel_BTM or features_BTE."""
    return self.settings.front.features(wave_BS, samples_B)

  def frames(
    self,
    params: base.Params,
    features: jax.Array,
    samples_B: jax.Array,
    of_clip: fronts.Moments | None = None,
  ) -> jax.Array:
    """Returns frames_BTC of the front. `of_clip` is as in `fronts.WaveFront`."""
    match self.settings.front:
      case fronts.Filterbanks():
        return features
      case fronts.Waves():
        return self._network(params).front(features, samples_B, of_clip)
      case fronts.LogMels():
        return self._network(params).front(features)

  def first_moments(
    self, params: base.Params, wave_BS: jax.Array, samples_B: jax.Array
  ) -> fronts.Moments:
    """Returns the moments over time that a front with a group norm takes."""
    return self._network(params).front.first_moments(wave_BS, samples_B)

  def valid(self, frames: int, samples_B: jax.Array) -> jax.Array:
    """Returns valid_BT: which of so many frames belong to the clips."""
    return fronts.inside(frames, self.settings.front.frames(samples_B))

  def encode(
    self,
    params: base.Params,
    wave_BS: jax.Array,
    samples_B: jax.Array,
    layer: int,
    products: str | None = None,
  ) -> tuple[jax.Array, jax.Array]:
    """Returns (hidden_BTD, valid_BT): the states after `layer` layers, 0 in padding.

    Layer 0 is what goes into the first layer; the last one is normed, if the encoder ends in a
    norm, as `last_hidden_state` of transformers is. Later layers are not computed; `cut` leaves out
    their arrays. `products` is as in `nn.layers`.
    """
    frames_BTC = self.frames(params, self.features(wave_BS, samples_B), samples_B)
    valid_BT = self.valid(frames_BTC.shape[1], samples_B)
    return self.states(params, frames_BTC, valid_BT, layer, products), valid_BT

  def all_states(
    self, params: base.Params, wave_BS: jax.Array, samples_B: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """Returns (hidden_LBTD of layers 0 to the last, valid_BT)."""
    frames_BTC = self.frames(params, self.features(wave_BS, samples_B), samples_B)
    valid_BT = self.valid(frames_BTC.shape[1], samples_B)
    last = self.settings.block.layers
    hidden_BTD, inputs = self._run(params, frames_BTC, valid_BT, last, None, keep=True)
    return jnp.stack([*inputs, hidden_BTD]), valid_BT

  def states(
    self,
    params: base.Params,
    frames_BTC: jax.Array,
    valid_BT: jax.Array,
    layer: int,
    products: str | None = None,
  ) -> jax.Array:
    """Returns hidden_BTD after `layer` layers, 0 in padding, of frames of the front."""
    return self._run(params, frames_BTC, valid_BT, layer, products, keep=False)[0]

  def _network(self, params: base.Params) -> nnx.Module:
    """Returns the module with the arrays outside of layers, which run from their own arrays."""
    return self.module({**params, "layers": self.arrays["layers"]})

  def _run(self, params, frames_BTC, valid_BT, layer, products, keep: bool):
    """Returns (hidden_BTD, the input of each layer if they are kept)."""
    s, order = self.settings, self.settings.block.order
    check_layer(s, layer)
    inside_BT1 = valid_BT[..., None]
    network = self._network(params)
    x_BTD = network.projection(frames_BTC, products) if s.projects else frames_BTC
    if s.positions is not None:
      x_BTD = jnp.where(inside_BT1, x_BTD, 0)
      x_BTD = x_BTD + network.positions(x_BTD)
    if order == "post":
      x_BTD = network.norm(x_BTD)
    # Whisper's frames of silence belong to the window that it attends to.
    seen_BT = jnp.ones_like(valid_BT) if isinstance(s.front, fronts.LogMels) else valid_BT
    bias = None
    if isinstance(s.block.distances, distances.Buckets):
      table_EN = network.buckets.table[...]
      bias = distances.bucket_bias(table_EN, s.block.distances, x_BTD.shape[1])

    def call(block, x_BTD, _):
      kept = jnp.where(inside_BT1, x_BTD, 0) if keep else None
      return block(x_BTD, seen_BT, bias, products), kept

    in_use = cut(params, layer)["layers"]
    per_layer = (None,) * layer if isinstance(in_use, tuple) else None
    block = encoding.block_class(s.block)
    x_BTD, inputs = transformer.run(s.block, in_use, x_BTD, per_layer, call, block=block)
    if order == "pre" and layer == s.block.layers:
      x_BTD = network.norm(x_BTD)
    return jnp.where(inside_BT1, x_BTD, 0), inputs


def check_layer(settings: Encoder, layer: int) -> None:
  """Raises ConfigError unless the encoder has states after so many layers."""
  last = settings.block.layers
  if not 0 <= layer <= last:
    raise ConfigError(
      f"The encoder has states of layer 0, its input, to layer {last}, but layer {layer} is asked "
      "for. Give one of them."
    )


def cut(params: Mapping[str, Any], layer: int) -> base.Params:
  """Returns the parameters with the first `layer` layers alone, stacked or not."""
  layers = params["layers"]
  if isinstance(layers, tuple):
    return {**params, "layers": layers[:layer]}
  return {**params, "layers": jax.tree.map(lambda array: array[:layer], layers)}
