"""Masks of clips: how much they cover, and what they depend on."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm.errors import ConfigError
from audiopalm.objectives.spans import Spans


@functools.partial(jax.jit, static_argnums=(0, 2, 3))
def masks(spans, draw_B, states, rate_hz):
  return spans.masks(draw_B, states, rate_hz)


def test_masks_cover_the_share_that_their_probability_gives():
  masked_BT = np.asarray(masks(Spans(0.04, 0.4), jnp.arange(400, dtype=jnp.uint32), 50, 25.0))
  # A state is free where no span began at it or at the nine states before.
  expected_T = 1 - 0.96 ** np.minimum(np.arange(50) + 1, 10)
  np.testing.assert_allclose(masked_BT.mean(axis=0), expected_T, atol=0.1)
  assert masked_BT.mean() == pytest.approx(expected_T.mean(), abs=0.02)


def test_a_mask_depends_on_what_was_drawn_for_its_clip_alone():
  together = masks(Spans(), jnp.array([5, 6, 7], jnp.uint32), 80, 50.0)
  alone = masks(Spans(), jnp.array([6], jnp.uint32), 80, 50.0)
  np.testing.assert_array_equal(together[1], alone[0])
  assert not np.array_equal(together[0], together[1])


def test_noise_stands_in_the_frames_that_masked_states_hear():
  masked_BT = jnp.array([[True, False, True]])
  features_BTE = jnp.ones((1, 13, 20))
  noisy = Spans(noise=0.1).in_noise(jnp.array([3], jnp.uint32), masked_BT, features_BTE)
  covered_T = np.repeat([True, False, True, False], [4, 4, 4, 1])
  assert (np.asarray(noisy)[0, ~covered_T] == 1).all()
  assert np.asarray(noisy)[0, covered_T].std() == pytest.approx(0.1, rel=0.2)


def test_invalid_settings_are_an_error_that_says_why():
  with pytest.raises(ConfigError, match="Spans.probability must lie between 0 and 1, got 1"):
    Spans(probability=1)
  with pytest.raises(ConfigError, match="Spans needs seconds above 0 and noise of at least 0"):
    Spans(seconds=0)
