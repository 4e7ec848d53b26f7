import inspect
import math

import pytest

from audiopalm.metrics import text

ALL = (text.wer, text.cer, text.exact, text.bleu, text.chrf, text.asr_bleu, text.asr_chrf)


def test_case_punctuation_and_spaces_are_normalised_away():
  assert text.normalize("  L'hôtel, s'il vous plaît! ") == "l hôtel s il vous plaît"


def test_vowel_marks_are_kept():
  assert text.normalize("हिन्दी") == "हिन्दी"


def test_wer_is_wrong_missing_and_extra_words_over_the_words_of_all_targets():
  assert text.wer(["a b c", "d"], ["a x", "d e"]) == {"wer": 3 / 4}


def test_wer_counts_words_over_all_targets_and_is_no_mean_of_sentences():
  assert text.wer(["a", "b c d"], ["x", "b c d"]) == {"wer": 1 / 4}


def test_cer_counts_characters():
  assert text.cer(["abcd"], ["abxd"]) == {"cer": 1 / 4}


def test_exact_counts_predictions_equal_after_normalisation():
  assert text.exact(["Five.", "six"], ["five", "sex"]) == {"exact": 0.5}


def test_perfect_predictions_have_no_errors_and_full_scores():
  said = ["the train leaves at nine", "it is raining in the north today"]
  assert text.wer(said, said) == {"wer": 0}
  assert text.cer(said, said) == {"cer": 0}
  assert text.bleu(said, said)["bleu"] == pytest.approx(100)
  assert text.chrf(said, said)["chrf"] == pytest.approx(100)


def test_bleu_reads_case_and_asr_bleu_does_not():
  targets, said = ["The train leaves at nine."], ["the train leaves at nine"]
  assert text.bleu(targets, said)["bleu"] < 100
  assert text.asr_bleu(targets, said)["asr_bleu"] == pytest.approx(100)


def test_bleu_of_one_wrong_word_equals_the_value_worked_out_by_hand():
  # Five words, the last one wrong: n-gram precisions 4/5, 3/4, 2/3, 1/2, no brevity penalty.
  expected = 100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** (1 / 4)
  found = text.bleu(["the train leaves at nine"], ["the train leaves at ten"])["bleu"]
  assert found == pytest.approx(expected)


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize(
  ("targets", "said"), [(["a b"], [""]), ([""], ["a b"]), ([""], [""]), (["a", ""], ["", "b"])]
)
def test_empty_targets_and_predictions_give_finite_scores(metric, targets, said):
  (value,) = metric(targets, said).values()
  assert math.isfinite(value)


def test_an_empty_prediction_misses_every_word():
  assert text.wer(["a b", "c"], ["", "c"]) == {"wer": 2 / 3}


def test_words_said_where_none_were_asked_are_errors():
  assert text.wer([""], ["a b"]) == {"wer": 2}


@pytest.mark.parametrize("metric", ALL)
def test_unequal_or_no_pairs_are_refused(metric):
  with pytest.raises(ValueError, match="got 1 targets and 2 predictions"):
    metric(["a"], ["a", "b"])
  with pytest.raises(ValueError, match="got 0 targets and 0 predictions"):
    metric([], [])


@pytest.mark.parametrize("metric", ALL)
def test_every_score_has_the_two_argument_names_seqio_looks_for(metric):
  assert list(inspect.signature(metric).parameters) == ["targets", "predictions"]


def test_signatures_name_the_rules_and_the_version():
  assert "tok:13a" in text.signatures()["bleu"]
  assert "version:" in text.signatures()["chrf"]
  assert text.NORMALIZER.startswith("whisper_normalizer-")
