"""Sums of losses of one pass: their weights, held-out draws, devices, and mixed sound."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm.errors import ConfigError
from audiopalm.objectives.clip_losses import ClipLosses
from audiopalm.objectives.contrastive import Contrastive
from audiopalm.objectives.ctc import CTC
from audiopalm.objectives.masked_units import MaskedUnits
from audiopalm.objectives.mixing import Mixing
from audiopalm.settings import Machine

ALL = ClipLosses(
  (Contrastive(distractors=5, layer=1), MaskedUnits(), CTC(weight=0.3)), mixing=Mixing(0.9, 0.3)
)


def test_auxiliary_losses_add_their_nats_over_the_weight_of_the_first(clip_models):
  model, batch = clip_models.model(), clip_models.clips()
  found = clip_models.loss(ALL, model, batch)
  parts = [clip_models.loss(ClipLosses((part,)), model, batch) for part in ALL.parts]
  np.testing.assert_allclose(found.sum, sum(part.sum for part in parts), rtol=1e-5)
  assert found.weight == parts[0].weight
  for part in parts:
    for name, pair in part.metrics.items():
      np.testing.assert_allclose(found.metrics[name], pair, rtol=1e-5)


def test_devices_together_compute_the_loss_and_gradients_of_one(clip_models):
  m = clip_models
  model = m.model(m.MEL, "conformer", m.BUCKETS, m.CONVOLVED, front_gradient=0.1)
  batch = m.clips()
  eight = Machine(name="eight", data=2, fsdp=2, tensor=2, remat="dots")
  one, of_one = m.loss(ALL, model, batch, train=True, gradients=True)
  all_, of_all = m.loss(ALL, model, batch, machine=eight, train=True, gradients=True)
  np.testing.assert_allclose(all_.sum, one.sum, rtol=1e-5)
  largest = max(np.abs(array).max() for array in jax.tree.leaves(of_one))

  def close(a, b):
    # A key's bias shifts all scores of a row, so its gradient is rounding alone.
    np.testing.assert_allclose(a, b, atol=2e-5 * max(np.abs(a).max(), 1e-2 * largest))

  jax.tree.map(close, of_one, of_all)


def test_what_lies_behind_a_clip_and_beside_it_changes_nothing(clip_models):
  model = clip_models.model()
  loss = ClipLosses(ALL.parts)
  alone = clip_models.clips((9_600,), samples=9_600)
  beside = clip_models.clips((9_600, 16_000))
  beside.wave_BS[0, :9_600] = alone.wave_BS[0]
  for name, ids in alone.streams.items():
    beside.streams[name][0] = -1
    beside.streams[name][0, : len(ids[0])] = ids[0]
  silent = clip_models.clips((0,), samples=16_000)
  for name in ("wave_BS", "samples_B"):
    getattr(beside, name)[1] = getattr(silent, name)[0]  # as batches are filled up
  beside.streams["units"][1] = -1
  found, expected = (clip_models.loss(loss, model, batch) for batch in (beside, alone))
  # Masks of a longer clip begin as those of a shorter one do not, so what is heard is compared.
  heard = ClipLosses((MaskedUnits(unmasked_weight=1.0),), mask=None)
  pair = [clip_models.loss(heard, model, batch) for batch in (beside, alone)]
  np.testing.assert_allclose(pair[0].sum, pair[1].sum, rtol=1e-4)
  assert np.isfinite(found.sum) and np.isfinite(expected.sum)


def test_held_out_losses_draw_the_same_every_time_and_mix_nothing(clip_models):
  model, batch = clip_models.model(), clip_models.clips()
  first, second = (clip_models.loss(ALL, model, batch) for _ in range(2))
  plain = clip_models.loss(ClipLosses(ALL.parts), model, batch)
  assert float(first.sum) == float(second.sum) == float(plain.sum)
  trained = clip_models.loss(ALL, model, batch, train=True)
  assert float(trained.sum) != float(first.sum)


def test_the_price_of_frames_is_their_mean_square(clip_models):
  model, batch = clip_models.model(), clip_models.clips()
  free = clip_models.loss(ClipLosses((MaskedUnits(),)), model, batch)
  priced = clip_models.loss(ClipLosses((MaskedUnits(),), frames_penalty=10.0), model, batch)
  params = clip_models.params(model)
  features, valid_BT = model.features(jnp.asarray(batch.wave_BS), jnp.asarray(batch.samples_B))
  frames_BTC = model.frames(params, features, jnp.asarray(batch.samples_B), clip_models.ONE)
  mean = np.square(np.asarray(frames_BTC)[np.asarray(valid_BT)]).mean()
  np.testing.assert_allclose(priced.sum - free.sum, 10 * mean * free.weight, rtol=1e-3)


@functools.partial(jax.jit, static_argnums=0)
def mixed(mixing, batch):
  return mixing.mixed(batch).wave_BS


@pytest.mark.parametrize("noise", (0.0, 1.0))
def test_at_most_half_of_a_clip_gets_other_sound_of_a_level_near_its_own(clip_models, noise):
  batch = clip_models.clips((16_000, 12_000, 16_000, 8_000) * 8)
  wave_BS = np.asarray(mixed(Mixing(1.0, noise), jax.tree.map(jnp.asarray, batch)))
  for row, length in enumerate(batch.samples_B):
    added_S = wave_BS[row] - batch.wave_BS[row]
    places = np.flatnonzero(added_S)
    assert 0 < len(places) and np.ptp(places) + 1 <= length // 2 and places[-1] < length
    if len(places) > 500:
      own_S, other_S = batch.wave_BS[row, :length], added_S[places[0] : places[-1] + 1]
      louder_db = 10 * np.log10(np.square(own_S).mean() / np.square(other_S).mean())
      assert -5.1 < louder_db < (20.1 if noise else 5.1)
  np.testing.assert_array_equal(
    mixed(Mixing(1e-9, noise), jax.tree.map(jnp.asarray, batch)), batch.wave_BS
  )


def test_invalid_settings_are_an_error_that_says_why():
  with pytest.raises(ConfigError, match="ClipLosses takes one or more losses of different names"):
    ClipLosses(())
  with pytest.raises(ConfigError, match="Mixing needs a probability above 0 and a share of noise"):
    Mixing(probability=0)
