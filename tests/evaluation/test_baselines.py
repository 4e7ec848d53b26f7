import numpy as np

from audiopalm.data import cache
from audiopalm.evaluation import baselines, suites


def test_the_nearest_candidate_has_the_fewest_edits():
  found = baselines.nearest(["abcd", "xyz"], ["abzz", "abcx", "yz"])
  np.testing.assert_array_equal(found, [1, 2])


def test_of_equally_near_candidates_the_first_is_taken():
  np.testing.assert_array_equal(baselines.nearest(["ab"], ["ax", "xb", "ay"]), [0])


def test_more_queries_than_are_compared_at_one_time_keep_their_order():
  words = [chr(97 + number % 26) * (1 + number // 26) for number in range(150)]
  np.testing.assert_array_equal(baselines.nearest(words, words), np.arange(150))


def test_the_nearest_text_is_found_by_characters_where_no_spaces_separate_words(made_up):
  run, side = made_up.trained(), ("source", "text")
  kind = suites.kinds(run.experiment.tasks, run.prepared.space.streams)["mt"]
  pool = baselines.Pool(kind, side, np.arange(0))

  def characters(text, language):
    said = cache.EntryUtterance(language, "", text, 0.0, {})
    return pool.string(cache.Entry("a", {"source": said}))

  query, *candidates = (
    characters(text, "zh") for text in ("今天天气很好", "我去图书馆", "今天天气不好")
  )
  np.testing.assert_array_equal(baselines.nearest([query], candidates), [1])
  assert len(query) == 6
  assert len(characters("good morning", "en")) == 2
