"""HuBERT's loss: its formula, which unit a state predicts, and which states count."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm.errors import ConfigError
from audiopalm.models import clip_heads
from audiopalm.objectives import masked_units
from audiopalm.objectives.clip_losses import ClipLosses
from audiopalm.objectives.masked_units import MaskedUnits


def direction(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_the_loss_is_the_cross_entropy_of_cosines_over_a_tenth(clip_models):
  random = np.random.default_rng(0)
  head = clip_heads.Codes("units", width=8).build(clip_models.SPACE)
  kernel, bias = random.normal(size=(16, 8)), random.normal(size=8)
  table = random.normal(size=(128, 8))
  hidden_BTD = random.normal(size=(2, 5, 16))
  ids_BT = random.integers(0, 10, (2, 5))
  cosines = direction(hidden_BTD @ kernel + bias) @ direction(table[:10]).T
  log_z = np.log(np.exp(cosines / 0.1).sum(axis=-1))
  expected = log_z - np.take_along_axis(cosines / 0.1, ids_BT[..., None], -1)[..., 0]
  params = {
    "projection": {"kernel": jnp.float32(kernel), "bias": jnp.float32(bias)},
    "embedding": {"table": jnp.float32(table)},
  }
  scores = head.scored(params, jnp.float32(hidden_BTD), jnp.asarray(ids_BT), clip_models.ONE)
  np.testing.assert_allclose(scores.nll_BL, expected, rtol=1e-4)
  log_probs = head.log_probs(params, jnp.float32(hidden_BTD))
  np.testing.assert_allclose(log_probs, cosines / 0.1 - log_z[..., None], atol=1e-4)


def test_masked_and_heard_states_have_their_own_weights(clip_models):
  model, batch = clip_models.model(), clip_models.clips()
  masked, heard, both = (
    clip_models.loss(ClipLosses((MaskedUnits("units", 0, *weights),)), model, batch)
    for weights in ((1.0, 0.0), (0.0, 1.0), (0.8, 0.2))
  )
  inside = sum(length // 320 for length in (16_000, 9_000, 16_000, 12_000))
  assert float(masked.weight + heard.weight) == inside and 0 < float(masked.weight) < inside
  np.testing.assert_allclose(both.sum, 0.8 * masked.sum + 0.2 * heard.sum, rtol=1e-5)
  assert both.metrics["accuracy_units"][1] == masked.weight  # of what is not heard


def test_clusterings_of_one_stream_have_losses_of_their_own(clip_models):
  m, batch = clip_models, clip_models.clips()
  other_BU = (batch.streams["units"] + 1) % 7
  streams = {"units": np.stack([batch.streams["units"], other_BU], axis=-1)}
  both = dataclasses.replace(batch, streams=streams)
  heads = (clip_heads.Codes("codes", width=8), clip_heads.Codes("codes", width=8, level=1))
  model = m.model(heads=heads)
  parts = MaskedUnits("codes"), MaskedUnits("codes", level=1)
  both.streams["codes"] = both.streams.pop("units")
  found = m.loss(ClipLosses(parts), model, both)
  alone = [m.loss(ClipLosses((part,)), model, both) for part in parts]
  np.testing.assert_allclose(found.sum, alone[0].sum + alone[1].sum, rtol=1e-5)
  assert {"nll_codes", "nll_codes_1"} <= set(found.metrics)
  assert alone[0].sum != alone[1].sum


@pytest.mark.parametrize(
  ("units_hz", "states_hz", "expected"),
  [
    (50.0, 50.0, [0, 1, 2, 3, 4, 5, -1]),
    (25.0, 50.0, [0, 0, 1, 1, 2, 2, 3]),
    (50.0, 25.0, [1, 3, 5, -1, -1, -1, -1]),
  ],
)
def test_a_state_predicts_the_unit_of_its_middle(units_hz, states_hz, expected):
  ids_BU = jnp.arange(6, dtype=jnp.int32)[None]
  found = masked_units.at_states(ids_BU, units_hz, states_hz, 7)
  assert found[0].tolist() == expected


def test_a_head_or_weights_that_do_not_fit_are_refused(clip_models):
  with pytest.raises(ConfigError, match=r"MaskedUnits\('text'\) needs a head Codes\('text'\) of"):
    clip_models.loss(ClipLosses((MaskedUnits("text"),)), clip_models.model(), clip_models.clips())
  with pytest.raises(ConfigError, match="weights of masked and of other states of at least 0, one"):
    MaskedUnits(masked_weight=0.0)
