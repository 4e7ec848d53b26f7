"""What a trained encoder with a CTC head says of each state of a recording."""

import dataclasses
import functools
from typing import cast

import jax
import numpy as np

from audiopalm import sharding
from audiopalm.errors import ConfigError
from audiopalm.inference.trained import Trained
from audiopalm.models.base import ClipClasses, ClipEncoder, Params
from audiopalm.nn import fronts


@dataclasses.dataclass(frozen=True, eq=False)
class FrameLogProbs:
  """`log_probs_TV` of the ids of a stream and, as the last class, the blank; state t stands for the
  time from t / rate_hz to (t + 1) / rate_hz seconds."""

  log_probs_TV: np.ndarray
  rate_hz: float

  @property
  def blank(self) -> int:
    return self.log_probs_TV.shape[1] - 1


def log_probs(run: Trained, wave_S: np.ndarray, stream: str = "text") -> FrameLogProbs:
  """Returns what the head of `stream` gives for a 16 kHz wave of any length; none for one shorter
  than a state. ConfigError unless the run's objective has a `CTC` loss of that stream."""
  loss = next(
    (part for part in getattr(run.experiment.objective, "parts", ()) if _is_ctc(part, stream)), None
  )
  if loss is None:
    raise ConfigError(
      f"Times need an encoder that was trained with CTC({stream!r}), but the objective of this run "
      f"is {run.experiment.objective!r}. Add the loss to its ClipLosses, and train it."
    )
  model = cast(ClipEncoder, run.model)
  layer = model.layers if loss.layer is None else loss.layer
  head, own = model.class_head(stream, f"CTC({stream!r})"), run.params["heads"][stream]
  with jax.set_mesh(sharding.mesh(run.machine)):
    pieces = [
      np.asarray(_scored(head, own, hidden_TD[None], run.machine.products))[0]
      for hidden_TD in model.pieces(run.params, wave_S, layer, run.machine.products)
    ]
  empty_TV = np.zeros((0, head.size), np.float32)
  return FrameLogProbs(np.concatenate([empty_TV, *pieces]), fronts.RATE_HZ / model.hop_samples)


def _is_ctc(part: object, stream: str) -> bool:
  return getattr(part, "name", "") == f"ctc_{stream}"


@functools.partial(jax.jit, static_argnums=(0, 3))
def _scored(
  head: ClipClasses, params: Params, hidden_BTD: jax.Array, products: str | None
) -> jax.Array:
  return head.log_probs(params, hidden_BTD, products)
