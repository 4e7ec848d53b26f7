"""The loss: what is predicted, what counts, and that chunks and weights change nothing else."""

import dataclasses
import functools
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm import settings, sharding
from audiopalm.batch import PackedBatch
from audiopalm.errors import ConfigError
from audiopalm.models import decoder
from audiopalm.objectives import next_token

ONE = settings.Machine(fsdp=1)
NEXT_TOKEN = next_token.NextToken()
# Ids 0 to 9 are text, 10 to 17 speech, 18 and 19 special, the rest padding.
MODALITY = np.array([0] * 10 + [1] * 8 + [2] * 2 + [-1] * 12, np.int8)
TINY = decoder.Decoder(layers=1, width=16, heads=2, kv_heads=1, head_width=8, hidden=24)


def model_of(columns=1):
  return TINY.build(
    types.SimpleNamespace(
      sizes=(20,) * columns,
      padded=(32,) * columns,
      modality_KV=(MODALITY,) * columns,
      both_ways=False,
    )
  )


@pytest.fixture(scope="module")
def model():
  return model_of()


@pytest.fixture(scope="module")
def params(model):
  return model.init(jax.random.key(0), sharding.mesh(ONE))


def batch_of(tokens_BL, weights_BL, segments_BL):
  tokens_BL, segments_BL = np.int32(tokens_BL), np.int32(segments_BL)
  positions_BL = np.array(
    [[int(np.sum(row[:i] == row[i])) for i in range(len(row))] for row in segments_BL]
  )
  return PackedBatch(
    tokens_BL[..., None],
    np.float32(weights_BL)[..., None],
    segments_BL,
    np.int32(positions_BL),
    np.zeros_like(segments_BL),
    np.zeros(len(tokens_BL), np.int32),
  )


BATCH = batch_of(
  [[3, 11, 4, 18, 5, 12, 19, -1], [1, 2, -1, 13, 14, 6, 7, 18]],
  [[0, 1, 1, 1, 0, 1, 1, 0], [0, 1, 0, 1, 0, 0, 1, 1]],
  [[1, 1, 1, 1, 2, 2, 2, 0], [1, 1, 1, 1, 1, 2, 2, 2]],
)


@functools.partial(jax.jit, static_argnames=("model", "objective", "machine"))
def loss_of(model, params, batch, objective=NEXT_TOKEN, machine=ONE):
  losses, _ = objective.losses(
    model, params, {}, batch, key=None, train=False, step=0, machine=machine
  )
  return losses["model"]


def test_targets_are_the_next_rows_of_the_segment():
  targets = next_token.shifted(jax.tree.map(jnp.asarray, BATCH))
  np.testing.assert_array_equal(
    targets.weights_BLK[..., 0], [[1, 1, 1, 0, 1, 1, 0, 0], [1, 0, 1, 0, 0, 1, 1, 0]]
  )
  np.testing.assert_array_equal(targets.tokens_BLK[0, :3, 0], [11, 4, 18])


def test_loss_is_the_cross_entropy_of_the_predicted_cells(model, params):
  hidden_BLD = model.hidden(params, BATCH, ONE)
  log_probs = np.asarray(jax.nn.log_softmax(model.head.logits(params, hidden_BLD)))
  cells = [
    (0, 0, 11), (0, 1, 4), (0, 2, 18), (0, 4, 12), (0, 5, 19), (1, 0, 2), (1, 2, 13), (1, 5, 7),
    (1, 6, 18),
  ]  # fmt: skip
  loss = loss_of(model, params, BATCH)
  assert loss.weight == len(cells)
  np.testing.assert_allclose(loss.sum, -sum(log_probs[cell] for cell in cells), rtol=1e-6)
  metrics = {name: (float(a), float(b)) for name, (a, b) in loss.metrics.items()}
  text = [cell for cell in cells if cell[2] < 10]
  speech = [cell for cell in cells if 10 <= cell[2] < 18]
  for name, kind in (("text", text), ("speech", speech)):
    total, count = metrics[f"nll_{name}"]
    assert count == len(kind)
    assert total == pytest.approx(-sum(log_probs[cell] for cell in kind), rel=1e-6)
    right = sum(log_probs[b, i].argmax() == v for b, i, v in kind)
    assert metrics[f"accuracy_{name}"] == (right, len(kind))


def test_masked_loss_equals_loss_of_the_kept_subset(model, params):
  full = loss_of(model, params, BATCH)
  weights = BATCH.weights_BLK.copy()
  weights[0] = 0
  kept = dataclasses.replace(BATCH, weights_BLK=weights)
  alone = jax.tree.map(lambda array: array[1:], BATCH)
  masked, subset = loss_of(model, params, kept), loss_of(model, params, alone)
  assert masked.weight == subset.weight < full.weight
  np.testing.assert_allclose(masked.sum, subset.sum, rtol=1e-6)


def test_holes_and_padding_give_no_loss_and_no_gradient(model, params):
  weights = np.ones_like(BATCH.weights_BLK)  # a weight on a hole or on padding is not believed
  tokens = BATCH.tokens_BLK.copy()
  batch = dataclasses.replace(BATCH, weights_BLK=weights)
  targets = next_token.shifted(jax.tree.map(jnp.asarray, batch))
  assert targets.weights_BLK[0, 6, 0] == 0 and targets.weights_BLK[1, 1, 0] == 0
  tokens[0, 7] = 9  # padding says something else
  other = dataclasses.replace(BATCH, tokens_BLK=tokens)
  grads, grads_other = (
    jax.jit(jax.grad(lambda p, b=b: loss_of(model, p, b).sum))(params) for b in (BATCH, other)
  )
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), grads, grads_other)


def test_chunks_equal_one_pass(model, params):
  def value(machine):
    total = jax.value_and_grad(lambda p: loss_of(model, p, BATCH, machine=machine).sum)
    return jax.jit(total)(params)

  whole, grads = value(ONE)
  for rows in (2, 6, 10):  # of 16 cells at once: the last chunk is padded
    chunked, grads_chunked = value(dataclasses.replace(ONE, loss_chunk_cells=rows))
    np.testing.assert_allclose(whole, chunked, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), grads, grads_chunked)


def test_only_one_chunk_of_logits_exists_at_one_time(model, params):
  machine = dataclasses.replace(ONE, loss_chunk_cells=2)
  jaxpr = jax.make_jaxpr(jax.grad(lambda p: loss_of(model, p, BATCH, machine=machine).sum))(params)
  assert "f32[2,32]" in str(jaxpr)
  assert not {"f32[2,8,32]", "f32[16,32]", "f32[8,2,32]"} & set(
    re.findall(r"f32\[[\d,]*\]", str(jaxpr))
  )


def test_z_loss_adds_the_square_of_log_z(model, params):
  hidden_BLD = model.hidden(params, BATCH, ONE)
  log_z = np.asarray(jax.nn.logsumexp(model.head.logits(params, hidden_BLD), axis=-1))
  weights = np.asarray(next_token.shifted(jax.tree.map(jnp.asarray, BATCH)).weights_BLK[..., 0])
  plain, more = (
    loss_of(model, params, BATCH, next_token.NextToken(z_loss=z)).sum for z in (0.0, 0.1)
  )
  np.testing.assert_allclose(more - plain, 0.1 * (log_z**2 * weights).sum(), rtol=1e-5)


def test_column_weights_weigh_whole_columns():
  model = model_of(columns=2)
  params = model.init(jax.random.key(0), sharding.mesh(ONE))
  batch = dataclasses.replace(
    BATCH,
    tokens_BLK=np.concatenate([BATCH.tokens_BLK] * 2, axis=2),
    weights_BLK=np.concatenate([BATCH.weights_BLK] * 2, axis=2),
  )
  first, second, both = (
    loss_of(model, params, batch, next_token.NextToken(column_weights=weights))
    for weights in ((1.0, 0.0), (0.0, 1.0), (1.0, 0.5))
  )
  assert both.weight == first.weight + 0.5 * second.weight
  np.testing.assert_allclose(both.sum, first.sum + 0.5 * second.sum, rtol=1e-6)
  # Metrics are of the cells, whatever they weigh in the loss.
  np.testing.assert_allclose(both.metrics["nll_text"][0], first.metrics["nll_text"][0], rtol=1e-6)


def test_text_weight_weighs_words_and_nothing_else(model, params):
  plain, heavy = (
    loss_of(model, params, BATCH, next_token.NextToken(text_weight=weight)) for weight in (1, 4)
  )
  nll, words = plain.metrics["nll_text"]
  np.testing.assert_allclose(heavy.sum - plain.sum, 3 * nll, rtol=1e-5)
  assert heavy.weight - plain.weight == 3 * words > 0
  assert heavy.metrics == plain.metrics


def test_scores_per_segment_add_up_to_the_loss(model, params):
  objective = next_token.NextToken()
  scores = objective.score(model, params, {}, BATCH, segments=3, machine=ONE)
  loss = loss_of(model, params, BATCH)
  total = sum(float(of["nll"].sum()) for of in scores.values())
  assert total == pytest.approx(float(loss.sum), rel=1e-6)
  np.testing.assert_array_equal(scores["text"]["count"], [[0, 1, 0, 0], [0, 1, 1, 0]])
  np.testing.assert_array_equal(scores["speech"]["count"], [[0, 1, 1, 0], [0, 1, 0, 0]])
  np.testing.assert_array_equal(scores["special"]["count"], [[0, 1, 1, 0], [0, 0, 1, 0]])
  for kind in ("text", "speech"):
    np.testing.assert_allclose(scores[kind]["correct"].sum(), loss.metrics[f"accuracy_{kind}"][0])


def test_too_many_column_weights_say_how_many_columns(model, params):
  with pytest.raises(ConfigError, match="2 column_weights but the layout has 1 columns"):
    loss_of(model, params, BATCH, next_token.NextToken(column_weights=(1.0, 1.0)))


def test_a_negative_z_loss_is_refused():
  with pytest.raises(ConfigError, match="z_loss must not be negative, got -1"):
    next_token.NextToken(z_loss=-1.0)


def test_a_text_weight_of_nothing_is_refused():
  with pytest.raises(ConfigError, match="text_weight must be positive, got 0"):
    next_token.NextToken(text_weight=0)


def seen_of(model, objective, batch, key):
  """Returns the tokens that the model is given in training."""
  given = []

  def hidden(params, seen, machine, dropout_key):
    given.append(seen.tokens_BLK)
    return jnp.zeros((*seen.segments_BL.shape, 16))

  stands_in = types.SimpleNamespace(
    modality_KV=model.modality_KV, sizes=model.sizes, head=model.head, hidden=hidden
  )
  params = model.init(jax.random.key(0), sharding.mesh(ONE))
  objective.losses(stands_in, params, {}, batch, key=key, train=True, step=0, machine=ONE)
  return np.asarray(given[0])[..., 0]


def test_given_speech_and_predicted_words_are_hidden_and_nothing_else(model):
  tokens = np.tile(np.int32([3, 11, 12, 13, 14, 18, 4, 5, 15, -1]), (64, 20))
  weights = np.tile(np.float32([0, 0, 0, 0, 0, 1, 1, 0, 1, 0]), (64, 20))
  batch = jax.tree.map(jnp.asarray, batch_of(tokens, weights, np.ones_like(tokens)))
  objective = next_token.NextToken(hidden_speech=0.3, hidden_rows=4, hidden_text=0.25)
  seen = seen_of(model, objective, batch, jax.random.key(3))
  hidden = seen != tokens
  assert (seen[hidden] == -1).all()
  is_speech = (tokens >= 10) & (tokens < 18) & (weights == 0)
  is_word = (tokens >= 0) & (tokens < 10) & (weights == 1)
  assert not hidden[~is_speech & ~is_word].any()
  assert hidden[is_speech].mean() == pytest.approx(0.3, abs=0.02)
  assert hidden[is_word].mean() == pytest.approx(0.25, abs=0.03)
  again = seen_of(model, objective, batch, jax.random.key(4))
  assert (again != seen).any()


def test_spans_have_their_rows():
  starts = np.zeros((2, 9), bool)
  starts[0, [1, 2, 7]] = True
  np.testing.assert_array_equal(
    next_token.spanned(jnp.asarray(starts), 3), [[0, 1, 1, 1, 1, 0, 0, 1, 1], [0] * 9]
  )


def test_what_is_hidden_is_still_predicted(model, params):
  hiding = next_token.NextToken(hidden_speech=0.99, hidden_text=0.99)

  def losses(objective, train):
    return objective.losses(
      model, params, {}, BATCH, key=jax.random.key(0), train=train, step=0, machine=ONE
    )[0]["model"]

  all_seen, hidden = losses(NEXT_TOKEN, True), losses(hiding, True)
  assert hidden.weight == all_seen.weight
  assert float(hidden.sum) != pytest.approx(float(all_seen.sum), rel=1e-4)
  np.testing.assert_array_equal(losses(hiding, False).sum, losses(NEXT_TOKEN, False).sum)


@pytest.mark.parametrize(
  ("fields", "text"),
  [
    ({"hidden_speech": 1.0}, "hidden_speech is a share of the cells, from 0 to below 1, got 1.0"),
    ({"hidden_text": -0.1}, "hidden_text is a share of the cells, from 0 to below 1, got -0.1"),
    ({"hidden_rows": 0}, "hidden_rows must be an integer of at least 1, got 0"),
  ],
)
def test_shares_and_spans_that_cannot_be_are_refused(fields, text):
  with pytest.raises(ConfigError, match=text):
    next_token.NextToken(**fields)
