"""Rotary position embedding (RoFormer, arXiv:2104.09864), with two scalings for long contexts."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class LinearScaling:
  """Divides positions by `factor` (arXiv:2306.15595), as Gemma 3 does from 4B on."""

  factor: float = 8.0

  def __call__(self, frequencies_h: np.ndarray) -> np.ndarray:
    return frequencies_h / self.factor


@dataclasses.dataclass(frozen=True)
class Llama3Scaling:
  """Divides low frequencies by `factor`, keeps high ones and interpolates between (Llama 3.1).

  A frequency is high if it completes more than `high` periods in `original_rows`, low if it
  completes fewer than `low`. Source: arXiv:2407.21783.
  """

  factor: float = 8.0
  low: float = 1.0
  high: float = 4.0
  original_rows: int = 8192

  def __call__(self, frequencies_h: np.ndarray) -> np.ndarray:
    periods_h = self.original_rows * frequencies_h / (2 * math.pi)
    keep_h = np.clip((periods_h - self.low) / (self.high - self.low), 0, 1)
    return frequencies_h * (keep_h + (1 - keep_h) / self.factor)


# of every position: (cosines, sines), float32 [B, L, 1, H / 2] each
Angles = tuple[jax.Array, jax.Array]


def frequencies(
  head_width: int, base: float, scaling: LinearScaling | Llama3Scaling | None = None
) -> np.ndarray:
  """Returns float32 [H / 2]: the angle per position of each pair of values, base^(-2i / H)."""
  frequencies_h = base ** (-np.arange(0, head_width, 2) / head_width)
  return np.float32(frequencies_h if scaling is None else scaling(frequencies_h))


def angles(positions_BL: jax.Array, frequencies_h: np.ndarray) -> Angles:
  """Returns the angles of every position."""
  angles_BLh = positions_BL[..., None].astype(jnp.float32) * frequencies_h
  return jnp.cos(angles_BLh)[:, :, None], jnp.sin(angles_BLh)[:, :, None]


def rotate(x_BLNH: jax.Array, rotation: Angles) -> jax.Array:
  """Returns x with each pair (i, i + H / 2) rotated by its angle, as in the weights of Llama and
  Gemma."""
  cosines, sines = rotation
  first, second = jnp.split(x_BLNH.astype(jnp.float32), 2, axis=-1)
  rotated = jnp.concatenate(
    [first * cosines - second * sines, second * cosines + first * sines], axis=-1
  )
  return rotated.astype(x_BLNH.dtype)
