"""An encoder of waves: log-mel frames, two strided convolutions, transformer blocks that see all.

front/first/kernel, bias     [3 M, D], [D]      20 ms a frame
front/second/kernel, bias    [3 D, D], [D]      40 ms a frame
layers/...                   as in models/decoder.py
norm/scale                   [D]
head/table                   [V, D]             a class for every 40 ms
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from audiopalm.batch import ClipBatch
from audiopalm.errors import ConfigError
from audiopalm.models import base
from audiopalm.nn import (
  attention,
  conv,
  kernels,
  layers,
  log_mel,
  masks,
  rotary,
  transformer,
)
from audiopalm.settings import Machine
from audiopalm.tokens.space import TokenSpace

STRIDE = 4  # frames of 10 ms that become one


@dataclasses.dataclass(frozen=True)
class SpeechEncoder:
  """Settings of an encoder over `mels` log-mel bins, with a head of `classes` for each 40 ms.

  Its blocks are those of a Llama-shaped decoder; every frame of a clip sees every other.
  """

  layers: int = 4
  width: int = 256
  heads: int = 4
  hidden: int = 704
  mels: int = 80
  classes: int = 1024
  dropout: float = 0.0

  def __post_init__(self):
    for name in ("layers", "width", "heads", "hidden", "mels", "classes"):
      if getattr(self, name) < 1:
        raise ConfigError(f"SpeechEncoder.{name} must be at least 1, got {getattr(self, name)}.")
    if not 0 <= self.dropout < 1:
      raise ConfigError(
        f"SpeechEncoder.dropout must be at least 0 and below 1, got {self.dropout}."
      )
    if self.width % (2 * self.heads):
      raise ConfigError(
        f"SpeechEncoder.width is {self.width}, expected a multiple of 2 x {self.heads} heads: "
        "rotary positions turn pairs of values of each head."
      )

  @property
  def block(self) -> transformer.BlockSettings:
    """What its blocks are made of."""
    return transformer.BlockSettings(
      layers=self.layers,
      width=self.width,
      heads=self.heads,
      kv_heads=self.heads,
      head_width=self.width // self.heads,
      hidden=self.hidden,
      dropout=self.dropout,
    )

  @property
  def title(self) -> str:
    return f"a speech encoder of {self.layers} layers, width {self.width}"

  def build(self, space: TokenSpace) -> "EncoderModel":
    """Returns the encoder; it has no ids of the token space."""
    return EncoderModel(self, base.arrays(functools.partial(EncoderNetwork, self)))

  def parameters(self, space: TokenSpace) -> int:
    front = 3 * self.mels * self.width + 3 * self.width**2 + 2 * self.width
    head = self.classes * self.width
    return front + self.layers * self.block.parameters + self.width + head

  def flops_per_token(self, space: TokenSpace, length: int) -> float:
    """Returns the operations of a training step for each frame of 10 ms, in clips of `length`
    frames: 6 per parameter that is multiplied, at the rate of its frames, and 12 N H per layer and
    frame seen in attention, which sees all of them."""
    first = 3 * self.mels * self.width / 2
    slow = 3 * self.width**2 + self.layers * self.block.kernel_parameters
    slow += self.classes * self.width
    seen = 12 * self.width * self.layers * (length / STRIDE)
    return 6 * (first + slow / STRIDE) + seen / STRIDE

  def without_adapters(self, params: Mapping[str, Any]) -> tuple["SpeechEncoder", base.Params]:
    return self, dict(params)


class Front(nnx.Module):
  """The two convolutions, each followed by GELU."""

  def __init__(self, settings: SpeechEncoder, key: jax.Array):
    first, second = jax.random.split(key)
    self.first = conv.Strided(settings.mels, settings.width, 2, first)
    self.second = conv.Strided(settings.width, settings.width, 2, second)

  def __call__(self, mel_BTM: jax.Array, products: str | None) -> jax.Array:
    half_BTD = jax.nn.gelu(self.first(mel_BTM, products))
    return jax.nn.gelu(self.second(half_BTD, products))


class EncoderNetwork(nnx.Module):
  """The arrays of an encoder and their logical axes."""

  def __init__(self, settings: SpeechEncoder, key: jax.Array):
    front, blocks, head = jax.random.split(key, 3)
    self.front = Front(settings, front)
    self.layers = transformer.stack(settings.block, blocks)
    self.norm = layers.RMSNorm(settings.width, 1e-6, False)
    self.head = layers.Embedding(settings.classes, settings.width, head)


@dataclasses.dataclass(frozen=True, eq=False)
class EncoderModel:
  """A speech encoder: everything but the arrays. Its methods are pure functions of `params`."""

  settings: SpeechEncoder
  arrays: base.Arrays

  @property
  def axes(self) -> Any:
    return self.arrays.axes

  @property
  def tables(self) -> tuple[str, ...]:
    return ()

  @property
  def stride(self) -> int:
    return STRIDE

  @property
  def bins(self) -> int:
    return self.settings.mels

  @property
  def classes(self) -> int:
    return self.settings.classes

  def init(self, key: jax.Array, mesh: jax.sharding.Mesh) -> base.Params:
    return self.arrays.init(key, mesh)

  def shapes(self, mesh: jax.sharding.Mesh) -> base.Params:
    return self.arrays.shapes(mesh)

  def features(self, batch: ClipBatch) -> tuple[jax.Array, jax.Array]:
    """Returns (mel_BTM, valid_BU): log-mel frames of 10 ms with mean 0 and deviation 1 over the
    frames of each clip and bin, 0 in its padding; and which frames of 40 ms are whole."""
    mel_BTM = log_mel.log_mel(batch.wave_BS, self.settings.mels)
    frames_B = batch.samples_B // log_mel.HOP
    whole = mel_BTM.shape[1] // STRIDE
    inside_BT1 = (jnp.arange(mel_BTM.shape[1]) < frames_B[:, None])[..., None]
    count_B11 = jnp.maximum(frames_B, 1)[:, None, None]
    mean_B1M = jnp.sum(mel_BTM * inside_BT1, axis=1, keepdims=True) / count_B11
    far_BTM = (mel_BTM - mean_B1M) * inside_BT1
    deviation_B1M = jnp.sqrt(jnp.sum(jnp.square(far_BTM), axis=1, keepdims=True) / count_B11)
    valid_BU = jnp.arange(whole) < (frames_B // STRIDE)[:, None]
    return far_BTM / (deviation_B1M + 1e-5), valid_BU

  def encode(
    self,
    params: base.Params,
    mel_BTM: jax.Array,
    valid_BU: jax.Array,
    machine: Machine,
    dropout_key: jax.Array | None = None,
  ) -> jax.Array:
    """Returns hidden_BUD after the last norm, a state for each 40 ms. Without a key there is no
    dropout."""
    network, products = self.arrays.module(params), machine.products
    x_BUD = network.front(mel_BTM.astype(jnp.dtype(machine.compute_dtype)), products)
    states = x_BUD.shape[1]
    if machine.attention == "splash":  # takes whole blocks of its lanes
      beyond = (0, -states % kernels.LANES)
      x_BUD = jnp.pad(x_BUD, ((0, 0), beyond, (0, 0)))
      valid_BU = jnp.pad(valid_BU, ((0, 0), beyond))
    segments_BU = valid_BU.astype(jnp.int32)
    positions_BU = jnp.arange(x_BUD.shape[1], dtype=jnp.int32) + jnp.zeros_like(segments_BU)
    rows = masks.Rows(segments_BU, positions_BU, segments_BU)
    mix = attention.mixer(machine.attention, rows, ahead=True, products=products)
    head_width = self.settings.width // self.settings.heads
    rotation = rotary.angles(positions_BU, rotary.frequencies(head_width, 10_000.0))

    def call(block, x_BUD, number):
      key = None if dropout_key is None else jax.random.fold_in(dropout_key, number)
      x_BUD, _, _ = block(x_BUD, rotation, lambda q, k, v: mix(q, k, v, 0), key, products)
      return x_BUD, None

    numbers = jnp.arange(self.settings.layers)
    x_BUD, _ = transformer.run(
      network.layers, x_BUD, numbers, call, remat=machine.remat, unroll=machine.unroll_layers
    )
    return network.norm(x_BUD)[:, :states]

  def table(self, params: base.Params) -> jax.Array:
    """Returns table_VD, the output rows of the classes."""
    return params["head"]["table"]
