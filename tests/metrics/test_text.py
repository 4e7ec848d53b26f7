import importlib.util
import inspect
import math
import unicodedata

import numpy as np
import pytest
import sacrebleu

from audiopalm.metrics import text

ALL = (text.wer, text.cer, text.exact, text.bleu, text.chrf, text.asr_bleu, text.asr_chrf)


def test_case_punctuation_and_spaces_are_normalized_away():
  assert text.normalize("  L'hôtel, s'il vous plaît! ") == "l hôtel s il vous plaît"


def test_vowel_marks_are_kept():
  assert text.normalize("हिन्दी") == "हिन्दी"


def test_wer_is_wrong_missing_and_extra_words_over_the_words_of_all_targets():
  assert text.wer(["a b c", "d"], ["a x", "d e"]) == {"wer": 3 / 4}


def test_wer_counts_words_over_all_targets_and_is_no_mean_of_sentences():
  assert text.wer(["a", "b c d"], ["x", "b c d"]) == {"wer": 1 / 4}


def test_cer_counts_characters():
  assert text.cer(["abcd"], ["abxd"]) == {"cer": 1 / 4}


def test_exact_counts_predictions_equal_after_normalization():
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
  assert "tok:13a" in text.rule("bleu", "en")
  assert "version:" in text.rule("chrf", "en")
  assert text.rule("exact", "en") is None
  assert text.NORMALIZER.startswith("whisper_normalizer-")


SAID = {
  "en": ("The train leaves at nine.", "It is raining, and it is cold.", "How much is the book?"),
  "zh-Hant-TW": ("今天天氣很好。", "我在圖書館看一本書。", "這本書用 iPhone 付多少錢？"),
  "ja": ("今日は天気がいいです。", "図書館で本を読んでいます。", "この本はいくらですか？"),
  "th": ("วันนี้อากาศดีมาก", "ฉันกำลังอ่านหนังสือในห้องสมุด", "หนังสือเล่มนี้ราคาเท่าไร"),
  "my": ("ဒီနေ့ ရာသီဥတု ကောင်းတယ်။", "ကျွန်တော် စာအုပ်ဖတ်နေတယ်။", "ဒီစာအုပ် ဘယ်လောက်လဲ။"),
}
TOKENIZERS = {"en": "13a", "ko": "13a", "zh": "zh", "yue": "zh", "th": "char", "km": "char"}


def worse(said):
  """Returns what differs in a character, at an end, and not at all."""
  first, second, third = said
  return [first[:3] + first[4:], second[2:], third]


@pytest.mark.parametrize("language", SAID)
def test_perfect_predictions_of_every_script_have_no_errors_and_full_scores(language):
  said = SAID[language]
  assert text.cer.of(language)(said, said) == {"cer": 0}
  assert text.exact.of(language)(said, said) == {"exact": 1}
  for metric in (text.bleu, text.chrf, text.asr_bleu, text.asr_chrf):
    assert metric.of(language)(said, said)[metric.name] == pytest.approx(100)


@pytest.mark.parametrize("language", SAID)
def test_bleu_and_chrf_equal_those_of_sacrebleu(language):
  said = SAID[language]
  bleu = sacrebleu.BLEU(tokenize=text.tokenizer_of(language))
  for targets, predictions in (
    (said, worse(said)), (worse(said), said), (said, ["", said[1], said[2][:2]]),
    (said, said[::-1]), (["", said[1], ""], [said[0], said[1], ""]),
  ):  # fmt: skip
    expected = bleu.corpus_score(predictions, [targets]).score
    assert text.bleu.of(language)(targets, predictions)["bleu"] == pytest.approx(expected, abs=1e-9)
    expected = sacrebleu.corpus_chrf(predictions, [targets]).score
    assert text.chrf.of(language)(targets, predictions)["chrf"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("language", "tokenizer"), TOKENIZERS.items())
def test_the_rule_of_bleu_names_the_tokenizer_of_the_language(language, tokenizer):
  assert text.tokenizer_of(language) == tokenizer
  assert f"|tok:{tokenizer}|" in text.rule("asr_bleu", language)


@pytest.mark.parametrize(("there", "tokenizer"), [(True, "ja-mecab"), (False, "char")])
def test_japanese_has_words_where_the_extra_is_installed(monkeypatch, there, tokenizer):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: there or None)
  text._has_mecab.cache_clear()
  assert text.tokenizer_of("ja-JP") == tokenizer
  monkeypatch.undo()
  text._has_mecab.cache_clear()


def test_one_wrong_character_of_eleven_is_an_error_rate_by_characters_and_none_by_words():
  targets, said = ["我在图书馆看一本新书吗"], ["我在图书馆看一本旧书吗"]
  assert text.cer.of("zh")(targets, said) == {"cer": 1 / 11}
  assert not text.wer.of("zh").measures
  assert text.wer.of("ko").measures


def test_spaces_and_line_breaks_of_no_width_are_no_errors_where_no_spaces_separate_words():
  assert text.cer.of("zh")(["我用 iPhone，好"], ["我用iPhone 好"]) == {"cer": 0}
  assert text.cer.of("km")(["ខ្ញុំ\u200bទៅ"], ["ខ្ញុំទៅ"]) == {"cer": 0}
  assert text.cer.of("en")(["a b"], ["ab"])["cer"] == 1 / 3
  assert text.rule("cer", "zh") == text.rule("cer", "en") + ", spaces left out"


@pytest.mark.parametrize("metric", ALL)
def test_spellings_of_one_text_have_equal_counts(metric):
  target, said = "Le café\u00a0noir est à côté.", "Le café vert est à côté."
  expected = metric.tally([target], [said]).counts_NE
  for form in (unicodedata.normalize("NFD", said), said.replace(" ", "\u00a0"), f"{said}\r\n"):
    np.testing.assert_array_equal(metric.tally([target], [form]).counts_NE, expected)
    assert metric([form], [target]) == metric([said], [target])


def test_a_word_is_looked_for_among_words_or_where_there_are_none_anywhere():
  assert text.has_word("One BOOK, please.", ("book",), "en")
  assert not text.has_word("Two books.", ("book",), "en")
  assert text.has_word("我在看一本书。", ("书",), "zh")
  assert not text.has_word("我在看电影。", ("书",), "zh")
  assert text.has_word("un cafe\u0301", ("café",), "fr")


def test_words_are_characters_where_no_spaces_separate_them():
  assert text.words("Good morning!", "en") == ["good", "morning"]
  assert text.words("早上好！", "zh") == ["早", "上", "好"]
