"""The best path is that of the best of all paths, one by one."""

import itertools

import numpy as np
import pytest

from audiopalm.errors import RecordError
from audiopalm.inference import viterbi

BLANK = 0


def collapsed(path):
  """Returns the ids of a path of ids: repeats once, without blanks."""
  return [id_ for id_, _ in itertools.groupby(path) if id_ != BLANK]


def random_log_probs(random, frames, size):
  logits_TV = 2 * random.standard_normal((frames, size))
  return logits_TV - np.log(np.exp(logits_TV).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("ids", [[1], [1, 2], [1, 1], [2, 1, 2], [1, 2, 2], []])
def test_no_path_of_the_same_tokens_is_likelier(ids):
  random = np.random.default_rng(len(ids))
  for frames in range(max(1, len(ids) + 1), 7):
    log_probs_TV = random_log_probs(random, frames, 3)
    paths = [p for p in itertools.product(range(3), repeat=frames) if collapsed(p) == ids]
    scores = [log_probs_TV[np.arange(frames), list(path)].sum() for path in paths]
    best = viterbi.best_path(log_probs_TV, np.array(ids, int), blank=BLANK)
    written_T = [BLANK if n == viterbi.BLANK else ids[n] for n in best.tokens_T]
    assert tuple(written_T) == paths[int(np.argmax(scores))]
    assert best.log_probs_T.sum() == pytest.approx(max(scores), abs=1e-9)
    np.testing.assert_array_equal(best.log_probs_T, log_probs_TV[np.arange(frames), written_T])


def test_tokens_are_numbered_and_have_spans():
  ids = np.array([1, 2, 2])
  log_probs_TV = np.full((6, 3), -5.0)
  log_probs_TV[np.arange(6), [0, 1, 1, 2, 0, 2]] = -0.1
  path = viterbi.best_path(log_probs_TV, ids, blank=BLANK)
  assert path.tokens_T.tolist() == [-1, 0, 0, 1, -1, 2]
  assert [path.span(token) for token in range(3)] == [(1, 3), (3, 4), (5, 6)]


def test_a_long_text_is_found_where_it_is_likely():
  random = np.random.default_rng(0)
  ids = random.integers(1, 20, 200)
  right_T = np.repeat(np.stack([ids, np.zeros_like(ids)], 1).ravel(), 3)
  logits_TV = random.standard_normal((len(right_T), 20))
  logits_TV[np.arange(len(right_T)), right_T] += 12
  log_probs_TV = logits_TV - np.log(np.exp(logits_TV).sum(axis=1, keepdims=True))
  path = viterbi.best_path(log_probs_TV, ids, blank=BLANK)
  assert all(path.span(n) == (6 * n, 6 * n + 3) for n in range(len(ids)))


def test_too_few_frames_for_the_tokens_are_a_fault_of_the_record():
  log_probs_TV = np.zeros((3, 3))
  viterbi.best_path(log_probs_TV, np.array([1, 2, 1]), blank=BLANK)
  with pytest.raises(RecordError, match="3 tokens take at least 4 frames, the recording has 3"):
    viterbi.best_path(log_probs_TV, np.array([1, 2, 2]), blank=BLANK)
