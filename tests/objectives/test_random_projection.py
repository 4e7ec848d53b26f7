"""BEST-RQ's labels and loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm.errors import ConfigError
from audiopalm.nn import fronts
from audiopalm.objectives import random_projection
from audiopalm.objectives.clip_losses import ClipLosses
from audiopalm.objectives.random_projection import RandomProjection
from audiopalm.objectives.spans import Spans

LOSS = RandomProjection(bins=20)
BEST_RQ = ClipLosses((LOSS,), Spans(0.1, noise=0.1))


@pytest.fixture(scope="module")
def variables(clip_models):
  return LOSS.variables(clip_models.model(), jax.random.key(0))


def test_a_label_is_the_code_of_the_smallest_angle_to_the_projection(variables):
  mel_BTM = jax.random.normal(jax.random.key(0), (2, 5, 20))
  found = random_projection.labels(variables, mel_BTM, 2)
  assert found.shape == (2, 2)
  stacked = np.asarray(mel_BTM[1, 2:4]).reshape(-1)
  projected = stacked @ np.asarray(variables["projection"])
  distances = np.linalg.norm(
    np.asarray(variables["codebook"]) - projected / np.linalg.norm(projected), axis=1
  )
  assert int(found[1, 1]) == int(np.argmin(distances))


def test_codes_have_length_1_and_the_projection_is_xavier_uniform(variables):
  np.testing.assert_allclose(np.linalg.norm(variables["codebook"], axis=1), 1, atol=1e-5)
  limit = np.sqrt(6 / (40 + 16))
  assert np.abs(variables["projection"]).max() <= limit
  assert np.std(variables["projection"]) == pytest.approx(limit / np.sqrt(3), rel=0.1)


def test_the_loss_counts_masked_states_inside_the_clip_alone(clip_models):
  batch = clip_models.clips((8_000, 8_000, 8_000))
  found = clip_models.loss(BEST_RQ, clip_models.model(), batch)
  masked_BT = BEST_RQ.mask.masks(jnp.asarray(batch.draw_B), 50, 50.0)
  assert float(found.weight) == np.asarray(masked_BT)[:, :25].sum() > 0
  assert float(found.sum / found.weight) == pytest.approx(np.log(32), rel=0.4)


def test_what_is_masked_is_not_heard(clip_models, monkeypatch):
  model, batch = clip_models.model(), clip_models.clips((16_000,))
  heard, frames = [], type(model).frames

  def noted(self, params, features, *rest):
    heard.append(features)
    return frames(self, params, features, *rest)

  monkeypatch.setattr(type(model), "frames", noted)
  variables = {"random_projection": LOSS.variables(model, jax.random.key(0))}
  options = {"key": jax.random.key(3), "train": False, "step": 0, "machine": clip_models.ONE}
  arrays = jax.tree.map(jnp.asarray, batch)
  BEST_RQ.losses(model, clip_models.params(model), variables, arrays, **options)
  draw_B = jnp.asarray(batch.draw_B)
  masked_BT = BEST_RQ.mask.masks(draw_B, 50, 50.0)
  mel_BTM = fronts.normed_log_mel(batch.wave_BS, batch.samples_B, 20)
  expected = BEST_RQ.mask.in_noise(draw_B, masked_BT, mel_BTM)
  np.testing.assert_allclose(heard[0], expected, atol=1e-6)
  assert np.abs(heard[0] - mel_BTM).max() > 0.5


def test_waves_cannot_be_masked_by_noise_in_their_spectrum(clip_models):
  model = clip_models.model(clip_models.WAVE, "post", clip_models.BUCKETS, clip_models.CONVOLVED)
  with pytest.raises(ConfigError, match=r"Spans\(noise=...\) masks frames of a spectrum, but the"):
    clip_models.loss(BEST_RQ, model, clip_models.clips())


def test_invalid_settings_are_an_error_that_says_why():
  with pytest.raises(ConfigError, match="has bins=0 that end at high_hz=7600, expected at"):
    RandomProjection(bins=0)
  with pytest.raises(ConfigError, match="code_width must be at least 1, got 0"):
    RandomProjection(code_width=0)
