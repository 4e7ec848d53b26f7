"""A speech encoder that is trained on clips: an `Encoder`, a vector for masked frames, and heads.

encoder/...                  as in models/encoder.py
mask/embedding               [D]      stands for the projected frames that are masked
heads/<name>/...             as in models/clip_heads.py
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from audiopalm.errors import ConfigError
from audiopalm.models import base, clip_heads, encoder_windows
from audiopalm.models.encoder import Encoder, EncoderArrays, Pass, StateModel
from audiopalm.nn import layers
from audiopalm.settings import Machine
from audiopalm.tokens.space import TokenSpace

FRAMES_HZ = 100  # what `flops_per_token` counts

Head = TypeVar("Head", bound=base.ClipHead)


@dataclasses.dataclass(frozen=True)
class SpeechEncoder:
  """Settings of an encoder and its heads.

  `dropout` is that of the input of the layers and of each of their branches; gradients of the front
  are multiplied by `front_gradient` (wav2vec 2.0 and HuBERT: 0.1).
  """

  encoder: Encoder
  heads: tuple[clip_heads.HeadSettings, ...] = ()
  dropout: float = 0.0
  front_gradient: float = 1.0

  def __post_init__(self):
    base.check_sizes(self)
    names = [head.name for head in self.heads]
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
      raise ConfigError(f"Two heads are called {doubles[0]!r}. Give each a name of its own.")

  @property
  def title(self) -> str:
    block = self.encoder.block
    return f"a speech encoder of {block.layers} layers, width {block.width}"

  def build(self, space: TokenSpace) -> "SpeechEncoderModel":
    heads = {head.name: head.build(space) for head in self.heads}
    return SpeechEncoderModel(self, functools.partial(SpeechEncoderArrays, self, heads), heads)

  def parameters(self, space: TokenSpace) -> int:
    return self.build(space).count

  def flops_per_token(self, space: TokenSpace, length: int) -> float:
    """Returns the operations of a training step for each frame of 10 ms, in clips of `length`
    frames: 6 for each parameter that a state is multiplied with, and 12 N H per layer and state
    seen in attention, which sees all of them."""
    block, arrays = self.encoder.block, self.build(space).arrays
    per_state = self.encoder.front.multiplications
    groups = {**arrays["heads"], **arrays["encoder"], "front": {}, "buckets": {}}
    for path, array in jax.tree_util.tree_leaves_with_path(groups):
      if path[-1].key in ("kernel", "table", "codes", "depthwise"):
        per_state += array.size
    seen = 12 * block.width * block.layers * length * self.encoder.rate_hz / FRAMES_HZ
    return (6 * per_state + seen) * self.encoder.rate_hz / FRAMES_HZ

  def without_adapters(self, params: base.Params) -> tuple["SpeechEncoder", base.Params]:
    return self, dict(params)


class MaskArrays(nnx.Module):
  """What the layers get in place of frames that are masked."""

  def __init__(self, width: int, key: jax.Array):
    self.embedding = layers.normal(key, (width,), 0.5, ("norm",))


class SpeechEncoderArrays(nnx.Module):
  """The arrays of a speech encoder and their logical axes."""

  def __init__(self, settings: SpeechEncoder, heads: Mapping[str, base.ClipHead], key: jax.Array):
    encoder = settings.encoder
    keys = jax.random.split(key, 3)
    self.encoder = EncoderArrays(encoder, keys[0])
    self.mask = MaskArrays(encoder.block.width, keys[1])
    self.heads = nnx.Module()
    for number, (name, head) in enumerate(heads.items()):
      own_key = jax.random.fold_in(keys[2], number)
      setattr(self.heads, name, head.arrays(encoder.block.width, encoder.front.width, own_key))


@dataclasses.dataclass(frozen=True, eq=False)
class SpeechEncoderModel(base.NetworkModel):
  """A speech encoder: everything but the arrays, a `models.base.ClipEncoder`."""

  heads: Mapping[str, base.ClipHead]

  tables = ()

  @functools.cached_property
  def encoder(self) -> StateModel:
    """The encoder without its heads, whose arrays are the group "encoder"."""
    return self.settings.encoder.build()

  @property
  def layers(self) -> int:
    return self.settings.encoder.block.layers

  @property
  def hop_samples(self) -> int:
    return self.settings.encoder.front.hop_samples

  def class_head(self, name: str, asked_by: str) -> clip_heads.ClassHead:
    return self._head(name, clip_heads.ClassHead, asked_by)

  def quantizer(self, name: str, asked_by: str) -> clip_heads.QuantizerHead:
    return self._head(name, clip_heads.QuantizerHead, asked_by)

  def _head(self, name: str, kind: type[Head], asked_by: str) -> Head:
    head = self.heads.get(name)
    if not isinstance(head, kind):
      have = ", ".join(f"{name!r} ({type(head).__name__})" for name, head in self.heads.items())
      raise ConfigError(
        f"{asked_by} needs a {kind.__name__} {name!r} among the heads of the model, which has "
        f"{have or 'none'}. Add it to the heads of models.speech_encoder(...)."
      )
    return head

  def features(self, wave_BS: jax.Array, samples_B: jax.Array) -> tuple[jax.Array, jax.Array]:
    states = self.encoder.count(wave_BS.shape[1])
    return self.encoder.features(wave_BS, samples_B), self.encoder.valid(states, samples_B)

  def frames(
    self, params: base.Params, features: jax.Array, samples_B: jax.Array, machine: Machine
  ) -> jax.Array:
    features = features.astype(jnp.dtype(machine.compute_dtype))
    frames_BTC = self.encoder.frames(
      params["encoder"], features, samples_B, products=machine.products
    )
    scale = self.settings.front_gradient
    if scale == 1.0:
      return frames_BTC
    return scale * frames_BTC + (1 - scale) * jax.lax.stop_gradient(frames_BTC)

  def normed(self, params: base.Params, frames_BTC: jax.Array) -> jax.Array:
    return self.encoder.normed(params["encoder"], frames_BTC)

  def states(
    self,
    params: base.Params,
    frames_BTC: jax.Array,
    valid_BT: jax.Array,
    layers: Iterable[int],
    machine: Machine,
    masked_BT: jax.Array | None = None,
    dropout_key: base.Key | None = None,
  ) -> dict[int, jax.Array]:
    how = Pass(
      machine.products, machine.attention, machine.remat, machine.unroll_layers,
      self.settings.dropout, dropout_key, masked_BT, params["mask"]["embedding"],
    )  # fmt: skip
    return self.encoder.states_of(params["encoder"], frames_BTC, valid_BT, layers, how)

  def pieces(
    self, params: base.Params, wave_S: np.ndarray, layer: int, products: str | None = None
  ) -> Iterator[np.ndarray]:
    yield from encoder_windows.pieces(self.encoder, params["encoder"], wave_S, layer, products)
