import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm.errors import ConfigError
from audiopalm.nn import attention


def arrays(rows=6, heads=4, groups=2, width=8):
  keys = jax.random.split(jax.random.key(0), 3)
  query = jax.random.normal(keys[0], (2, rows, heads, width))
  key, value = (jax.random.normal(k, (2, rows, groups, width)) for k in keys[1:])
  return query, key, value, jnp.tril(jnp.ones((2, rows, rows), bool))


@pytest.mark.parametrize("softcap", [None, 2.0])
def test_a_cache_and_a_new_row_equal_the_whole_sequence(softcap):
  query, key, value, mask = arrays()
  whole = attention.xla(query, key, value, mask, softcap, False)
  last = attention.over_cache(
    query[:, 5:], (key[:, :5], key[:, 5:]), (value[:, :5], value[:, 5:]), mask[:, 5:], softcap
  )
  np.testing.assert_allclose(last, whole[:, 5:], atol=1e-6)


def test_an_unseen_row_has_no_gradient_and_padding_is_finite():
  query, key, value, mask = arrays()
  mask = mask.at[:, :, 2].set(False)
  nothing = mask.at[:, 0].set(False)
  assert np.isfinite(attention.xla(query, key, value, nothing, None, True)).all()

  def total(key, value):
    return attention.xla(query, key, value, mask, None, True).sum()

  for grads in jax.grad(total, argnums=(0, 1))(key, value):
    assert np.abs(grads[:, 2]).max() == 0
    assert np.abs(grads[:, 3]).max() > 0


def test_an_unknown_backend_lists_those_there_are():
  with pytest.raises(ConfigError, match="Unknown attention backend 'flash'. Available: xla."):
    attention.backend("flash")
