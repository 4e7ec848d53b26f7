import numpy as np
import pytest
import sacrebleu

from audiopalm.metrics import tally, text
from audiopalm.metrics.tally import Tally

WORDS = "the train leaves at nine , it is raining in north Paris today 5".split()
METRICS = (text.wer, text.cer, text.exact, text.bleu, text.chrf, text.asr_bleu, text.asr_chrf)


def corpus(examples, seed=0, least=0):
  """Targets and what was said: some equal, some empty, some shorter than an n-gram."""
  random = np.random.default_rng(seed)
  targets = [" ".join(random.choice(WORDS, random.integers(least, 9))) for _ in range(examples)]
  said = []
  for target in targets:
    words = [w if random.random() < 0.7 else random.choice(WORDS) for w in target.split()]
    said.append(" ".join(words[: random.integers(least, len(words) + 1)]))
  return targets, said


@pytest.mark.parametrize("seed", range(20))
def test_bleu_and_chrf_are_those_of_sacrebleu(seed):
  targets, said = corpus(1 + seed % 5 * 20, seed)
  for metric, of in ((text.bleu, sacrebleu.BLEU()), (text.chrf, sacrebleu.CHRF())):
    expected = of.corpus_score(said, [targets]).score
    assert metric(targets, said)[metric.name] == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(
  "pair", [("a b c d", "d c b a"), ("a b c d e", "a b x d e"), ("a", "a"), ("", "a"), ("a b", "")]
)
def test_bleu_and_chrf_without_a_match_of_some_length_are_those_of_sacrebleu(pair):
  target, said = pair
  for metric, of in ((text.bleu, sacrebleu.BLEU()), (text.chrf, sacrebleu.CHRF())):
    expected = of.corpus_score([said], [[target]]).score
    assert metric([target], [said])[metric.name] == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_an_interval_is_that_of_the_texts_drawn_and_scored_again(metric, monkeypatch):
  monkeypatch.setattr(tally, "RESAMPLES", 40)
  targets, said = corpus(30)
  (weights_RN,) = tally._drawn(30)
  scores = []
  for weights_N in weights_RN.astype(int):
    drawn = np.repeat(np.arange(30), weights_N)
    scores += metric([targets[n] for n in drawn], [said[n] for n in drawn]).values()
  low, high = metric.tally(targets, said).interval()
  assert [low, high] == pytest.approx(np.quantile(scores, [0.025, 0.975]).tolist())
  assert low < high


def test_every_resample_has_as_many_examples_as_there_are_and_each_as_likely():
  weights_RN = np.concatenate(list(tally._drawn(50)))
  assert weights_RN.shape == (tally.RESAMPLES, 50)
  assert (weights_RN.sum(axis=1) == 50).all()
  np.testing.assert_allclose(weights_RN.mean(axis=0), 1, atol=5 / np.sqrt(tally.RESAMPLES))


def test_resamples_drawn_a_few_at_a_time_are_the_same(monkeypatch):
  whole = np.concatenate(list(tally._drawn(7)))
  monkeypatch.setattr(tally, "AT_ONCE", 100)
  few = list(tally._drawn(7))
  assert len(few) > 1
  np.testing.assert_array_equal(np.concatenate(few), whole)


def test_the_interval_of_a_mean_is_the_one_of_theory_and_always_the_same():
  values_N = np.random.default_rng(1).normal(3.0, 1.0, 400)
  mean = Tally(np.stack([values_N, np.ones(400)], axis=1), tally.ratio)
  low, high = mean.interval()
  expected = values_N.mean() + np.array([-1.96, 1.96]) * values_N.std() / 20
  np.testing.assert_allclose([low, high], expected, atol=0.02)
  assert mean.interval() == [low, high]


def test_examples_without_a_part_in_the_score_are_not_drawn():
  counts_NE = np.array([[1.0, 2.0], [np.nan, np.nan], [1.0, 2.0]])
  assert tally.scores({"a": Tally(counts_NE, tally.ratio)}) == {
    "a": 0.5,
    "intervals": {"a": [0.5, 0.5]},
  }


def test_one_example_has_a_score_and_no_interval_and_none_has_neither():
  one = Tally(np.array([[1.0, 2.0], [3.0, 4.0]]), tally.ratio)
  assert tally.scores({"a": one.among(np.array([False, True]))}) == {"a": 0.75}
  assert tally.scores({"a": one.among(np.array([False, False]))}) == {}
