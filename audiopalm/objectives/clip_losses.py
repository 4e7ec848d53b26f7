"""Losses of clips: one pass of an encoder over clips that are partly masked, and what is predicted
from its states.

    ClipLosses((Contrastive(),))                              wav2vec 2.0
    ClipLosses((MaskedUnits("units"),))                       HuBERT, WavLM with `mixing`
    ClipLosses((Contrastive(layer=4, ids_head="labels"),))    w2v-BERT
    ClipLosses((RandomProjection(),), Spans(..., noise=0.1))  BEST-RQ
    ClipLosses((CTC("text"),), mask=None)                     a recognizer
    ClipLosses((MaskedUnits("units"), CTC(weight=0.3)))       two of them
"""

import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from audiopalm.batch import ClipBatch
from audiopalm.errors import ConfigError
from audiopalm.models.base import ClipEncoder, Params
from audiopalm.nn import fronts
from audiopalm.objectives.base import Loss, OnePlayer
from audiopalm.objectives.mixing import Mixing
from audiopalm.objectives.spans import Spans
from audiopalm.settings import Machine


@dataclasses.dataclass(frozen=True, eq=False)
class Heard:
  """What a loss of clips is computed from.

  `batch` is what the clips are, whatever noise was mixed in; `frames_BTC` are those of the front,
  normed, with nothing masked but by noise; `masked_BT` are states inside the clips; `states` are
  hidden_BTD by layer. Scores of masked states show whether anything was learned.
  """

  model: ClipEncoder
  params: Params
  batch: ClipBatch
  frames_BTC: jax.Array
  valid_BT: jax.Array
  masked_BT: jax.Array
  states: dict[int, jax.Array]
  train: bool
  step: jax.Array
  machine: Machine

  def hidden(self, layer: int | None) -> jax.Array:
    """Returns hidden_BTD after `layer` layers, by default the last."""
    return self.states[self.model.layers if layer is None else layer]

  def head_params(self, name: str) -> Params:
    return self.params["heads"][name]


class ClipLoss(Protocol):
  """Frozen settings of one of the losses. `layer` is that of the states it needs, None the last;
  `weight` multiplies its sum."""

  name: str
  weight: float
  layers: tuple[int | None, ...]

  def variables(self, model: ClipEncoder, key: jax.Array) -> Params:
    """Returns arrays that no gradient reaches; {} where there are none."""

  def variable_axes(self, model: ClipEncoder) -> dict[str, Any]: ...

  def loss(self, heard: Heard, variables: Params) -> Loss:
    """Returns its sum, weight and metrics, which are named apart from those of other losses."""


class WithoutVariables:
  """The defaults of a `ClipLoss`."""

  def variables(self, model: ClipEncoder, key: jax.Array) -> Params:
    return {}

  def variable_axes(self, model: ClipEncoder) -> dict[str, Any]:
    return {}


@dataclasses.dataclass(frozen=True)
class ClipLosses(OnePlayer):
  """The sum of some losses in nats, over the weight of the first one.

  An auxiliary loss adds its nats to those of the first: weight=0.3 counts each of them 0.3 times.
  `mask` None hears everything. `mixing` adds other sound to clips in training. `frames_penalty` is
  the price of the mean square of the front's frames (wav2vec 2.0 and HuBERT: 10, for waves).
  """

  parts: tuple[ClipLoss, ...]
  mask: Spans | None = Spans()
  mixing: Mixing | None = None
  frames_penalty: float = 0.0

  def __post_init__(self):
    names = [loss.name for loss in self.parts]
    if not names or len(set(names)) < len(names):
      raise ConfigError(
        f"ClipLosses takes one or more losses of different names, got {', '.join(names) or 'none'}."
      )

  def variables(self, model: ClipEncoder, params: Params, key: jax.Array) -> Params:
    variables = {}
    for number, loss in enumerate(self.parts):
      if arrays := loss.variables(model, jax.random.fold_in(key, number)):
        variables[loss.name] = arrays
    return variables

  def variable_axes(self, model: ClipEncoder) -> dict[str, Any]:
    axes = {loss.name: loss.variable_axes(model) for loss in self.parts}
    return {name: tree for name, tree in axes.items() if tree}

  def losses(
    self,
    model: ClipEncoder,
    params: Params,
    variables: Params,
    batch: ClipBatch,
    *,
    key: jax.Array,
    train: bool,
    step: jax.Array,
    machine: Machine,
  ) -> tuple[dict[str, Loss], Params]:
    """Returns ({"model": Loss}, variables).

    Each clip has a seed of its own for all that is drawn but dropout, which takes `key`. So devices
    and micro-batches do not change masks, distractors or noise, and held-out losses draw the same
    every time.
    """
    heard_batch = self.mixing.mixed(batch) if self.mixing and train else batch
    features, valid_BT = model.features(heard_batch.wave_BS, batch.samples_B)
    masked_BT, by_vector_BT = jnp.zeros_like(valid_BT), None
    if self.mask is not None:
      rate_hz = fronts.RATE_HZ / model.hop_samples
      masked_BT = self.mask.masks(batch.draw_B, valid_BT.shape[1], rate_hz) & valid_BT
      by_vector_BT = masked_BT
      if self.mask.noise is not None:
        features = self._in_noise(batch, masked_BT, features)
        by_vector_BT = None
    frames_BTC = model.frames(params, features, batch.samples_B, machine)
    layers = {model.layers if n is None else n for loss in self.parts for n in loss.layers}
    states = model.states(
      params, frames_BTC, valid_BT, layers, machine, by_vector_BT, key if train else None
    )
    normed_BTC = model.normed(params, frames_BTC)
    heard = Heard(
      model, params, batch, normed_BTC, valid_BT, masked_BT, states, train, step, machine
    )
    total, weight, metrics = 0.0, None, {}
    for loss in self.parts:
      part = loss.loss(heard, variables.get(loss.name, {}))
      total += loss.weight * part.sum
      weight = part.weight if weight is None else weight
      metrics |= part.metrics
    if self.frames_penalty:
      inside_BT1 = valid_BT[..., None]
      squares = jnp.sum(jnp.square(frames_BTC.astype(jnp.float32)) * inside_BT1)
      count = jnp.maximum(jnp.sum(inside_BT1) * frames_BTC.shape[-1], 1)
      total += self.frames_penalty * weight * squares / count
    return {"model": Loss(total, weight, metrics)}, variables

  def _in_noise(self, batch: ClipBatch, masked_BT: jax.Array, features: jax.Array) -> jax.Array:
    if features.ndim != 3:
      raise ConfigError(
        "Spans(noise=...) masks frames of a spectrum, but the model's front starts from waves. "
        "Leave noise out, or give the model a log-mel front."
      )
    return self.mask.in_noise(batch.draw_B, masked_BT, features)


def scored(name: str, nll_BT: jax.Array, correct_BT: jax.Array, weight_BT: jax.Array) -> dict:
  """Returns the metrics nll_ and accuracy_ of a name."""
  weight = jnp.sum(weight_BT)
  nll = jax.lax.stop_gradient(jnp.sum(nll_BT * weight_BT))
  return {
    f"nll_{name}": (nll, weight),
    f"accuracy_{name}": (jnp.sum(correct_BT * weight_BT), weight),
  }
