"""BEST-RQ's labels, masks and loss."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm.batch import ClipBatch
from audiopalm.errors import ConfigError
from audiopalm.models.speech_encoder import SpeechEncoder
from audiopalm.objectives import random_projection
from audiopalm.objectives.random_projection import RandomProjection
from audiopalm.settings import Machine

SMALL = SpeechEncoder(layers=1, width=16, heads=2, hidden=24, mels=20, classes=32)
MODEL = SMALL.build(types.SimpleNamespace(padded=(0,)))
ONE = Machine(name="one", fsdp=1)


def clips(draws, samples=32_000, length=None):
  random = np.random.default_rng(0)
  wave_BS = random.normal(0, 0.1, (len(draws), samples)).astype(np.float32)
  lengths_B = np.full(len(draws), length or samples, np.int32)
  wave_BS[:, lengths_B[0] :] = 0
  return jax.tree.map(
    jnp.asarray,
    ClipBatch(wave_BS, lengths_B, {}, np.array(draws, np.uint32), np.zeros(len(draws), np.int32)),
  )


@pytest.fixture(scope="module")
def variables():
  return RandomProjection().variables(MODEL, None, jax.random.key(0))


@pytest.fixture(scope="module")
def params():
  from audiopalm import sharding

  return MODEL.init(jax.random.key(1), sharding.mesh(ONE))


@functools.partial(jax.jit, static_argnums=0)
def losses(objective, params, variables, batch):
  found, after = objective.losses(
    MODEL, params, variables, batch, key=jax.random.key(3), train=False, step=0, machine=ONE
  )
  return found["model"], after


@functools.partial(jax.jit, static_argnums=(0, 2))
def masks(objective, draw_B, shape):
  return objective.masks(draw_B, shape, 4)


def test_a_label_is_the_code_of_the_smallest_angle_to_the_projection(variables):
  mel_BTM = jax.random.normal(jax.random.key(0), (2, 10, 20))
  found = random_projection.labels(variables, mel_BTM, 4)
  assert found.shape == (2, 2)
  stacked = np.asarray(mel_BTM[1, 4:8]).reshape(-1)
  projected = stacked @ np.asarray(variables["projection"])
  distances = np.linalg.norm(
    np.asarray(variables["codebook"]) - projected / np.linalg.norm(projected), axis=1
  )
  assert int(found[1, 1]) == int(np.argmin(distances))


def test_codes_have_length_1_and_the_projection_is_xavier_uniform(variables):
  np.testing.assert_allclose(np.linalg.norm(variables["codebook"], axis=1), 1, atol=1e-5)
  limit = np.sqrt(6 / (80 + 16))
  assert np.abs(variables["projection"]).max() <= limit
  assert np.std(variables["projection"]) == pytest.approx(limit / np.sqrt(3), rel=0.1)


def test_masks_cover_the_share_that_their_probability_gives():
  objective = RandomProjection()
  masked_BU, _, noise_BTM = masks(objective, jnp.arange(400, dtype=jnp.uint32), (400, 200, 20))
  begins = 1 - 0.99**4
  # A frame is free where no mask began at it or at the nine frames before.
  first_U = 1 - (1 - begins) ** np.minimum(np.arange(50) + 1, 10)
  np.testing.assert_allclose(np.asarray(masked_BU).mean(axis=0), first_U, atol=0.1)
  assert np.asarray(masked_BU).mean() == pytest.approx(first_U.mean(), abs=0.02)
  assert np.asarray(noise_BTM).std() == pytest.approx(1, abs=0.01)


def test_a_mask_depends_on_what_was_drawn_for_its_clip_alone():
  objective = RandomProjection()
  together, _, _ = masks(objective, jnp.array([5, 6, 7], jnp.uint32), (3, 80, 20))
  alone, _, _ = masks(objective, jnp.array([6], jnp.uint32), (1, 80, 20))
  np.testing.assert_array_equal(together[1], alone[0])
  assert not np.array_equal(together[0], together[1])


def test_the_loss_counts_masked_frames_inside_the_clip_alone(params, variables):
  objective = RandomProjection(mask_probability=0.05)
  batch = clips([1, 2, 3], length=16_000)
  found, after = losses(objective, params, variables, batch)
  masked_BU, _, _ = masks(objective, batch.draw_B, (3, 200, 20))
  assert float(found.weight) == np.asarray(masked_BU)[:, :25].sum() > 0
  jax.tree.map(np.testing.assert_array_equal, after, variables)
  assert float(found.sum / found.weight) == pytest.approx(np.log(32), rel=0.3)


def test_what_is_masked_is_not_heard(params, variables, monkeypatch):
  heard, encode = [], type(MODEL).encode

  def noted(self, params, mel_BTM, *rest):
    heard.append(mel_BTM)
    return encode(self, params, mel_BTM, *rest)

  monkeypatch.setattr(type(MODEL), "encode", noted)
  objective, batch = RandomProjection(mask_probability=0.05), clips([1])
  losses.__wrapped__(objective, params, variables, batch)
  masked_BU, _, noise_BTM = objective.masks(batch.draw_B, (1, 200, 20), 4)
  covered_T = np.repeat(np.asarray(masked_BU[0]), 4)
  mel_TM = np.asarray(MODEL.features(batch)[0][0])
  np.testing.assert_array_equal(heard[0][0][covered_T], 0.1 * np.asarray(noise_BTM[0])[covered_T])
  np.testing.assert_array_equal(heard[0][0][~covered_T], mel_TM[~covered_T])


def test_evaluation_draws_the_same_masks_every_time(params, variables):
  batch = clips([4, 5])
  first, _ = losses(RandomProjection(), params, variables, batch)
  second, _ = losses(RandomProjection(), params, variables, batch)
  assert float(first.sum) == float(second.sum)


def test_invalid_settings_are_an_error_that_says_why():
  with pytest.raises(ConfigError, match="mask_probability must lie between 0 and 1, got 1"):
    RandomProjection(mask_probability=1)
  with pytest.raises(ConfigError, match="mask_s above 0"):
    RandomProjection(mask_s=0)
