import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm.nn import layers


@pytest.mark.parametrize("contracted", [1, 2])
def test_linear_and_its_gradients_equal_einsum(contracted):
  x_shape, kernel_shape = ((2, 3, 4), (4, 2, 5)) if contracted == 1 else ((2, 3, 4, 2), (4, 2, 5))
  equation = "BLD,DNH->BLNH" if contracted == 1 else "BLNH,NHD->BLD"
  keys = jax.random.split(jax.random.key(0), 2)
  x, kernel = jax.random.normal(keys[0], x_shape), jax.random.normal(keys[1], kernel_shape)

  def ours(x, kernel):
    return jnp.sum(jnp.sin(layers.linear(x, kernel, contracted)))

  def plain(x, kernel):
    return jnp.sum(jnp.sin(jnp.einsum(equation, x, kernel)))

  for found, wanted in zip(
    jax.grad(ours, argnums=(0, 1))(x, kernel), jax.grad(plain, argnums=(0, 1))(x, kernel),
    strict=True,
  ):  # fmt: skip
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_linear_follows_the_dtype_of_x_and_its_kernel_gradient_stays_float32():
  x, kernel = jnp.ones((2, 3), jnp.bfloat16), jnp.ones((3, 4))
  assert layers.linear(x, kernel).dtype == jnp.bfloat16
  grads = jax.grad(lambda k: layers.linear(x, k).astype(jnp.float32).sum())(kernel)
  assert grads.dtype == jnp.float32


def test_rms_norm_gives_unit_mean_square_and_an_offset_scale_starts_at_one():
  x = jnp.array([[3.0, 4.0]])
  wanted = np.array([[3.0, 4.0]]) / np.sqrt(12.5)
  for offset in (False, True):
    np.testing.assert_allclose(layers.RMSNorm(2, 0.0, offset)(x), wanted, rtol=1e-6)


def test_rms_norm_of_bfloat16_is_computed_in_float32():
  x = jnp.full((1, 1000), 300.0, jnp.bfloat16)  # its sum of squares has no room in 8 bits
  np.testing.assert_allclose(layers.rms_norm(x, jnp.ones(1000), 1e-6), 1.0)


def test_dropout_zeroes_its_share_and_keeps_the_mean():
  x = jnp.ones((200, 500))
  dropped = layers.dropout(x, 0.2, jax.random.key(0))
  assert set(np.unique(dropped)) == {0.0, np.float32(1.25)}
  assert abs(float(jnp.mean(dropped == 0)) - 0.2) < 0.01
  assert layers.dropout(x, 0.2, None) is x


def test_layer_norm_has_mean_0_and_deviation_1_before_scale_and_bias():
  x = np.random.default_rng(0).normal(3, 2, (4, 50)).astype(np.float32)
  scale, bias = np.linspace(1, 2, 50, dtype=np.float32), np.float32(0.5)
  centered = x - x.mean(axis=-1, keepdims=True)
  wanted = centered / np.sqrt((centered**2).mean(axis=-1, keepdims=True) + 1e-5) * scale + bias
  np.testing.assert_allclose(layers.layer_norm(x, scale, bias, 1e-5), wanted, atol=1e-5)


def test_gelu_is_exact():
  x = np.linspace(-6, 6, 50, dtype=np.float32)
  wanted = [0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x.tolist()]
  np.testing.assert_allclose(layers.gelu(jnp.asarray(x)), wanted, atol=1e-6)
