"""A strided convolution against the one of jax.lax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm.nn import conv


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_it_equals_lax_with_one_frame_of_zeros_before(stride):
  layer = conv.Strided(5, 7, stride, jax.random.key(0))
  layer.bias[...] = jax.random.normal(jax.random.key(1), (7,))
  x_BTC = jax.random.normal(jax.random.key(2), (2, 12, 5))
  kernel = layer.kernel[...].reshape(stride + 1, 5, 7)
  expected = jax.lax.conv_general_dilated(
    x_BTC, kernel, (stride,), [(1, 0)], dimension_numbers=("NWC", "WIO", "NWC")
  )
  np.testing.assert_allclose(layer(x_BTC), expected + layer.bias[...], atol=1e-5)


def test_frames_beyond_a_whole_stride_are_left_out():
  layer = conv.Strided(3, 4, 2, jax.random.key(0))
  x_BTC = jax.random.normal(jax.random.key(2), (1, 9, 3))
  assert layer(x_BTC).shape == (1, 4, 4)
  np.testing.assert_array_equal(layer(x_BTC), layer(jnp.asarray(x_BTC)[:, :8]))
