"""The contrastive loss: distractors, codes that are equal, temperatures, and its formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm.errors import ConfigError
from audiopalm.models import clip_heads
from audiopalm.objectives import contrastive
from audiopalm.objectives.clip_losses import ClipLosses
from audiopalm.objectives.contrastive import Contrastive


def test_distractors_are_other_masked_states_of_the_clip_drawn_evenly():
  masked_BT = jnp.array([[0, 1, 1, 0, 1, 1], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]], bool)
  draws_B = jnp.array([3, 4, 5], jnp.uint32)
  counts_BTU = np.asarray(contrastive.counts(draws_B, masked_BT, 6_000))
  assert not counts_BTU[1:].any()  # nothing to tell apart
  for state in range(6):
    others = [u for u in (1, 2, 4, 5) if u != state]
    if masked_BT[0, state]:
      np.testing.assert_allclose(counts_BTU[0, state, others], 2_000, rtol=0.1)
      assert counts_BTU[0, state].sum() == 6_000
    else:
      assert not counts_BTU[0, state].any()
  alone = contrastive.counts(draws_B[:1], masked_BT[:1], 6_000)
  np.testing.assert_array_equal(alone[0], counts_BTU[0])


def test_the_loss_is_the_cross_entropy_among_own_and_drawn_codes():
  random = np.random.default_rng(0)
  state_BTE, code_BTE = random.normal(size=(2, 1, 5, 4)).astype(np.float32)
  ids_BTQ = np.array([[[0, 0], [0, 1], [0, 0], [1, 1], [2, 1]]])
  drawn = [(1, 1, 3), (4, 0, 0), (0, 1, 4), (2, 2, 2), (3, 1, 0)]
  counts_BTU = np.zeros((1, 5, 5), int)
  for state, others in enumerate(drawn):
    for other in others:
      counts_BTU[0, state, other] += 1
  nll_BT, correct_BT = Contrastive(temperature=0.5)._told_apart(
    state_BTE, code_BTE, ids_BTQ, counts_BTU
  )
  for state, others in enumerate(drawn):
    kept = [u for u in others if (ids_BTQ[0, u] != ids_BTQ[0, state]).any()]
    logits = code_BTE[0, [state, *kept]] @ state_BTE[0, state] / 0.5
    expected = np.log(np.exp(logits).sum()) - logits[0]
    assert float(nll_BT[0, state]) == pytest.approx(expected, rel=1e-4)
    assert bool(correct_BT[0, state]) == bool(logits[0] > max(logits[1:]))


def test_codes_are_drawn_at_a_falling_temperature_in_training_alone(clip_models):
  model, batch = clip_models.model(), clip_models.clips()
  loss = ClipLosses((Contrastive(gumbel_decay=0.5, gumbel_end=0.1),))
  values = {
    (train, step): float(clip_models.loss(loss, model, batch, train=train, step=step).sum)
    for train in (False, True)
    for step in (0, 3)
  }
  assert values[False, 0] == values[False, 3] != values[True, 0]
  # Drawn ids are those of any temperature; only their gradients differ.
  assert values[True, 0] == pytest.approx(values[True, 3], rel=1e-4)
  early, late = (
    clip_models.loss(loss, model, batch, train=True, step=step, gradients=True)[1]
    for step in (0, 3)
  )
  kernels = [g["heads"]["quantizer"]["logits"]["kernel"] for g in (early, late)]
  assert np.abs(kernels[0]).max() > 0 and np.abs(kernels[0] - kernels[1]).max() > 1e-5


def test_perplexity_counts_codes_in_use_by_masked_states():
  used_BTQV = jax.nn.one_hot(jnp.array([[[0, 0], [1, 0], [2, 0], [3, 1]]]), 4)
  assert float(contrastive.perplexity_of(used_BTQV, jnp.ones((1, 4)))) == pytest.approx(
    4 + np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25)), rel=1e-4
  )
  first = jnp.array([[1.0, 0, 0, 0]])
  assert float(contrastive.perplexity_of(used_BTQV, first)) == pytest.approx(2, rel=1e-4)


def test_w2v_bert_predicts_the_ids_of_the_codes_from_the_last_states(clip_models):
  quantizer = clip_heads.Quantizer(groups=1, entries=32, code_width=4, width=8)
  model = clip_models.model(heads=(quantizer, clip_heads.Labels(classes=32)))
  both = ClipLosses((Contrastive(layer=1, ids_head="labels"),))
  batch = clip_models.clips()
  found = clip_models.loss(both, model, batch)
  alone = clip_models.loss(ClipLosses((Contrastive(layer=1),)), model, batch)
  ids, weight = found.metrics["nll_speech"]
  np.testing.assert_allclose(found.sum, alone.sum + ids, rtol=1e-5)
  assert float(ids / weight) == pytest.approx(np.log(32), rel=0.4)
  # The likeliest code, in training too, where distractors and targets are codes that were drawn.
  trained = clip_models.loss(both, model, batch, train=True)
  np.testing.assert_allclose(trained.metrics["nll_speech"][0], ids, rtol=1e-5)
  assert trained.metrics["nll_contrastive"][0] != found.metrics["nll_contrastive"][0]
  with pytest.raises(ConfigError, match="ids of 2 x 8 codes by a head of 32 classes. Give the Qua"):
    clip_models.loss(both, clip_models.model(), batch)


def test_invalid_settings_are_an_error_that_says_why(clip_models):
  with pytest.raises(ConfigError, match="at least 1 of distractors, a temperature above 0"):
    Contrastive(distractors=0)
  with pytest.raises(ConfigError, match="needs 0 < gumbel_end <= gumbel_start"):
    Contrastive(gumbel_end=3.0)
  with pytest.raises(ConfigError, match="Contrastive needs a QuantizerHead 'codes' among the"):
    loss = ClipLosses((Contrastive(quantizer="codes"),))
    clip_models.loss(loss, clip_models.model(), clip_models.clips())
