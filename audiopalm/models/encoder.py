"""Speech encoders: wav2vec 2.0, HuBERT, WavLM, w2v-BERT 2.0, Whisper's and the like.

  front/convolutions/0/kernel, bias           [K, C, D], [D]    of `fronts.Waves`; with norms/0, ...
  front/convolutions/0/kernel, bias           [K C, D], [D]     of `fronts.Mels`
  front/first, second, positions                                of `fronts.LogMels`
  projection/norm, dense                      [C], [C, D]       of waves and filterbanks
  positions/convolution/kernel, bias          [K, D / groups, D], [D]
  buckets/table                               [E, N]
  layers/...                                                    nn/encoding.py
  norm/scale, bias                            [D]

models/pytorch/encoder_names.py says which tensor of a published encoder each of them is, and
models/speech_encoder.py trains them.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec

from audiopalm import sharding
from audiopalm.errors import ConfigError
from audiopalm.models import base
from audiopalm.nn import distances, encoding, fronts, layers, transformer


@dataclasses.dataclass(frozen=True)
class Encoder:
  """Settings of an encoder.

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
    if isinstance(self.block.distances, distances.Rotary) and self.block.head_width % 2:
      raise ConfigError(
        f"An encoder's width is {self.block.width}, expected a multiple of 2 x {self.block.heads} "
        "heads: rotary positions turn pairs of values of each head."
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

  def __call__(self, x_BTC: jax.Array, products: jax.typing.DTypeLike | None) -> jax.Array:
    return self.dense(self.norm(x_BTC) if hasattr(self, "norm") else x_BTC, products)


class BucketTable(nnx.Module):
  """The bias of each bucket of distances and head, which all layers share.

  WavLM begins with biases near 0 beside convolved positions. Where biases alone tell masked frames
  apart, they begin far apart: near 0, training stays long at the most frequent unit.
  """

  def __init__(self, rows: int, heads: int, alone: bool, key: jax.Array):
    self.table = layers.normal(key, (rows, heads), 1.0 if alone else 0.02, (None, "heads"))


class EncoderArrays(nnx.Module):
  """The arrays of an encoder and their logical axes."""

  def __init__(self, settings: Encoder, key: jax.Array):
    s = settings
    keys = jax.random.split(key, 5)
    match s.front:
      case fronts.Waves():
        self.front = fronts.WaveFront(s.front, keys[0])
      case fronts.Mels():
        self.front = fronts.MelFront(s.front, keys[0])
      case fronts.LogMels():
        self.front = fronts.LogMelFront(s.front, keys[0])
    if s.projects:
      self.projection = Projection(s, keys[1])
    if s.positions is not None:
      self.positions = distances.ConvolvedPositions(s.positions, s.block.width, keys[2])
    if isinstance(s.block.distances, distances.Buckets):
      rows, alone = s.block.distances.count, s.positions is None
      self.buckets = BucketTable(rows, s.block.heads, alone, keys[3])
    if s.block.order != "conformer":
      self.norm = layers.LayerNorm(s.block.width, s.block.norm_eps)
    self.layers = transformer.stack(s.block, keys[4], encoding.block_class(s.block))


@dataclasses.dataclass(frozen=True, eq=False)
class Pass:
  """How the layers are run: `products` as in `nn.layers`, `backend`, `remat` and `unroll` as in
  `settings.Machine`; in training with dropout, and with what masked frames are replaced by."""

  products: jax.typing.DTypeLike | None = None
  backend: str = "xla"
  remat: str = "none"
  unroll: bool = False
  dropout: float = 0.0
  dropout_key: base.Key | None = None
  masked_BT: jax.Array | None = None
  mask_D: jax.Array | None = None

  def drop(self, number: jax.Array | int) -> encoding.Dropout:
    """Returns the dropout of a layer."""
    key = self.dropout_key
    return encoding.Dropout(self.dropout, None if key is None else jax.random.fold_in(key, number))


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
    products: jax.typing.DTypeLike | None = None,
  ) -> jax.Array:
    """Returns frames_BTC of the front. `of_clip` is as in `fronts.WaveFront`."""
    match self.settings.front:
      case fronts.Filterbanks():
        return features
      case fronts.Waves():
        arguments = (features, samples_B) if of_clip is None else (features, samples_B, of_clip)
        return self._by_clip(params, "front", lambda front, *arrays: front(*arrays), *arguments)
      case fronts.Mels():
        return self._by_clip(params, "front", lambda front, mel: front(mel, products), features)
      case fronts.LogMels():
        return self._by_clip(params, "front", lambda front, mel: front(mel), features)

  def first_moments(
    self, params: base.Params, wave_BS: jax.Array, samples_B: jax.Array
  ) -> fronts.Moments:
    """Returns the moments over time that a front with a group norm takes."""
    return self._network(params).front.first_moments(wave_BS, samples_B)

  def count(self, samples: int) -> int:
    """Returns how many states a padded clip of so many samples has."""
    front = self.settings.front
    whisper = isinstance(front, fronts.LogMels)
    return front.window_frames if whisper else int(front.frames(samples))

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
    features = self.features(wave_BS, samples_B)
    frames_BTC = self.frames(params, features, samples_B, products=products)
    valid_BT = self.valid(frames_BTC.shape[1], samples_B)
    return self.states(params, frames_BTC, valid_BT, layer, products), valid_BT

  def all_states(
    self, params: base.Params, wave_BS: jax.Array, samples_B: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """Returns (hidden_LBTD of layers 0 to the last, valid_BT)."""
    frames_BTC = self.frames(params, self.features(wave_BS, samples_B), samples_B)
    valid_BT = self.valid(frames_BTC.shape[1], samples_B)
    layers = range(self.settings.block.layers + 1)
    states = self.states_of(params, frames_BTC, valid_BT, layers, Pass())
    return jnp.stack([states[layer] for layer in layers]), valid_BT

  def states(
    self,
    params: base.Params,
    frames_BTC: jax.Array,
    valid_BT: jax.Array,
    layer: int,
    products: str | None = None,
  ) -> jax.Array:
    """Returns hidden_BTD after `layer` layers, 0 in padding, of frames of the front."""
    return self.states_of(params, frames_BTC, valid_BT, (layer,), Pass(products))[layer]

  def normed(self, params: base.Params, frames_BTC: jax.Array) -> jax.Array:
    """Returns frames_BTC with the norm before their projection, if there is one."""
    projection = self._network(params).projection if self.settings.projects else None
    return projection.norm(frames_BTC) if hasattr(projection, "norm") else frames_BTC

  def states_of(
    self,
    params: base.Params,
    frames_BTC: jax.Array,
    valid_BT: jax.Array,
    layers: Iterable[int],
    how: Pass,
  ) -> dict[int, jax.Array]:
    """Returns {layer: hidden_BTD} of some layers in one pass, each as `states` gives it."""
    s, order = self.settings, self.settings.block.order
    wanted = sorted(set(layers))
    for layer in wanted:
      check_layer(s, layer)
    inside_BT1 = valid_BT[..., None]
    network = self._network(params)
    x_BTD = network.projection(frames_BTC, how.products) if s.projects else frames_BTC
    if how.masked_BT is not None:
      x_BTD = jnp.where(how.masked_BT[..., None], how.mask_D.astype(x_BTD.dtype), x_BTD)
    if s.positions is not None:
      x_BTD = jnp.where(inside_BT1, x_BTD, 0)
      positions_BTD = self._by_clip(params, "positions", lambda of, x_BTD: of(x_BTD), x_BTD)
      x_BTD = x_BTD + positions_BTD
    if order == "post":
      x_BTD = network.norm(x_BTD)
    x_BTD = how.drop(s.block.layers)(x_BTD, 0)
    # Whisper's frames of silence belong to the window that it attends to.
    seen_BT = jnp.ones_like(valid_BT) if isinstance(s.front, fronts.LogMels) else valid_BT
    bias_1NLJ = self._bucket_bias(network, x_BTD.shape[1])
    around = encoding.Surroundings(seen_BT, how.products, how.backend, bias_1NLJ)

    def call(block, x_BTD, number):
      return block(x_BTD, around, how.drop(number)), None

    block, states, done = encoding.block_class(s.block), {}, 0
    for layer in wanted:
      if layer > done:
        part = _part(params["layers"], done, layer)
        numbers = range(done, layer) if isinstance(part, tuple) else jnp.arange(done, layer)
        x_BTD, _ = transformer.run(
          s.block, part, x_BTD, numbers, call,
          remat=how.remat, unroll=how.unroll, block=block,
        )  # fmt: skip
        done = layer
      is_last = order == "pre" and layer == s.block.layers
      states[layer] = jnp.where(inside_BT1, network.norm(x_BTD) if is_last else x_BTD, 0)
    return states

  def _network(self, params: base.Params) -> nnx.Module:
    """Returns the module with the arrays outside of layers, which run from their own arrays."""
    return self.module({**params, "layers": self.arrays["layers"]})

  def _by_clip(
    self, params: base.Params, name: str, call: Callable, *given: jax.Array
  ) -> jax.Array:
    """Returns call(a part of the network, *given), [B, T, C]: each device has all arrays of the
    part, and computes it for its own clips."""
    own = jax.tree.map(sharding.gathered, params[name])

    def local(own, *given):
      return call(getattr(self.module({**self.arrays, name: own}), name), *given)

    clips = PartitionSpec(sharding.layout_of(given[0])[0])
    return sharding.mapped(local, (PartitionSpec(), *(clips,) * len(given)), clips)(own, *given)

  def _bucket_bias(self, network: nnx.Module, length: int) -> jax.Array | None:
    """Returns bias_1NLJ of `distances.Buckets`, each device the part of its heads."""
    settings = self.settings.block.distances
    if not isinstance(settings, distances.Buckets):
      return None
    table_EN = network.buckets.table[...]
    split = PartitionSpec(None, sharding.layout_of(table_EN)[1])
    local = functools.partial(distances.bucket_bias, settings=settings, length=length)
    return sharding.mapped(lambda table_EN: local(table_EN), (split,), split)(table_EN)


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
  return {**params, "layers": _part(params["layers"], 0, layer)}


def _part(layers: base.Params | tuple[base.Params, ...], start: int, stop: int) -> Any:
  """Returns some of the layers, stacked or not."""
  if isinstance(layers, tuple):
    return layers[start:stop]
  return jax.tree.map(lambda array: array[start:stop], layers)
