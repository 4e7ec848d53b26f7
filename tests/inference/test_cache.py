import jax.numpy as jnp
import numpy as np

from audiopalm.inference import cache


def test_rows_of_all_sequences_go_into_the_next_slot():
  keys = jnp.arange(2 * 4.0).reshape(1, 2, 4, 1, 1)
  positions_BP = jnp.array([[-1, -1, 0, 1], [0, 1, 2, 3]])
  filled = cache.filled((keys, -keys), positions_BP, 6)
  assert filled.keys.shape == (1, 2, 6, 1, 1)
  new = jnp.full((1, 2, 1, 1, 1), 9.0)
  after = cache.extended(filled, (new, -new), jnp.array([2, 4]))
  np.testing.assert_array_equal(after.positions_BJ, [[-1, -1, 0, 1, 2, -1], [0, 1, 2, 3, 4, -1]])
  np.testing.assert_array_equal(after.keys[0, :, :, 0, 0], [[0, 1, 2, 3, 9, 0], [4, 5, 6, 7, 9, 0]])
  np.testing.assert_array_equal(after.values, -after.keys)
  assert int(after.used) == 5
