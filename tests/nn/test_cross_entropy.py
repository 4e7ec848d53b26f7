"""The chunked loss is the plain one, in a fraction of its memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm.nn import cross_entropy


def plain(hidden_BLD, table_VD, tokens_BL, size, softcap=None):
  """Returns what `cross_entropy` returns, written down as it is defined."""
  logits = jnp.einsum("BLD,VD->BLV", hidden_BLD, table_VD)
  if softcap is not None:
    logits = softcap * jnp.tanh(logits / softcap)
  logits = logits[..., :size]
  log_z = jax.nn.logsumexp(logits, axis=-1)
  score = jnp.take_along_axis(logits, tokens_BL[..., None], axis=-1)[..., 0]
  return log_z - score, log_z, (score >= logits.max(axis=-1)).astype(jnp.float32)


def chunked(hidden_BLD, table_VD, tokens_BL, size, softcap=None, chunk_cells=1_024):
  settings = cross_entropy.Settings(size, chunk_cells, softcap)
  return cross_entropy.cross_entropy(hidden_BLD, table_VD, tokens_BL, settings)


def total(score, hidden_BLD, table_VD, tokens_BL):
  nll, log_z, _ = score(hidden_BLD, table_VD, tokens_BL)
  weights = jnp.sin(jnp.arange(nll.size).reshape(nll.shape))  # also negative ones
  return jnp.sum(weights * nll) + 0.1 * jnp.sum(jnp.square(log_z))


def made(rows, length, vocabulary, width):
  keys = jax.random.split(jax.random.key(0), 3)
  return (
    jax.random.normal(keys[0], (rows, length, width)),
    jax.random.normal(keys[1], (vocabulary, width)) * width**-0.5,
    jax.random.randint(keys[2], (rows, length), 0, vocabulary - 5),
  )


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize(
  ("shape", "chunk_cells"),
  [
    ((3, 7, 64, 8), 5),
    ((3, 7, 64, 8), 100),
    ((2, 256, 8_192, 16), 128),
    pytest.param((2, 1_024, 32_768, 16), 512, marks=pytest.mark.long),
  ],
)
def test_value_and_gradients_are_those_of_the_definition(shape, chunk_cells, softcap):
  arrays = made(*shape)
  size = shape[2] - 5  # the last rows only pad the table
  ours = functools.partial(chunked, size=size, softcap=softcap, chunk_cells=chunk_cells)
  wanted = functools.partial(plain, size=size, softcap=softcap)
  for a, b in zip(ours(*arrays), wanted(*arrays), strict=True):
    np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6)
  found, reference = (
    jax.jit(jax.value_and_grad(functools.partial(total, score), argnums=(0, 1)))(*arrays)
    for score in (ours, wanted)
  )
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(reference), strict=True):
    assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max()


def test_a_vocabulary_of_256k_takes_a_fifth_of_the_memory():
  vocabulary, width = 257_152, 512
  shapes = (
    jax.ShapeDtypeStruct((8, 2_048, width), jnp.bfloat16),
    jax.ShapeDtypeStruct((vocabulary, width), jnp.float32),
    jax.ShapeDtypeStruct((8, 2_048), jnp.int32),
  )

  def temporaries(score):
    step = jax.jit(jax.value_and_grad(functools.partial(total, score), argnums=(0, 1)))
    return step.lower(*shapes).compile().memory_analysis().temp_size_in_bytes

  whole = temporaries(functools.partial(plain, size=vocabulary))
  parts = temporaries(functools.partial(chunked, size=vocabulary, chunk_cells=1_024))
  assert whole >= 5 * parts, (whole, parts)


def test_gradients_of_a_bfloat16_model_are_summed_in_float32():
  hidden, table, tokens = made(4, 512, 256, 16)
  tokens = jnp.zeros_like(tokens)  # one row of the table has all the gradient
  score = functools.partial(chunked, size=256, chunk_cells=16)

  def gradient(dtype):
    return jax.grad(lambda t: total(score, hidden.astype(dtype), t, tokens))(table)

  exact, found = gradient(jnp.float32), gradient(jnp.bfloat16)
  assert found.dtype == jnp.float32
  assert np.abs(found - exact).max() <= 1e-2 * np.abs(exact).max()
