import io
import re

import rich.console

from audiopalm.evaluation import answers, report, scoring
from audiopalm.evaluation.answers import Answer, Output


def line(system, split, hypothesis, voice):
  said = (Output("source.text", "text", "words", "a b c d", hypothesis),)
  return Answer(system, "asr", split, "1", "en", voice, said)


SCORES = scoring.score(
  [
    line("model", "test", "a b c d", "en-a"),
    line("model", "held_out_voices", "a b c x", "en-new"),
    line("model", "held_out_voices", "a b x x", "en-strange"),
    line("untrained", "test", "", "en-a"),
    line("nearest_copy", "test", "a x x x", "en-a"),
  ]
)


def drawn(scores, width=80):
  console = rich.console.Console(file=io.StringIO(), width=width)
  report.show(scores, console)
  return console.file.getvalue()


def rows(scores):
  lines = drawn(scores).split("\n\n")[0].splitlines()[1:]
  cells = [re.split("  +", line.strip()) for line in lines]
  return {row[0]: row[1] for row in cells if len(row) > 1}


def test_the_table_has_voices_the_worst_and_the_baselines():
  assert rows(SCORES) == {
    "test": "0.0",
    "held-out voices": "37.5 ±12.5",
    "en-new": "25.0",
    "en-strange (worst)": "50.0",
    "untrained": "100.0",
    "nearest copied": "75.0",
  }


def test_every_score_of_a_spoken_task_fits_into_80_columns():
  values = {of.name: 0.999 if of.factor == 100 else 99.99 for of in report.COLUMNS}
  others = ("bleu", "chrf", "mos", "similarity")  # meters are asked for by options
  spoken = {k: v for k, v in values.items() if k not in others} | {"examples": 600}
  text = drawn({"s2st": spoken | {"voices": {}}, "held_out_voices": {}, "baselines": {}})
  assert max(map(len, text.splitlines())) <= 80
  assert "99.99" in text


def test_intervals_are_shown_of_as_many_scores_as_there_is_room_for():
  values = {"wer": 0.056, "cer": 0.02, "nll": 1.2, "examples": 600}
  values |= {"intervals": {"wer": [0.05, 0.066], "cer": [0.01, 0.03], "nll": [1.0, 1.5]}}
  scores = {"asr": values, "held_out_voices": {}, "baselines": {}}
  assert "5.6 ±0.8  2.0 ±1.0  1.20 ±0.25" in " ".join(drawn(scores, 80).split("\n")[1:2])
  assert "5.6 ±0.8    2.0  1.20" in drawn(scores, 50)
  assert "5.6    2.0  1.20" in drawn(scores, 20)
  assert "±" not in drawn(scores, 20).split("new words")[0]


def test_a_narrow_console_cuts_no_number_off():
  assert drawn(SCORES, width=20).split() == re.sub(r" ±[\d.]+", "", drawn(SCORES)).split()


def test_columns_without_a_value_are_left_out():
  assert "WER %" in drawn(SCORES)
  assert "BLEU" not in drawn(SCORES)


def test_the_first_recordings_of_a_task_are_pointed_to(tmp_path):
  said = Output("target.units", "speech", "words", "one", "won", 3.0, "waves/1.wav")
  saved = [Answer("model", "tts", "test", str(n), "en", "en-a", (said,)) for n in range(3)]
  answers.write(tmp_path / "outputs/model-test-tts.jsonl", saved)
  found = report.to_listen(tmp_path, ["asr", "tts"], 1)
  assert found == [
    "Listen:",
    f"tts en: {tmp_path}/waves/1.wav",
    "  should say 'one', heard as 'won'",
  ]


def test_without_speech_there_is_nothing_to_listen_to(tmp_path):
  assert report.to_listen(tmp_path, ["asr"], 2) == []


def test_a_suite_has_a_row_a_task_and_its_languages_with_those_never_trained_on_marked():
  pairs = {
    "en-fr": {"bleu": 30.0, "chrf": 50.0, "examples": 2},
    "fr-en": {"bleu": 10.0, "examples": 1, "zero_shot": True},
  }
  ast = {"bleu": 30.0, "chrf": 50.0, "intervals": {"bleu": [25.0, 35.0]}, "examples": 2}
  sections = {
    "translation": {"ast": {**ast, "languages": pairs}},
    "zero_resource": {"swuggy": {"accuracy": 0.7, "examples": 9}},
  }
  console = rich.console.Console(file=io.StringIO(), width=80)
  report.show_suites({"suites": sections}, console)
  translation, judged = console.file.getvalue().split("zero_resource")
  assert [line.split() for line in translation.strip().splitlines()] == [
    ["translation", "BLEU", "chrF", "n"],
    ["ast", "30.0", "±5.0", "50.0", "2"],
    ["en-fr", "30.0", "50.0", "2"],
    ["fr-en,", "zero-shot", "10.0", "1"],
  ]
  assert judged.split()[:5] == ["pairs", "%", "n", "swuggy", "70.0"]
  assert "zero-shot: never trained on" in judged


def test_without_suites_nothing_is_shown_of_them():
  console = rich.console.Console(file=io.StringIO(), width=80)
  report.show_suites({"suites": {}}, console)
  report.show_suites({"suites": {"speech_out": {"continuation": {"examples": 2}}}}, console)
  assert console.file.getvalue() == ""


def test_a_narrow_suite_has_the_interval_of_its_first_score_that_a_task_has():
  intervals = {"cer": [0.05, 0.15], "nll": [1.0, 3.0]}
  asr = {"cer": 0.1, "nll": 2.0, "intervals": intervals, "examples": 2}
  console = rich.console.Console(file=io.StringIO(), width=43)
  report.show_suites({"suites": {"recognition": {"asr": asr}}}, console)
  assert "10.0 ±5.0  2.00  2" in console.file.getvalue()


def test_both_ears_stand_in_a_table_of_their_own_that_fits_into_80_columns():
  names = ("wer", "cer", "independent_wer", "independent_raw_wer", "independent_cer")
  values = dict(zip(names, (0.1, 0.2, 0.3, 0.4, 0.5), strict=True)) | {"examples": 600}
  text = drawn({"tts": values, "held_out_voices": {}, "baselines": {}})
  own, both = text.split("tts, both recognizers")
  assert "indep." not in own and max(map(len, text.splitlines())) <= 80
  head, row = both.splitlines()[:2]
  assert re.split("  +", head.strip()) == [
    "WER %", "indep. WER %", "raw %", "CER %", "indep. CER %", "n"
  ]  # fmt: skip
  assert row.split() == ["all", "10.0", "30.0", "40.0", "20.0", "50.0", "600"]


def test_voices_stand_below_their_language_with_an_interval_each():
  heard = {"independent_wer": 0.2, "intervals": {"independent_wer": [0.1, 0.3]}, "examples": 4}
  both = {"as_recorded": heard, "through_units": heard}
  section = {"rules": {}, "held_out_voices": {"en": both | {"voices": {"en-new": both}}}}
  console = rich.console.Console(file=io.StringIO(), width=80)
  report.show_recordings({"recordings": section}, console)
  head, *rows = [
    re.split("  +", line.strip()) for line in console.file.getvalue().strip().splitlines()
  ]
  assert head == ["indep. WER %", "recordings", "n", "through units", "n"]
  assert rows[0] == ["en, held-out voices", "20.0 ±10.0", "4", "20.0 ±10.0", "4"]
  assert rows[1] == ["en-new", "20.0 ±10.0", "4", "20.0 ±10.0", "4"]


def test_nothing_is_shown_of_recordings_that_nobody_heard():
  console = rich.console.Console(file=io.StringIO(), width=80)
  report.show_recordings({}, console)
  assert console.file.getvalue() == ""
