"""CTC: the sum over alignments, and which clips have a loss."""

import itertools

import jax
import numpy as np
import pytest

from audiopalm.errors import ConfigError
from audiopalm.models import clip_heads
from audiopalm.objectives import ctc
from audiopalm.objectives.clip_losses import ClipLosses
from audiopalm.objectives.ctc import CTC

ALONE = ClipLosses((CTC("text"),), mask=None)


def collapsed(path, blank):
  return tuple(value for value, _ in itertools.groupby(path) if value != blank)


@pytest.mark.parametrize("ids", [(0,), (0, 1), (1, 1), (0, 1, 0)])
def test_the_likelihood_is_the_sum_over_all_paths_that_collapse_to_the_ids(ids):
  states, classes = 4, 3
  log_probs_TV = np.log(np.random.default_rng(0).dirichlet(np.ones(classes), states))
  paths = itertools.product(range(classes), repeat=states)
  total = sum(
    np.exp(sum(log_probs_TV[t, value] for t, value in enumerate(path)))
    for path in paths
    if collapsed(path, classes - 1) == ids
  )
  padded_TV = np.concatenate([log_probs_TV, np.zeros((2, classes))])  # what lies behind the clip
  ids_BU = np.array([[*ids, -1, -1]], np.int32)
  valid_BT = np.arange(6)[None] < states
  (nll,) = ctc.negative_log_likelihood(padded_TV[None].astype(np.float32), valid_BT, ids_BU)
  assert float(nll) == pytest.approx(-np.log(total), rel=1e-4)


def test_equal_neighbors_take_a_state_more():
  ids_BU = np.array([[3, 3, 4, 4, -1], [1, 2, 1, -1, -1], [-1] * 5], np.int32)
  assert ctc.needed(ids_BU).tolist() == [6, 3, 0]


def test_the_loss_is_that_of_the_clips_that_hold_their_text_and_have_room_for_it(clip_models):
  batch = clip_models.clips((16_000, 16_000, 1_600, 12_000))  # no text, and 5 states for 5 ids
  batch.streams["text"][2, :5] = 4  # which take 9 states
  model = clip_models.model()
  found = clip_models.loss(ALONE, model, batch)
  assert float(found.weight) == 10
  rows = jax.tree.map(lambda array: array[[0, 3]], batch)
  kept = clip_models.loss(ALONE, model, rows)
  np.testing.assert_allclose(found.sum, kept.sum, rtol=1e-5)
  assert float(found.sum / found.weight) > 1
  assert set(found.metrics) == {"nll_ctc_text"}


def test_what_lies_behind_a_clip_changes_nothing(clip_models):
  model, batch = clip_models.model(), clip_models.clips((9_000, 8_000))
  short = clip_models.clips((9_000, 8_000), samples=9_600)
  short.wave_BS[:] = batch.wave_BS[:, :9_600]
  short.streams["text"][:] = batch.streams["text"]
  np.testing.assert_allclose(
    clip_models.loss(ALONE, model, short).sum, clip_models.loss(ALONE, model, batch).sum, rtol=1e-4
  )


def test_a_head_without_a_blank_or_a_stream_that_is_not_there_is_named(clip_models):
  model, batch = clip_models.model(), clip_models.clips()
  with pytest.raises(ConfigError, match=r"CTC\('units'\) needs a head with a blank, Transcript"):
    clip_models.loss(ClipLosses((CTC("units"),)), model, batch)
  with pytest.raises(ConfigError, match=r"CTC\('phones'\) needs a ClassHead 'phones' among the h"):
    clip_models.loss(ClipLosses((CTC("phones"),)), model, batch)
  del batch.streams["text"]
  with pytest.raises(ConfigError, match=r"CTC\('text'\) needs the stream 'text' of the clips, wh"):
    clip_models.loss(ALONE, model, batch)


def test_a_head_of_a_stream_that_no_tokenizer_gives_is_refused(clip_models):
  with pytest.raises(
    ConfigError, match=r"head Transcript\('words'\) of .*: units \(1\), text \(1\), codes \(2\)"
  ):
    clip_heads.Transcript("words").build(clip_models.SPACE)
  with pytest.raises(ConfigError, match=r"Codes\('text'\) predicts an id for each state, but the"):
    clip_heads.Codes("text").build(clip_models.SPACE)
