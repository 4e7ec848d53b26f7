"""HuBERT: masked states predict the unit that a tokenizer gives what they do not hear. Source: Hsu
et al. 2021, arXiv:2106.07447, section 2."""

import dataclasses

import jax
import jax.numpy as jnp

from audiopalm.errors import ConfigError
from audiopalm.nn import fronts
from audiopalm.objectives import clip_losses, spans
from audiopalm.objectives.base import Loss
from audiopalm.objectives.clip_losses import Heard, WithoutVariables
from audiopalm.types import HOLE


@dataclasses.dataclass(frozen=True)
class MaskedUnits(WithoutVariables):
  """Cross-entropy of the units of `stream` by the model's head of that name, `masked_weight` times
  for masked states and `unmasked_weight` times for those that are heard.

  Several clusterings are several streams, or codebooks of one: a loss and a head `Codes` for each,
  of its `level`.
  """

  stream: str = "units"
  level: int = 0
  masked_weight: float = 1.0
  unmasked_weight: float = 0.0
  weight: float = 1.0
  layer: int | None = None

  def __post_init__(self):
    weights = self.masked_weight, self.unmasked_weight
    if min(weights) < 0 or max(weights) == 0:
      raise ConfigError(
        "MaskedUnits needs weights of masked and of other states of at least 0, one of them above, "
        f"got {self.masked_weight} and {self.unmasked_weight}."
      )

  @property
  def name(self) -> str:
    return f"units_{self.head}"

  @property
  def head(self) -> str:
    return self.stream if self.level == 0 else f"{self.stream}_{self.level}"

  @property
  def layers(self) -> tuple[int | None, ...]:
    return (self.layer,)

  def loss(self, heard: Heard, variables: dict) -> Loss:
    """Returns the loss; metrics are nll_ and accuracy_HEAD of masked states."""
    asked_by = f"MaskedUnits({self.stream!r})"
    head = heard.model.class_head(self.head, asked_by)
    if head.rate_hz is None:
      raise ConfigError(
        f"{asked_by} needs a head Codes({self.stream!r}) of the model, whose stream has a fixed "
        "rate. Add it to the heads of models.speech_encoder(...)."
      )
    rate_hz = fronts.RATE_HZ / heard.model.hop_samples
    ids_BU = heard.batch.stream(self.stream, asked_by)
    ids_BU = ids_BU if ids_BU.ndim == 2 else ids_BU[..., self.level]
    ids_BT = at_states(ids_BU, head.rate_hz, rate_hz, heard.valid_BT.shape[1])
    params = heard.head_params(self.head)
    scores = head.scored(params, heard.hidden(self.layer), ids_BT, heard.machine)
    is_unit_BT = heard.valid_BT & (ids_BT != HOLE)
    masked_BT = (heard.masked_BT & is_unit_BT).astype(jnp.float32)
    heard_BT = is_unit_BT.astype(jnp.float32) - masked_BT
    weight_BT = self.masked_weight * masked_BT + self.unmasked_weight * heard_BT
    metrics = clip_losses.scored(self.head, scores.nll_BL, scores.correct_BL, masked_BT)
    return Loss(jnp.sum(scores.nll_BL * weight_BT), jnp.sum(weight_BT), metrics)


def at_states(ids_BU: jax.Array, units_hz: float, states_hz: float, states: int) -> jax.Array:
  """Returns ids_BT: the unit in which the middle of each state lies, a hole behind the last."""
  places_T = [int((state + 0.5) * units_hz / states_hz) for state in range(states)]
  longest = max(places_T, default=0) + 1
  filled_BU = jnp.pad(
    ids_BU, ((0, 0), (0, max(0, longest - ids_BU.shape[1]))), constant_values=HOLE
  )
  if places_T == list(range(states)):
    return filled_BU[:, :states]
  return spans.by_clip(lambda ids_BU: ids_BU[:, jnp.array(places_T)], filled_BU)
