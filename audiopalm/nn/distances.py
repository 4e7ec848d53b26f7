"""Relative positions of speech encoders: a grouped convolution, and biases of attention scores by
the distance of a key row from its query row."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from audiopalm.nn import layers


@dataclasses.dataclass(frozen=True)
class ConvolutionSettings:
  """Positions as what a convolution of `kernel` frames in `groups` groups of channels gives.

  Source: wav2vec 2.0, arXiv:2006.11477, section 2.
  """

  kernel: int
  groups: int


@dataclasses.dataclass(frozen=True)
class Buckets:
  """A bias for each head and bucket of distances, with a gate for each row and head.

  Half of the `count` buckets are for later keys. In each half, half of the buckets hold one
  distance each and the others are logarithmic up to `farthest`. Source: WavLM, arXiv:2110.13900.
  """

  count: int
  farthest: int


@dataclasses.dataclass(frozen=True)
class Clipped:
  """A key for each distance, clipped to `before` earlier and `after` later rows; its product with
  the query is added to the score. Source: Shaw et al., arXiv:1803.02155, section 3.2."""

  before: int
  after: int


@dataclasses.dataclass(frozen=True)
class Rotary:
  """No bias: queries and keys are rotated by their positions, as in `nn.rotary`."""

  base: float = 10_000.0


class ConvolvedPositions(nnx.Module):
  """Returns gelu(conv(x)), to be added to x: [B, T, D] -> [B, T, D].

  Frame t of the output sees `kernel` frames from t - kernel // 2 on, zero where there are none.
  """

  def __init__(self, settings: ConvolutionSettings, width: int, key: jax.Array):
    taps = settings.kernel
    self.convolution = layers.Convolution(width, width, taps, key, groups=settings.groups)
    self.beside = taps // 2, taps - 1 - taps // 2

  def __call__(self, x_BTD: jax.Array) -> jax.Array:
    return layers.gelu(self.convolution(x_BTD, self.beside))


class GatedBuckets(nnx.Module):
  """The gate of each row and head of one layer, from its input: 1 row -> 1 factor of the bias."""

  def __init__(self, heads: int, head_width: int, key: jax.Array):
    self.gate = layers.Dense((head_width,), (2,), ("head_width", None), key)
    self.constant = nnx.Param(jnp.ones(heads), axes=("heads",))

  def __call__(self, x_BLD: jax.Array) -> jax.Array:
    """Returns gate_BNL1."""
    heads = self.constant.shape[0]
    x_BLNH = x_BLD.reshape(*x_BLD.shape[:2], heads, -1)
    gates_BLN2 = jax.nn.sigmoid(self.gate(x_BLNH))
    gate_BLN = gates_BLN2[..., 0] * (gates_BLN2[..., 1] * self.constant[...] - 1.0) + 2.0
    return jnp.swapaxes(gate_BLN, 1, 2)[..., None]


def bucket_bias(table_EN: jax.Array, settings: Buckets, length: int) -> jax.Array:
  """Returns bias_1NLJ, L = J = `length`: the row of the table for the distance of each pair."""
  buckets = _buckets(np.arange(1 - length, length), settings)
  rows_NW = table_EN[buckets].T  # of the distances 1 - length to length - 1
  width = rows_NW.shape[1]
  # Row i is cut out at length - 1 - i: rows that are one longer than their step shift by one each.
  flat = jnp.broadcast_to(rows_NW[:, None], (len(rows_NW), length, width)).reshape(
    -1, length * width
  )
  shifted = flat[:, length - 1 : length - 1 + length * (width - 1)]
  return shifted.reshape(1, -1, length, width - 1)[..., :length]


def _buckets(distances: np.ndarray, settings: Buckets) -> np.ndarray:
  """Returns the bucket of each distance, key row minus query row."""
  half = settings.count // 2
  exact = half // 2
  far = np.abs(distances)
  # float32, in which the published models compute the edges of their buckets
  ratio = np.log(np.maximum(far, 1).astype(np.float32) / np.float32(exact))
  ratio = ratio / np.float32(np.log(settings.farthest / exact)) * np.float32(half - exact)
  logarithmic = np.minimum(exact + ratio.astype(np.int64), half - 1)
  return np.where(distances > 0, half, 0) + np.where(far < exact, far, logarithmic)


def clipped_bias(
  query_BNRH: jax.Array, table_EH: jax.Array, settings: Clipped, start: jax.Array, keys: int
) -> jax.Array:
  """Returns bias_BNRJ of the query rows from `start` on over `keys` keys.

  Distances beyond the clip take one of two columns of query x table; the others lie on diagonals,
  which are shifted into place without a lookup for each pair.
  """
  before, after = settings.before, settings.after
  rows = query_BNRH.shape[2]
  scores_BNRE = jnp.einsum(
    "BNRH,EH->BNRE", query_BNRH, table_EH.astype(query_BNRH.dtype),
    preferred_element_type=jnp.float32,
  )  # fmt: skip
  distance_RJ = jnp.arange(keys) - (start + jnp.arange(rows))[:, None]
  far_BNRJ = jnp.where(distance_RJ < -before, scores_BNRE[..., :1], 0)
  far_BNRJ = jnp.where(distance_RJ > after, scores_BNRE[..., -1:], far_BNRJ)
  lead, width = scores_BNRE.shape[:2], before + 1 + after + rows
  padded = jnp.pad(scores_BNRE, ((0, 0), (0, 0), (0, 0), (0, rows))).reshape(*lead, rows * width)
  near = padded[..., : rows * (width - 1)].reshape(*lead, rows, width - 1)
  # Column 0 of `near` is key start - before; `start` is at most one chunk of rows before the end.
  canvas = jnp.zeros((*lead, rows, before + keys + rows + after), near.dtype)
  canvas = lax.dynamic_update_slice(canvas, near, (0, 0, 0, start))
  return far_BNRJ + canvas[..., before : before + keys]
