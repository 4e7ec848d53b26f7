"""BEST-RQ: frames that are masked predict the label that a random projection gives them. Source:
Chiu et al. 2022, arXiv:2202.01855, section 3."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from audiopalm import sharding
from audiopalm.batch import ClipBatch
from audiopalm.errors import ConfigError
from audiopalm.models.base import ClipEncoder, Params
from audiopalm.nn import cross_entropy
from audiopalm.objectives.base import Loss, OnePlayer
from audiopalm.settings import Machine

FRAME_S = 0.01


@dataclasses.dataclass(frozen=True)
class RandomProjection(OnePlayer):
  """Cross-entropy of the labels of masked frames; the projection and its codebook never change.

  At each frame of 10 ms a mask of `mask_s` begins with probability `mask_probability`; masked
  frames are noise of standard deviation `noise`. A label is the nearest of the model's classes,
  vectors of `code_width`, to the projection of the frames of one output.
  """

  mask_probability: float = 0.01
  mask_s: float = 0.4
  noise: float = 0.1
  code_width: int = 16

  def __post_init__(self):
    if not 0 < self.mask_probability < 1:
      raise ConfigError(
        f"RandomProjection.mask_probability must lie between 0 and 1, got {self.mask_probability}."
      )
    if self.mask_s <= 0 or self.noise < 0 or self.code_width < 1:
      raise ConfigError(
        "RandomProjection needs mask_s above 0, noise of at least 0 and code_width of at least 1, "
        f"got {self.mask_s}, {self.noise} and {self.code_width}."
      )

  def variables(self, model: ClipEncoder, params: Params, key: jax.Array) -> Params:
    """Returns the projection (Xavier's uniform) and the codebook, vectors of length 1."""
    projection, codebook = jax.random.split(key)
    into = model.stride * model.bins
    limit = math.sqrt(6 / (into + self.code_width))
    codes_VE = jax.random.normal(codebook, (model.classes, self.code_width))
    return {
      "projection": jax.random.uniform(
        projection, (into, self.code_width), minval=-limit, maxval=limit
      ),
      "codebook": codes_VE / jnp.linalg.norm(codes_VE, axis=-1, keepdims=True),
    }

  def variable_axes(self, model: ClipEncoder) -> dict[str, tuple]:
    return {"projection": (None, None), "codebook": (None, None)}

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
    """Returns ({"model": Loss}, variables); metrics are nll_speech and accuracy_speech.

    Each clip has a seed of its own for its mask, so devices and micro-batches do not change it.
    `key` is for dropout.
    """
    mel_BTM, valid_BU = model.features(batch)
    labels_BU = labels(variables, mel_BTM, model.stride)
    masked_BU, covered_BT, noise_BTM = self.masks(batch.draw_B, mel_BTM.shape, model.stride)
    heard_BTM = jnp.where(covered_BT[..., None], self.noise * noise_BTM, mel_BTM)
    hidden_BUD = model.encode(params, heard_BTM, valid_BU, machine, key if train else None)
    settings = cross_entropy.Settings(
      model.classes, machine.loss_chunk_cells, products=machine.products
    )
    nll_BU, _, correct_BU = cross_entropy.cross_entropy(
      hidden_BUD, model.table(params), labels_BU, settings
    )
    weight_BU = (masked_BU & valid_BU).astype(jnp.float32)
    total, weight = jnp.sum(nll_BU * weight_BU), jnp.sum(weight_BU)
    metrics = {
      "nll_speech": (jax.lax.stop_gradient(total), weight),
      "accuracy_speech": (jnp.sum(correct_BU * weight_BU), weight),
    }
    return {"model": Loss(total, weight, metrics)}, variables

  def masks(
    self, draw_B: jax.Array, shape: tuple[int, ...], stride: int
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns (masked_BU, covered_BT, noise_BTM) for features of a shape [B, T, M]: the states that
    are masked, their frames, and what these hold instead; each clip's from its own key."""
    draw = functools.partial(
      _draw,
      shape=shape[1:],
      stride=stride,
      begins=1 - (1 - self.mask_probability) ** stride,
      span=max(1, round(self.mask_s / FRAME_S / stride)),
    )
    batch = PartitionSpec(*sharding.layout_of(draw_B))
    frames = PartitionSpec(*batch, None)
    specs = frames, frames, PartitionSpec(*frames, None)
    return sharding.mapped(draw, (batch,), specs)(draw_B)


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


def _draw(
  draw_B: jax.Array, *, shape: tuple[int, int], stride: int, begins: float, span: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
  frames, bins = shape
  whole = frames // stride

  def one(word):
    mask_key, noise_key = jax.random.split(jax.random.fold_in(jax.random.key(0), word))
    starts_U = jax.random.bernoulli(mask_key, begins, (whole,)).astype(jnp.int32)
    begun_U = jnp.cumsum(starts_U)
    before_U = jnp.pad(begun_U, (span, 0))[:whole]
    masked_U = begun_U > before_U
    covered_T = jnp.pad(jnp.repeat(masked_U, stride), (0, frames - whole * stride))
    return masked_U, covered_T, jax.random.normal(noise_key, (frames, bins))

  return jax.vmap(one)(draw_B)
