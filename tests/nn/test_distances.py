"""Relative positions against sums over pairs of rows, written out."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm.nn import distances, layers


@pytest.mark.parametrize("kernel", (12, 7, 8))
def test_convolved_positions_equal_a_sum_over_taps(kernel):
  settings = distances.ConvolutionSettings(kernel, groups=2)
  module = distances.ConvolvedPositions(settings, 6, jax.random.key(0))
  x_TD = np.random.default_rng(0).normal(0, 1, (9, 6)).astype(np.float32)
  kernel_KCD = np.asarray(module.convolution.kernel[...])
  wanted_TD = np.zeros((9, 6))
  for frame in range(9):
    for tap in range(kernel):
      seen = frame + tap - kernel // 2
      if 0 <= seen < 9:
        for group in (0, 1):
          part = slice(3 * group, 3 * group + 3)
          wanted_TD[frame, part] += x_TD[seen, part] @ kernel_KCD[tap, :, part]
  found_BTD = module(jnp.asarray(x_TD[None]))
  np.testing.assert_allclose(found_BTD[0], layers.gelu(jnp.asarray(wanted_TD)), atol=1e-5)


def bucket(distance, count, farthest):
  """Returns the bucket of one distance."""
  half, far = count // 2, abs(distance)
  exact = half // 2
  if far >= exact:
    share = math.log(far / exact) / math.log(farthest / exact)
    far = min(exact + int(share * (half - exact)), half - 1)
  return far + (half if distance > 0 else 0)


def test_bucket_bias_looks_up_the_bucket_of_each_distance():
  settings = distances.Buckets(16, 20)
  table_EN = np.random.default_rng(0).normal(0, 1, (16, 3)).astype(np.float32)
  bias_1NLJ = distances.bucket_bias(jnp.asarray(table_EN), settings, 30)
  assert bias_1NLJ.shape == (1, 3, 30, 30)
  for row, key in np.ndindex(30, 30):
    np.testing.assert_array_equal(bias_1NLJ[0, :, row, key], table_EN[bucket(key - row, 16, 20)])


@pytest.mark.parametrize(("start", "rows"), ((0, 9), (0, 4), (4, 4), (8, 4)))
def test_clipped_bias_is_the_product_with_the_key_of_the_distance(start, rows):
  settings = distances.Clipped(before=3, after=2)
  random = np.random.default_rng(0)
  table_EH = random.normal(0, 1, (6, 4)).astype(np.float32)
  query_BNRH = random.normal(0, 1, (2, 3, rows, 4)).astype(np.float32)
  found = distances.clipped_bias(
    jnp.asarray(query_BNRH), jnp.asarray(table_EH), settings, jnp.int32(start), 9
  )  # fmt: skip
  for row, key in np.ndindex(rows, 9):
    distance = np.clip(key - row - start, -3, 2)
    wanted_BN = query_BNRH[:, :, row] @ table_EH[distance + 3]
    np.testing.assert_allclose(found[:, :, row, key], wanted_BN, atol=1e-5)
