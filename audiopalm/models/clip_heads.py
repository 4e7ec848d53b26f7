"""What is predicted from the states of an encoder: heads of `models.speech_encoder`.

    settings (in a config)      head over a token space     arrays
    Labels, Codes, Transcript   ClassHead                   table [V, D]; projection of `Codes`
    Quantizer                   QuantizerHead               logits, codes, two projections

A head is named in the parameters as in the settings: heads/units/table. Tables have a multiple of
128 rows, to shard; those behind the classes mean nothing.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from audiopalm.errors import ConfigError
from audiopalm.models import base
from audiopalm.nn import cross_entropy, layers
from audiopalm.settings import Machine
from audiopalm.tokens.space import TokenSpace
from audiopalm.types import StreamSpec

PAD_TO = 128


@dataclasses.dataclass(frozen=True)
class Labels:
  """A softmax over `classes` that no tokenizer gives: labels of a random projection, or ids of a
  quantizer."""

  name: str = "labels"
  classes: int = 1_024

  def __post_init__(self):
    base.check_sizes(self, "classes")

  def build(self, space: TokenSpace) -> "ClassHead":
    return ClassHead(self.classes)


@dataclasses.dataclass(frozen=True)
class Codes:
  """A softmax over the ids of the speech stream `stream`: cosines of a projection of the state with
  a vector of each id, divided by `temperature`; of several clusterings those of number `level`.
  Source: HuBERT, arXiv:2106.07447, section 2.2."""

  stream: str = "units"
  width: int = 256
  temperature: float = 0.1
  level: int = 0

  @property
  def name(self) -> str:
    return of_level(self.stream, self.level)

  def __post_init__(self):
    base.check_sizes(self, "width")
    if self.temperature <= 0:
      raise ConfigError(f"Codes.temperature must be positive, got {self.temperature}.")

  def build(self, space: TokenSpace) -> "ClassHead":
    spec = _stream(space, self.stream, "Codes", self.level)
    if spec.rate_hz is None:
      raise ConfigError(
        f"Codes({self.stream!r}) predicts an id for each state, but the stream {self.stream!r} has "
        "no fixed rate. Give its tokenizer collapse=False, or use Transcript and CTC."
      )
    return ClassHead(spec.sizes[self.level], self.width, self.temperature, spec.rate_hz)


@dataclasses.dataclass(frozen=True)
class Transcript:
  """A softmax over the ids of the stream `name`, which has no fixed rate (text, phonemes), and a
  blank behind them, for `objectives.ctc.CTC`."""

  name: str = "text"

  def build(self, space: TokenSpace) -> "ClassHead":
    return ClassHead(_stream(space, self.name, "Transcript").sizes[0] + 1, has_blank=True)


@dataclasses.dataclass(frozen=True)
class Quantizer:
  """Frames of the front as one of `entries` codes of each of `groups`, vectors of `code_width`, and
  projections of code and state to `width`, where they are compared.

  Source: wav2vec 2.0, arXiv:2006.11477, section 2.
  """

  name: str = "quantizer"
  groups: int = 2
  entries: int = 320
  code_width: int = 128
  width: int = 256

  def __post_init__(self):
    base.check_sizes(self, "groups", "entries", "code_width", "width")

  def build(self, space: TokenSpace) -> "QuantizerHead":
    return QuantizerHead(self)


HeadSettings = Labels | Codes | Transcript | Quantizer


def of_level(stream: str, level: int) -> str:
  """Returns the name of the head of one codebook of a stream."""
  return f"{stream}_{level}" if level else stream


def _stream(space: TokenSpace, name: str, kind: str, level: int = 0) -> StreamSpec:
  spec = space.streams.get(name)
  if spec is None or not 0 <= level < spec.codebooks:
    known = ", ".join(f"{s.name} ({s.codebooks})" for s in space.streams.values())
    raise ConfigError(
      f"The model has a head {kind}({name!r}) of codebook {level}, which no tokenizer gives. "
      f"Streams and their codebooks: {known or 'none'}. Name one of them, or add the tokenizer."
    )
  return spec


class ClassArrays(nnx.Module):
  """The arrays of a `ClassHead`."""

  def __init__(self, head: "ClassHead", width: int, key: jax.Array):
    projection, table = jax.random.split(key)
    rows = -(-head.size // PAD_TO) * PAD_TO
    if head.width is not None:
      self.projection = layers.Dense((width,), (head.width,), ("embed", None), projection)
    self.embedding = layers.Embedding(rows, head.width or width, table)


@dataclasses.dataclass(frozen=True)
class ClassHead:
  """A `models.base.ClipClasses`: a softmax of products, or of cosines over a `temperature` in a
  space of `width`."""

  size: int
  width: int | None = None
  temperature: float | None = None
  rate_hz: float | None = None
  has_blank: bool = False

  def arrays(self, width: int, frames_width: int, key: jax.Array) -> nnx.Module:
    return ClassArrays(self, width, key)

  def scored(
    self, params: base.Params, hidden_BTD: jax.Array, ids_BT: jax.Array, machine: Machine
  ) -> cross_entropy.Scored:
    states_BTE, table_VE = self._compared(params, hidden_BTD, machine.products)
    settings = cross_entropy.Settings(
      self.size, machine.loss_chunk_cells, products=machine.products
    )
    return cross_entropy.cross_entropy(states_BTE, table_VE, jnp.maximum(ids_BT, 0), settings)

  def log_probs(
    self, params: base.Params, hidden_BTD: jax.Array, products: str | None = None
  ) -> jax.Array:
    states_BTE, table_VE = self._compared(params, hidden_BTD, products)
    table_EV = jax.sharding.reshard(table_VE, jax.P()) if _on_mesh() else table_VE
    logits_BTV = layers.linear(states_BTE, table_EV.T, 1, products).astype(jnp.float32)
    return jax.nn.log_softmax(logits_BTV[..., : self.size], axis=-1)

  def _compared(
    self, params: base.Params, hidden_BTD: jax.Array, products: jax.typing.DTypeLike | None
  ) -> tuple[jax.Array, jax.Array]:
    """Returns (states_BTE, table_VE), whose products are the logits."""
    table_VE = params["embedding"]["table"]
    if self.width is None:
      return hidden_BTD, table_VE
    states_BTE = dense(params["projection"], hidden_BTD, products)
    return layers.direction(states_BTE) / self.temperature, layers.direction(table_VE)


class QuantizerArrays(nnx.Module):
  """The arrays of a `QuantizerHead`."""

  def __init__(self, settings: Quantizer, width: int, frames_width: int, key: jax.Array):
    s = settings
    keys = jax.random.split(key, 4)
    axes = "embed", None, None
    self.logits = layers.Dense((frames_width,), (s.groups, s.entries), axes, keys[0])
    # Logits far apart: the noise of Gumbel's trick would hide smaller ones, and codes mean nothing.
    self.logits.kernel = layers.normal(keys[0], (frames_width, s.groups, s.entries), 1.0, axes)
    shape = s.groups, s.entries, s.code_width
    self.codes = layers.normal(keys[1], shape, s.code_width**-0.5, (None, None, None))
    into = s.groups * s.code_width
    self.code_projection = layers.Dense((into,), (s.width,), (None, None), keys[2])
    self.state_projection = layers.Dense((width,), (s.width,), ("embed", None), keys[3])


@dataclasses.dataclass(frozen=True)
class QuantizerHead:
  """A `models.base.ClipQuantizer`."""

  settings: Quantizer

  @property
  def groups(self) -> int:
    return self.settings.groups

  @property
  def entries(self) -> int:
    return self.settings.entries

  def arrays(self, width: int, frames_width: int, key: jax.Array) -> nnx.Module:
    return QuantizerArrays(self.settings, width, frames_width, key)

  def logits(self, params: base.Params, frames_BTC: jax.Array) -> jax.Array:
    return dense(params["logits"], frames_BTC.astype(jnp.float32), None)

  def codes(self, params: base.Params, chosen_BTQV: jax.Array) -> jax.Array:
    codes_QVE = params["codes"]
    code_BTQE = jnp.einsum("BTQV,QVE->BTQE", chosen_BTQV, codes_QVE)
    joined_BTE = code_BTQE.reshape(*code_BTQE.shape[:2], -1)
    return dense(params["code_projection"], joined_BTE, None)

  def states(self, params: base.Params, hidden_BTD: jax.Array, products: str | None) -> jax.Array:
    return dense(params["state_projection"], hidden_BTD, products)


def dense(params: base.Params, x: jax.Array, products: jax.typing.DTypeLike | None) -> jax.Array:
  """Returns what `layers.Dense` of these arrays gives."""
  y = layers.linear(x, params["kernel"], 1, products)
  return y + params["bias"].astype(y.dtype)


def _on_mesh() -> bool:
  return jax.sharding.get_abstract_mesh().size > 1
