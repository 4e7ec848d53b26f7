import dataclasses
import json

import pytest

from audiopalm.errors import DataError
from audiopalm.evaluation import answers
from audiopalm.evaluation.answers import Answer, Output


def test_a_damaged_line_is_named(tmp_path):
  path = tmp_path / "model-test-asr.jsonl"
  path.write_text('{"system": "model"}\n')
  with pytest.raises(DataError, match=r"asr.jsonl, line 1: .*Run `audiopalm evaluate` again"):
    answers.read(path)


def test_a_file_that_lost_its_lines_is_no_evaluation_without_examples(tmp_path):
  path = tmp_path / "model-test-asr.jsonl"
  path.touch()
  with pytest.raises(DataError, match=r"asr.jsonl: expected the outputs .* empty. Run `audiopalm"):
    answers.read(path)


@pytest.mark.parametrize(
  "mark", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1e", "\r\n"]
)
def test_outputs_with_line_ends_of_other_kinds_are_read_again(tmp_path, mark):
  said = (Output("source.text", "text", "words", f"one{mark}two", f"{mark}one", language="en"),)
  path = tmp_path / "model-test-asr.jsonl"
  line = Answer("model", "asr", "test", "1", "en", None, said)
  answers.write(path, [line, dataclasses.replace(line, id="2")])
  assert answers.read(path) == (line, dataclasses.replace(line, id="2"))


def test_a_cut_last_line_of_outputs_is_damage(tmp_path):
  path = tmp_path / "model-test-asr.jsonl"
  answers.write(path, [Answer("model", "asr", "test", "1", "en", None, ())])
  path.write_bytes(path.read_bytes() + b'{"system": "mo')
  with pytest.raises(DataError, match="line 2: expected JSON.*Run `audiopalm evaluate` again"):
    answers.read(path)


@pytest.mark.parametrize(
  ("pair", "measure", "language"),
  [("zh", "words", "zh"), ("en-zh", "translation", "zh"), ("zh-en", "words", "zh")],
)
def test_the_language_of_outputs_that_older_versions_wrote_follows_from_their_pair(
  tmp_path, pair, measure, language
):
  said = (Output("target.text", "text", measure, "a", "a"),)
  path = tmp_path / "model-test-mt.jsonl"
  answers.write(path, [Answer("model", "mt", "test", "1", pair, None, said)])
  values = json.loads(path.read_text())
  del values["said"][0]["language"]
  path.write_text(json.dumps(values) + "\n")
  ((again,),) = [answer.outputs for answer in answers.read(path)]
  assert again.language == language


def test_an_older_line_of_another_recognizer_keeps_its_transcript_apart_from_the_runs(tmp_path):
  path = tmp_path / "lines.jsonl"
  said = Output("target.units", "speech", "words", "a", "b", wave="a.wav", heard_by="a program")
  answers.write(path, [Answer("model", "tts", "test", "1", "en", "anna", (said,))])
  values = json.loads(path.read_text())
  for name in ("independent", "independent_fault", "language", "voice"):
    del values["said"][0][name]
  path.write_text(json.dumps(values) + "\n")
  ((again,),) = [line.outputs for line in answers.read(path)]
  assert (again.hypothesis, again.independent) == (None, "b")
