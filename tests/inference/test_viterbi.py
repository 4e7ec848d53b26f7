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
    tokens_T = viterbi.best_path(log_probs_TV, np.array(ids, int), blank=BLANK)
    written = [BLANK if token == viterbi.BLANK else ids[token] for token in tokens_T]
    assert tuple(written) == paths[int(np.argmax(scores))]


def test_equal_tokens_are_told_apart_by_their_numbers():
  ids = np.array([1, 2, 2])
  log_probs_TV = np.full((6, 3), -5.0)
  log_probs_TV[np.arange(6), [0, 1, 1, 2, 0, 2]] = -0.1
  tokens_T = viterbi.best_path(log_probs_TV, ids, blank=BLANK)
  assert tokens_T.tolist() == [-1, 0, 0, 1, -1, 2]


def test_a_long_text_is_found_where_it_is_likely():
  random = np.random.default_rng(0)
  ids = random.integers(1, 20, 200)
  right_T = np.repeat(np.stack([ids, np.zeros_like(ids)], 1).ravel(), 3)
  logits_TV = random.standard_normal((len(right_T), 20))
  logits_TV[np.arange(len(right_T)), right_T] += 12
  log_probs_TV = logits_TV - np.log(np.exp(logits_TV).sum(axis=1, keepdims=True))
  numbers = np.arange(len(ids))
  expected_T = np.repeat(np.stack([numbers, np.full_like(ids, viterbi.BLANK)], 1).ravel(), 3)
  np.testing.assert_array_equal(viterbi.best_path(log_probs_TV, ids, blank=BLANK), expected_T)


def test_too_few_frames_for_the_tokens_are_a_fault_of_the_record():
  log_probs_TV = np.zeros((3, 3))
  viterbi.best_path(log_probs_TV, np.array([1, 2, 1]), blank=BLANK)
  with pytest.raises(RecordError, match="3 tokens take at least 4 frames, the recording has 3"):
    viterbi.best_path(log_probs_TV, np.array([1, 2, 2]), blank=BLANK)
