"""BEST-RQ: masked states predict the label that a random projection gives what they do not hear.
Source: Chiu et al. 2022, arXiv:2202.01855, section 3."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from audiopalm.errors import ConfigError
from audiopalm.models.base import ClipClasses, ClipEncoder, Params
from audiopalm.nn import fronts, log_mel
from audiopalm.objectives import clip_losses
from audiopalm.objectives.base import Loss
from audiopalm.objectives.clip_losses import Heard


@dataclasses.dataclass(frozen=True)
class RandomProjection:
  """Cross-entropy of the labels of masked states; the projection and its codebook never change.

  A label is the nearest of the classes of the model's head `head`, vectors of `code_width`, to the
  projection of the log-mel frames of one state, in `bins` bins up to `high_hz`, normed over the
  clip.
  """

  bins: int = 80
  high_hz: float = log_mel.HIGH_HZ
  code_width: int = 16
  head: str = "labels"
  weight: float = 1.0

  name = "random_projection"
  layers = (None,)

  def __post_init__(self):
    fronts.check_band(self.bins, self.high_hz)
    if self.code_width < 1:
      raise ConfigError(f"RandomProjection.code_width must be at least 1, got {self.code_width}.")

  def variables(self, model: ClipEncoder, key: jax.Array) -> Params:
    """Returns the projection (Xavier's uniform) and the codebook, vectors of length 1."""
    projection, codebook = jax.random.split(key)
    into = self._stride(model) * self.bins
    limit = math.sqrt(6 / (into + self.code_width))
    codes_VE = jax.random.normal(codebook, (self._head(model).size, self.code_width))
    return {
      "projection": jax.random.uniform(
        projection, (into, self.code_width), minval=-limit, maxval=limit
      ),
      "codebook": codes_VE / jnp.linalg.norm(codes_VE, axis=-1, keepdims=True),
    }

  def variable_axes(self, model: ClipEncoder) -> dict[str, tuple]:
    return {"projection": (None, None), "codebook": (None, None)}

  def loss(self, heard: Heard, variables: Params) -> Loss:
    """Returns the loss; metrics are nll_speech and accuracy_speech."""
    batch, head = heard.batch, self._head(heard.model)
    mel_BTM = fronts.normed_log_mel(batch.wave_BS, batch.samples_B, self.bins, self.high_hz)
    labels_BT = labels(variables, mel_BTM, self._stride(heard.model))
    states = heard.valid_BT.shape[1]
    beyond = max(0, states - labels_BT.shape[1])  # of a front whose last frame is not whole
    labels_BT = jnp.pad(labels_BT, ((0, 0), (0, beyond)))[:, :states]
    params = heard.head_params(self.head)
    scores = head.scored(params, heard.hidden(None), labels_BT, heard.machine)
    weight_BT = heard.masked_BT.astype(jnp.float32)
    metrics = clip_losses.scored("speech", scores.nll_BL, scores.correct_BL, weight_BT)
    return Loss(jnp.sum(scores.nll_BL * weight_BT), jnp.sum(weight_BT), metrics)

  def _head(self, model: ClipEncoder) -> ClipClasses:
    return model.class_head(self.head, "RandomProjection")

  def _stride(self, model: ClipEncoder) -> int:
    """Returns how many log-mel frames a state has."""
    return max(1, model.hop_samples // log_mel.HOP)


def labels(variables: Params, mel_BTM: jax.Array, stride: int) -> jax.Array:
  """Returns labels_BU: for every `stride` frames the code nearest to their projection."""
  whole = mel_BTM.shape[1] // stride
  frames = [mel_BTM[:, first : whole * stride : stride] for first in range(stride)]
  stacked_BUF = jnp.concatenate(frames, axis=-1)
  projected_BUE = jnp.einsum(
    "BUF,FE->BUE", stacked_BUF, variables["projection"], precision="highest"
  )
  # Codes have length 1: the nearest to a projection of length 1 is that of the largest product.
  scores_BUV = jnp.einsum("BUE,VE->BUV", projected_BUE, variables["codebook"], precision="highest")
  return jnp.argmax(scores_BUV, axis=-1).astype(jnp.int32)
