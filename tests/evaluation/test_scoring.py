import dataclasses
import json
import unicodedata

import pytest

from audiopalm.evaluation import answers, scoring
from audiopalm.evaluation.answers import Answer, Output
from audiopalm.metrics import text
from audiopalm.metrics.likelihood import Sums


def asr(id, reference, hypothesis, *, voice="en-a", language="en", split="test", system="model"):
  said = (Output("source.text", "text", "words", reference, hypothesis),)
  sums = {"text": Sums(2.0, 1.0, 2.0)}
  return Answer(system, "asr", split, id, language, voice, said, likelihood=sums)


def test_scores_have_tasks_then_held_out_voices_then_baselines():
  scores = scoring.score(
    [
      asr("1", "a b", "a b"),
      asr("2", "a b", "a x", split="held_out_voices"),
      asr("1", "a b", "", system="untrained"),
    ]
  )
  assert list(scores) == ["asr", "held_out_voices", "baselines"]
  assert scores["asr"]["wer"] == 0
  assert scores["held_out_voices"]["asr"]["wer"] == 0.5
  assert scores["baselines"]["untrained"]["asr"]["wer"] == 1


def test_a_task_has_error_rates_likelihood_and_the_number_of_examples():
  scores = scoring.score([asr("1", "a b", "a b"), asr("2", "c d", "c")])["asr"]
  assert scores["wer"] == 1 / 4
  assert scores["cer"] == 2 / 6
  assert scores["exact"] == 1 / 2
  assert scores["nll"] == 1.0
  assert scores["token_accuracy"] == 0.5
  assert scores["examples"] == 2
  assert scores["mean_words"] == 2


def test_examples_with_words_new_to_the_task_are_in_its_score_and_scored_apart():
  new = dataclasses.replace(asr("2", "a c", "a x"), new_words=True)
  scores = scoring.score([asr("1", "a b", "a b"), new])["asr"]
  assert scores["wer"] == 0.25
  assert scores["new_words"] == {**scores["new_words"], "wer": 0.5, "examples": 1}


def test_examples_of_pairs_new_to_the_task_are_scored_apart_only():
  new = dataclasses.replace(asr("2", "a c", "a x", language="fr", voice="fr-a"), zero_shot=True)
  scores = scoring.score([asr("1", "a b", "a b"), new])["asr"]
  assert (scores["wer"], scores["examples"]) == (0, 1)
  assert scores["zero_shot"] == {**scores["zero_shot"], "wer": 0.5, "examples": 1}
  assert {name: value["wer"] for name, value in scores["languages"].items()} == {"en": 0, "fr": 0.5}
  assert list(scores["voices"]) == ["en-a"]


def test_each_language_and_voice_is_scored_and_the_worst_voice_named():
  scores = scoring.score(
    [
      asr("1", "a b", "a b", voice="en-a"),
      asr("2", "a b", "x y", voice="en-b"),
      asr("3", "a b", "a x", voice="fr-a", language="fr"),
    ]
  )["asr"]
  assert {name: value["wer"] for name, value in scores["languages"].items()} == {
    "en": 0.5,
    "fr": 0.5,
  }
  assert {name: value["wer"] for name, value in scores["voices"].items()} == {
    "en-a": 0,
    "en-b": 1,
    "fr-a": 0.5,
  }
  assert scores["worst_voice"] == {"voice": "en-b", "wer": 1}


def test_translations_are_scored_by_bleu_and_chrf_and_speech_by_its_transcript():
  text = Output("target.text", "text", "translation", "il pleut ce soir", "il pleut ce soir")
  speech = Output(
    "target.units", "speech", "translation", "Il pleut ce soir.", "il pleut ce soir", 4.0
  )
  scores = scoring.score(
    [
      Answer("model", "mt", "test", "1", "en-fr", None, (text,)),
      Answer("model", "s2st", "test", "1", "en-fr", "en-a", (speech,)),
    ]
  )
  assert scores["mt"]["bleu"] == pytest.approx(100)
  assert scores["mt"]["chrf"] == pytest.approx(100)
  assert "voices" not in scores["mt"]
  assert scores["s2st"]["asr_bleu"] == pytest.approx(100)
  assert scores["s2st"]["mcd"] == 4.0


def test_a_chain_has_each_output_and_its_first_of_a_kind_as_the_tasks_own():
  said = (
    Output("source.text", "text", "words", "a b", "a x"),
    Output("target.text", "text", "translation", "c d", "c d"),
    Output("target.units", "speech", "translation", "c d", "c", 3.0),
  )
  scores = scoring.score([Answer("model", "chain", "test", "1", "en-fr", "en-a", said)])["chain"]
  assert scores["wer"] == 0.5
  assert scores["mcd"] == 3.0
  assert set(scores["outputs"]) == {"source.text", "target.text", "target.units"}
  assert scores["outputs"]["source.text"]["wer"] == 0.5


def test_speech_that_could_not_be_read_back_counts_as_silence():
  said = Output("source.units", "speech", "words", "a b", "", None, "x.wav", fault="x.wav: silent")
  scores = scoring.score([Answer("model", "tts", "test", "1", "en", "en-a", (said,))])["tts"]
  assert scores["wer"] == 1
  assert scores["faults"] == 1
  assert "mcd" not in scores


def test_without_a_transcribing_task_speech_has_a_distance_only():
  said = Output("source.units", "speech", "words", "a b", None, 5.0, "x.wav")
  scores = scoring.score([Answer("model", "tts", "test", "1", "en", "en-a", (said,))])["tts"]
  assert scores["mcd"] == 5.0
  assert "wer" not in scores


def test_an_example_longer_than_a_row_is_counted_and_not_scored():
  left = Answer("model", "asr", "test", "2", "", None, (), left_out=True)
  scores = scoring.score([asr("1", "a", "a"), left])["asr"]
  assert scores["left_out"] == 1
  assert scores["examples"] == 1
  assert list(scores["languages"]) == ["en"]


def test_the_rules_of_every_score_are_recorded():
  said = Output("target.text", "text", "translation", "c d", "c d")
  scores = scoring.score(
    [asr("1", "a", "a"), Answer("model", "mt", "test", "1", "en-fr", None, (said,))]
  )
  assert "BasicTextNormalizer" in scores["asr"]["rules"]["normalizer"]
  assert set(scores["asr"]["rules"]) == {"intervals", "nll", "wer", "cer", "normalizer"}
  assert set(scores["mt"]["rules"]) == {"intervals", "bleu", "chrf"}
  assert scores["mt"]["rules"]["intervals"] == (
    "95% percentile bootstrap over examples, 1,000 resamples"
  )


def test_every_score_of_a_task_a_language_and_a_voice_has_its_interval():
  spoken = [
    dataclasses.replace(
      asr(str(n), "a b", "a b" if n % 3 else "a x", voice=f"en-{n % 2}"),
      outputs=(
        Output("units", "speech", "words", "a b", "a b" if n % 3 else "a x", 4.0 + n, "x.wav"),
      ),
    )
    for n in range(12)
  ]
  scores = scoring.score_task(spoken)
  for group in (scores, scores["languages"]["en"], scores["voices"]["en-1"]):
    names = ["wer", "cer", "exact", "mcd", "nll", "token_accuracy"]
    assert list(group["intervals"]) == names
    for name in names:
      low, high = group["intervals"][name]
      assert low <= group[name] <= high
  assert scores["intervals"]["wer"][0] < scores["wer"] < scores["intervals"]["wer"][1]
  assert scores["intervals"]["nll"] == [1.0, 1.0]
  assert scores["modalities"]["text"]["intervals"]["nll"] == [1.0, 1.0]


def test_one_example_has_no_interval():
  assert "intervals" not in scoring.score_task([asr("1", "a b", "a x")])


def test_outputs_have_the_intervals_of_their_own():
  said = (
    Output("source.text", "text", "words", "a b", "a x"),
    Output("target.text", "text", "words", "a b", "a b"),
  )
  lines = [Answer("model", "chain", "test", str(n), "en", None, said) for n in range(3)]
  scores = scoring.score_task(lines)
  assert scores["intervals"]["wer"] == [0.5, 0.5]
  assert scores["outputs"]["target.text"]["intervals"]["wer"] == [0, 0]


def test_where_transcripts_come_from_is_recorded():
  spoken = Output("target.units", "speech", "words", "a", "a", 1.0, "x.wav")
  copied = Output("target.units", "speech", "words", "a", "a")
  other = dataclasses.replace(spoken, heard_by="the command 'a {wav}'", independent="a")
  rules = [
    scoring.score_task([Answer("model", "tts", "test", "1", "en", "en-a", (said,))])["rules"]
    for said in (spoken, copied, other)
  ]
  assert rules[0]["transcripts"] == scoring.OWN_ASR
  assert rules[1]["transcripts"] == scoring.KNOWN_TEXT
  assert rules[2]["transcripts"] == scoring.OWN_ASR
  assert rules[2]["independent_transcripts"] == "the command 'a {wav}'"
  assert "independent_transcripts" not in rules[0]


def test_scores_of_saved_and_read_lines_are_the_same(tmp_path):
  said = [asr("1", "a b", "a x"), asr("2", "é", "é", split="held_out_voices")]
  answers.write(tmp_path / "saved.jsonl", said)
  assert answers.read(tmp_path / "saved.jsonl") == tuple(said)
  assert scoring.score(answers.read(tmp_path / "saved.jsonl")) == scoring.score(said)
  json.dumps(scoring.score(said), allow_nan=False)


def test_the_score_that_stands_for_a_task_is_the_first_it_has():
  assert scoring.leading({"nll": 1.0, "cer": 0.1, "wer": 0.2}) == "wer"
  assert scoring.leading({"mcd": 3.0, "asr_bleu": 20.0}) == "asr_bleu"
  assert scoring.leading({"examples": 3}) is None


CHINESE = ("今天天气很好。", "我在图书馆看一本书。")


def said_in(
  language, reference, hypothesis, *, id="1", task="asr", measure="words", modality="text"
):
  said = (
    Output(f"target.{modality}", modality, measure, reference, hypothesis, language=language),
  )
  return Answer("model", task, "test", id, language, f"{language}-a", said)


@pytest.mark.parametrize("language", ["zh", "ja", "th", "km"])
@pytest.mark.parametrize(
  ("modality", "measure", "name"),
  [("text", "translation", "bleu"), ("speech", "translation", "asr_bleu")],
)
def test_perfect_translations_without_spaces_have_full_scores(language, modality, measure, name):
  scores = scoring.score_task(
    [
      said_in(language, one, one, id=str(n), measure=measure, modality=modality)
      for n, one in enumerate(CHINESE)
    ]
  )
  assert scores[name] == pytest.approx(100)
  assert scoring.leading(scores) == name
  assert scores["rules"][name] == text.rule(name, language)
  assert "tok:13a" not in scores["rules"][name]


def test_errors_lead_by_characters_where_no_spaces_separate_words():
  scores = scoring.score_task([said_in("zh", "我在图书馆看一本新书吗", "我在图书馆看一本旧书吗")])
  assert scoring.leading(scores) == "cer"
  assert scores["cer"] == 1 / 11
  assert "wer" not in scores and "wer" not in scores["rules"]
  assert scores["worst_voice"] == {"voice": "zh-a", "cer": 1 / 11}
  assert scores["mean_characters"] == 11 and "mean_words" not in scores


def test_languages_of_both_kinds_have_no_word_errors_together_and_rules_by_language():
  scores = scoring.score_task([said_in("en", "a b", "a x"), said_in("zh", "今天", "今天", id="2")])
  assert "wer" not in scores and "wer" not in scores["intervals"]
  assert scores["cer"] == 1 / 5
  assert scores["languages"]["en"]["wer"] == 1 / 2
  assert scoring.leading(scores["languages"]["zh"]) == "cer"
  assert scores["worst_voice"] == {"voice": "en-a", "cer": 1 / 3}
  assert scores["rules"]["cer"] == f"{text.rule('cer', 'en')} (en); {text.rule('cer', 'zh')} (zh)"


def test_spellings_of_one_answer_have_equal_scores():
  reference = "Le café noir est très cher."
  forms = (reference, unicodedata.normalize("NFD", reference), reference.replace(" ", "\u00a0"))
  found = [
    scoring.score_task([said_in("fr", reference, form, measure="translation")])["bleu"]
    for form in (*forms, f"{reference}\r\n")
  ]
  assert found == [pytest.approx(100)] * 4


def test_numbers_are_words_to_the_independent_ear_and_stay_as_written_in_the_raw_score():
  said = Output(
    "source.units", "speech", "words", "il coûte trente-deux euros", "il coûte 32 €", None, "a.wav",
    heard_by="an ear", independent="Il coûte 32 €.", language="fr",
  )  # fmt: skip
  scores = scoring.score_task([Answer("model", "tts", "test", "1", "fr", "fr-a", (said,))])
  assert scores["independent_wer"] == scores["independent_cer"] == 0
  assert scores["independent_raw_wer"] == scores["wer"] == 3 / 5
  unknown = dataclasses.replace(said, language="am")
  scores = scoring.score_task([Answer("model", "tts", "test", "1", "am", "am-a", (unknown,))])
  assert scores["independent_wer"] == scores["independent_raw_wer"] == 3 / 5
  assert scores["rules"]["independent_numbers"].endswith(", unchanged in am")


def test_without_spaces_the_independent_ear_counts_characters_and_none_for_mixed_languages():
  chinese = Output(
    "source.units", "speech", "words", "今天天气", "今天", None, "a.wav", heard_by="an ear",
    independent="今天天天", language="zh",
  )  # fmt: skip
  english = dataclasses.replace(chinese, reference="a b", independent="a c", language="en")
  scores = scoring.score_task(
    [
      Answer("model", "tts", "test", str(n), said.language, f"{said.language}-a", (said,))
      for n, said in enumerate((chinese, english))
    ]
  )
  assert "independent_wer" not in scores
  assert scores["independent_cer"] == 2 / 7
  assert scores["languages"]["en"]["independent_wer"] == 1 / 2
  assert scores["languages"]["zh"]["independent_cer"] == 1 / 4


def test_a_translation_heard_by_another_ear_has_a_bleu_of_its_own():
  said = Output(
    "target.units", "speech", "translation", "a b c d three", "x", None, "a.wav",
    heard_by="an ear", independent="a b c d 3", language="en",
  )  # fmt: skip
  scores = scoring.score_task([Answer("model", "s2st", "test", "1", "fr-en", "fr-a", (said,))])
  assert scores["independent_asr_bleu"] == pytest.approx(100)
  assert scores["asr_bleu"] == 0
  assert scores["worst_voice"]["asr_bleu"] == 0
