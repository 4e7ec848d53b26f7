import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm.nn import rotary


def test_one_pair_turns_by_its_position():
  frequencies = rotary.frequencies(4, 100.0)
  np.testing.assert_allclose(frequencies, [1.0, 0.1])
  rotation = rotary.angles(jnp.array([[0, 2]]), frequencies)
  x_BLNH = jnp.tile(jnp.array([1.0, 0.0, 0.0, 1.0]), (1, 2, 1, 1))
  turned = rotary.rotate(x_BLNH, rotation)[0, :, 0]
  np.testing.assert_allclose(turned[0], [1, 0, 0, 1], atol=1e-7)
  wanted = [np.cos(2), -np.sin(0.2), np.sin(2), np.cos(0.2)]
  np.testing.assert_allclose(turned[1], wanted, atol=1e-6)


def test_products_depend_on_distance_alone():
  rng = np.random.default_rng(0)
  query, key = jnp.asarray(rng.normal(size=(2, 1, 1, 1, 8)), jnp.float32)

  def product(i, j):
    turned = [
      rotary.rotate(x, rotary.angles(jnp.array([[row]]), rotary.frequencies(8, 1e4)))
      for x, row in ((query, i), (key, j))
    ]
    return float(jnp.sum(turned[0] * turned[1]))

  assert product(7, 4) == pytest.approx(product(103, 100), abs=1e-4)


def test_llama3_keeps_fast_frequencies_and_slows_slow_ones():
  scaling = rotary.Llama3Scaling(factor=8.0, low=1.0, high=4.0, original_rows=64)
  frequencies = 2 * np.pi / np.array([8.0, 16.0, 32.0, 64.0, 128.0])  # turns: 8, 4, 2, 1, 1/2
  ratio = scaling(frequencies) / frequencies
  np.testing.assert_allclose(ratio, [1, 1, 1 / 3 + 2 / 3 / 8, 1 / 8, 1 / 8])


def test_linear_scaling_divides_every_frequency():
  plain = rotary.frequencies(8, 1e4)
  np.testing.assert_allclose(rotary.frequencies(8, 1e4, rotary.LinearScaling(4.0)), plain / 4)
