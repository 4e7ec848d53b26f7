"""Strided convolution over time, computed as one matrix product of concatenated frames."""

import jax
import jax.numpy as jnp
from flax import nnx

from audiopalm.nn import layers


class Strided(nnx.Module):
  """A convolution of width `stride` + 1 and step `stride`: [B, T, C] -> [B, T / stride, D].

  Output frame u sees input frames stride * u - 1 to stride * u + stride - 1, zero-padded at the
  start.
  """

  def __init__(self, channels: int, width: int, stride: int, key: jax.Array):
    into = (stride + 1) * channels
    self.kernel = layers.normal(key, (into, width), into**-0.5, (None, "embed"))
    self.bias = nnx.Param(jnp.zeros(width), axes=("norm",))
    self.stride = stride

  def __call__(self, x_BTC: jax.Array, products: str | None = None) -> jax.Array:
    frames = x_BTC.shape[1] // self.stride * self.stride
    padded_BTC = jnp.pad(x_BTC[:, :frames], ((0, 0), (1, 0), (0, 0)))
    neighbors = [
      padded_BTC[:, shift : shift + frames : self.stride] for shift in range(self.stride + 1)
    ]
    joined_BUC = jnp.concatenate(neighbors, axis=-1)
    y_BUD = layers.linear(joined_BUC, self.kernel[...], 1, products)
    return y_BUD + self.bias[...].astype(y_BUD.dtype)
