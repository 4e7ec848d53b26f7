"""CTC on a stream without a fixed rate: text or phonemes, from clips that hold all of it."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from audiopalm.errors import ConfigError
from audiopalm.objectives import spans
from audiopalm.objectives.base import Loss
from audiopalm.objectives.clip_losses import Heard, WithoutVariables
from audiopalm.types import HOLE


@dataclasses.dataclass(frozen=True)
class CTC(WithoutVariables):
  """Negative log-likelihood of the ids of `stream` in any alignment with the states after `layer`
  layers, by the model's head of that name. The blank is the last class.

  Clips that hold a part of their record, or that have too few states for their ids, have no loss.
  Its weight is the number of ids. Source: Graves et al. 2006; USM, arXiv:2303.01037.
  """

  stream: str = "text"
  weight: float = 1.0
  layer: int | None = None

  @property
  def name(self) -> str:
    return f"ctc_{self.stream}"

  @property
  def layers(self) -> tuple[int | None, ...]:
    return (self.layer,)

  def loss(self, heard: Heard, variables: dict) -> Loss:
    """Returns the loss; its metric is nll_ctc_STREAM, in nats per id."""
    asked_by = f"CTC({self.stream!r})"
    head = heard.model.class_head(self.stream, asked_by)
    if not head.has_blank:
      raise ConfigError(
        f"{asked_by} needs a head with a blank, Transcript({self.stream!r}), but the model has "
        "another of that name. Add it to the heads of models.speech_encoder(...)."
      )
    params = heard.head_params(self.stream)
    log_probs_BTV = head.log_probs(params, heard.hidden(self.layer), heard.machine.products)
    ids_BU = heard.batch.stream(self.stream, asked_by)
    nll_B = spans.by_clip(negative_log_likelihood, log_probs_BTV, heard.valid_BT, ids_BU)
    counts_B = jnp.sum(ids_BU != HOLE, axis=1)
    fits_B = needed(ids_BU) <= jnp.sum(heard.valid_BT, axis=1)
    total = jnp.sum(jnp.where(fits_B, nll_B, 0.0))
    weight = jnp.sum(jnp.where(fits_B, counts_B, 0)).astype(jnp.float32)
    return Loss(total, weight, {f"nll_{self.name}": (jax.lax.stop_gradient(total), weight)})


def needed(ids_BU: jax.Array) -> jax.Array:
  """Returns how many states the ids of each clip take at least: equal neighbors have a blank
  between them."""
  is_id_BU = ids_BU != HOLE
  repeats_BU = (ids_BU[:, 1:] == ids_BU[:, :-1]) & is_id_BU[:, 1:]
  return jnp.sum(is_id_BU, axis=1) + jnp.sum(repeats_BU, axis=1)


def negative_log_likelihood(
  log_probs_BTV: jax.Array, valid_BT: jax.Array, ids_BU: jax.Array
) -> jax.Array:
  """Returns nll_B of the ids before the first hole; 0 where there are none."""
  is_id_BU = ids_BU != HOLE
  nll_B = optax.ctc_loss(
    log_probs_BTV,
    1.0 - valid_BT.astype(jnp.float32),
    jnp.maximum(ids_BU, 0),
    1.0 - is_id_BU.astype(jnp.float32),
    blank_id=log_probs_BTV.shape[-1] - 1,
  )
  return jnp.where(is_id_BU.any(axis=1), nll_B, 0.0)
