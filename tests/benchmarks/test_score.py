"""What a result keeps of the scores of an evaluation."""

import json

import score

from audiopalm.evaluation import scoring
from audiopalm.evaluation.answers import Answer, Output


def line(system, split, hypothesis, voice):
  output = Output("source.text", "text", "words", "a b c", hypothesis)
  return Answer(system, "asr", split, f"{voice}/{hypothesis}", "en", voice, (output,))


def scores():
  return scoring.score(
    [
      line("model", "test", "a b x", "en-a"),
      line("model", "test", "a b c", "en-b"),
      line("model", "held_out_voices", "x x x", "en-c"),
      line("nearest_copy", "test", "a x x", "en-a"),
    ]
  )


def test_a_result_has_each_score_with_its_interval_and_voices_by_the_leading_one():
  whole = scores()
  kept = score.brief({**whole, "suites": {"recognition": {"asr": whole["asr"]}}})
  assert kept["asr"]["wer"] == 0.16667 and len(kept["asr"]["intervals"]["wer"]) == 2
  assert kept["asr"]["voices"] == {"en-a": 0.33333, "en-b": 0.0}
  assert kept["asr"]["examples"] == 2 and "suites" not in kept
  assert kept["held_out_voices"]["asr"]["wer"] == 1.0
  nearest = kept["baselines"]["nearest_copy"]["asr"]
  assert nearest["wer"] == 0.66667 and "voices" not in nearest


def test_rules_are_listed_once_and_those_of_a_task_where_they_differ():
  whole = scores()
  whole["baselines"]["nearest_copy"]["asr"]["rules"] = {**whole["asr"]["rules"], "wer": "other"}
  kept = score.brief(whole)
  assert kept["rules"] == whole["asr"]["rules"] and "rules" not in kept["asr"]
  assert kept["baselines"]["nearest_copy"]["asr"]["rules"] == {"wer": "other"}


def test_lists_of_numbers_take_one_line_and_read_back_equal(tmp_path, monkeypatch):
  monkeypatch.setattr(score, "RESULTS", tmp_path)
  result = {"a": [1.5, 2], "b": ["x, y", "[z]"], "c": [{"d": []}], "e": []}
  score.write("r", result)
  text = (tmp_path / "r.json").read_text()
  assert json.loads(text) == result and ' "a": [1.5, 2],\n' in text
