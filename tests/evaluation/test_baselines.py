import numpy as np

from audiopalm.evaluation import baselines


def test_the_nearest_candidate_has_the_fewest_edits():
  found = baselines.nearest(["abcd", "xyz"], ["abzz", "abcx", "yz"])
  np.testing.assert_array_equal(found, [1, 2])


def test_of_equally_near_candidates_the_first_is_taken():
  np.testing.assert_array_equal(baselines.nearest(["ab"], ["ax", "xb", "ay"]), [0])


def test_more_queries_than_are_compared_at_one_time_keep_their_order():
  words = [chr(97 + number % 26) * (1 + number // 26) for number in range(150)]
  np.testing.assert_array_equal(baselines.nearest(words, words), np.arange(150))
