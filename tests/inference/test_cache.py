import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm.inference import cache


@pytest.mark.parametrize("apart", [False, True])
def test_rows_of_all_sequences_go_into_the_next_slot(apart):
  keys = jnp.arange(2 * 4.0).reshape(1, 2, 4, 1, 1)
  positions_BP = jnp.array([[-1, -1, 0, 1], [0, 1, 2, 3]])
  filled = cache.fill((keys, -keys), positions_BP, 5, apart)
  assert filled.keys[0].shape == (2, 1, 5, 1)
  new = jnp.full((1, 2, 1, 1, 1), 9.0)
  new = ((new[0],), (-new[0],)) if apart else (new, -new)
  after = cache.extend(cache.grow(filled, 6), new, jnp.array([2, 4]))
  np.testing.assert_array_equal(after.positions_BJ, [[-1, -1, 0, 1, 2, -1], [0, 1, 2, 3, 4, -1]])
  keys_BJ = after.keys[0][:, 0, :, 0]
  np.testing.assert_array_equal(keys_BJ, [[0, 1, 2, 3, 9, 0], [4, 5, 6, 7, 9, 0]])
  np.testing.assert_array_equal(after.values[0], -after.keys[0])
  assert int(after.used) == 5
