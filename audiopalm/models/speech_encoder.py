"""An encoder of waves: log-mel frames, two strided convolutions, transformer blocks that see all.

front/first/kernel, bias     [3 M, D], [D]      20 ms a frame
front/second/kernel, bias    [3 D, D], [D]      40 ms a frame
layers/...                   as in models/decoder.py
norm/scale                   [D]
head/table                   [V, D]             a class for every 40 ms
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import nnx

from audiopalm.batch import ClipBatch
from audiopalm.errors import ConfigError
from audiopalm.models import base
from audiopalm.nn import attention, conv, kernels, layers, log_mel, masks, rotary, transformer
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
    base.check_sizes(self, "layers", "width", "heads", "hidden", "mels", "classes")
    if self.width % (2 * self.heads):
      raise ConfigError(
        f"SpeechEncoder.width is {self.width}, expected a multiple of 2 x {self.heads} heads: "
        "rotary positions turn pairs of values of each head."
      )

  @property
  def block(self) -> transformer.BlockSettings:
    """What its blocks are made of."""
    return transformer.BlockSettings.of(
      self, kv_heads=self.heads, head_width=self.width // self.heads
    )

  @property
  def title(self) -> str:
    return f"a speech encoder of {self.layers} layers, width {self.width}"

  def build(self, space: TokenSpace) -> "EncoderModel":
    return EncoderModel(self, functools.partial(EncoderNetwork, self))

  def parameters(self, space: TokenSpace) -> int:
    return self.build(space).count

  def flops_per_token(self, space: TokenSpace, length: int) -> float:
    """Returns the operations of a training step for each frame of 10 ms, in clips of `length`
    frames: 6 per parameter that is multiplied, at the rate of its frames, and 12 N H per layer and
    frame seen in attention, which sees all of them."""
    first = 3 * self.mels * self.width / 2
    slow = 3 * self.width**2 + self.layers * self.block.kernel_parameters
    slow += self.classes * self.width
    seen = 12 * self.width * self.layers * (length / STRIDE)
    return 6 * (first + slow / STRIDE) + seen / STRIDE

  def without_adapters(self, params: base.Params) -> tuple["SpeechEncoder", base.Params]:
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
class EncoderModel(base.NetworkModel):
  """A speech encoder: everything but the arrays, a `models.base.ClipEncoder`."""

  tables = ()
  stride = STRIDE

  @property
  def bins(self) -> int:
    return self.settings.mels

  @property
  def classes(self) -> int:
    return self.settings.classes

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

  def encode(self, params, mel_BTM, valid_BU, machine, dropout_key=None):
    """Returns hidden_BUD after the last norm, a state for each 40 ms."""
    network, products = self.module(params), machine.products
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
    block = self.settings.block
    rotation = rotary.angles(positions_BU, rotary.frequencies(block.head_width, 10_000.0))

    def call(block, x_BUD, number):
      key = None if dropout_key is None else jax.random.fold_in(dropout_key, number)
      x_BUD, _, _ = block(x_BUD, rotation, lambda q, k, v: mix(q, k, v, 0), key, products)
      return x_BUD, None

    numbers = jnp.arange(self.settings.layers)
    x_BUD, _ = transformer.run(
      block, params["layers"], x_BUD, numbers, call,
      remat=machine.remat, unroll=machine.unroll_layers,
    )  # fmt: skip
    return network.norm(x_BUD)[:, :states]

  def table(self, params):
    return params["head"]["table"]
