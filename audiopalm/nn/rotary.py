"""Rotary position embedding (RoFormer, arXiv:2104.09864) and the two ways long-context models
stretch it."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class LinearScaling:
  """Positions divided by `factor` (arXiv:2306.15595): Gemma 3, 4B and larger."""

  factor: float = 8.0

  def __call__(self, frequencies_h):
    return frequencies_h / self.factor


@dataclasses.dataclass(frozen=True)
class Llama3Scaling:
  """Slow frequencies divided by `factor`, fast ones kept, a ramp between (Llama 3.1,
  arXiv:2407.21783).

  A frequency is fast if it turns more than `high` times within `original_rows`, slow if less than
  `low` times.
  """

  factor: float = 8.0
  low: float = 1.0
  high: float = 4.0
  original_rows: int = 8192

  def __call__(self, frequencies_h):
    turns_h = self.original_rows * frequencies_h / (2 * math.pi)
    keep_h = np.clip((turns_h - self.low) / (self.high - self.low), 0, 1)
    return frequencies_h * (keep_h + (1 - keep_h) / self.factor)


def frequencies(head_width: int, base: float, scaling=None) -> np.ndarray:
  """Returns the angle per position of each pair of values, float32 [H / 2]: base^(-2i / H),
  scaled."""
  frequencies_h = base ** (-np.arange(0, head_width, 2) / head_width)
  return np.float32(frequencies_h if scaling is None else scaling(frequencies_h))


def angles(positions_BL, frequencies_h):
  """Returns (cosines, sines), each float32 [B, L, 1, H / 2], the same for all heads."""
  angles_BLh = positions_BL[..., None].astype(jnp.float32) * frequencies_h
  return jnp.cos(angles_BLh)[:, :, None], jnp.sin(angles_BLh)[:, :, None]


def rotate(x_BLNH, rotation):
  """Returns x with each pair (i, i + H / 2) turned by its angle: the half-split order of Llama and
  Gemma weights."""
  cosines, sines = rotation
  first, second = jnp.split(x_BLNH.astype(jnp.float32), 2, axis=-1)
  turned = jnp.concatenate(
    [first * cosines - second * sines, second * cosines + first * sines], axis=-1
  )
  return turned.astype(x_BLNH.dtype)
