import json

import pytest

from audiopalm.errors import DataError
from audiopalm.evaluation import saved, suites
from audiopalm.evaluation.answers import Answer, Output
from audiopalm.types import Task


def line(system, task, said="a"):
  output = Output("source.text", "text", "words", "a", said)
  return Answer(system, task, "test", "1", "en", None, (output,))


def test_lines_go_by_system_and_by_the_order_of_the_tasks():
  asked = ("nearest_copy", "mt"), ("model", "old"), ("model", "mt"), ("model", "asr")
  found = [line(*one) for one in asked]
  tasks = [(one.system, one.task) for one in saved.ordered(found, ["mt", "asr"])]
  assert tasks == [("model", "mt"), ("model", "asr"), ("model", "old"), ("nearest_copy", "mt")]


def test_outputs_of_a_task_that_is_asked_again_go_and_others_stay(tmp_path):
  tasks = [Task(name, None, "", (), ()) for name in ("asr", "chain_asr")]
  kinds = suites.kinds(tasks, {})
  saved.begin(tmp_path, 3, kinds)
  for system, task in (("model", "asr"), ("untrained", "asr"), ("model", "chain_asr")):
    saved.keep(tmp_path, [line(system, task)])
  saved.finish(tmp_path, ["asr", "chain_asr"])
  saved.begin(tmp_path, 3, kinds)
  saved.keep(tmp_path, [line("model", "asr", "b")])
  saved.finish(tmp_path, ["asr"])
  names = {path.name for path in (tmp_path / "outputs").iterdir()}
  assert names == {"model-test-asr.jsonl", "model-test-chain_asr.jsonl"}
  assert saved.score(tmp_path)["asr"]["wer"] == 1
  assert saved.scored_step(tmp_path) == 3


def test_an_evaluation_that_is_stopped_loses_and_changes_nothing(tmp_path):
  kinds = suites.kinds([Task(name, None, "", (), ()) for name in ("asr", "mt")], {})
  saved.begin(tmp_path, 3, kinds)
  for task in ("asr", "mt"):
    saved.keep(tmp_path, [line("model", task)])
  saved.finish(tmp_path, ["asr", "mt"])
  scores = saved.score(tmp_path)
  saved.begin(tmp_path, 3, kinds)
  saved.keep(tmp_path, [line("model", "asr", "b")])  # and here it is killed
  assert saved.score(tmp_path) == scores
  saved.begin(tmp_path, 3, kinds)
  saved.keep(tmp_path, [line("model", "mt", "b")])
  saved.finish(tmp_path, ["mt"])
  assert {task: saved.score(tmp_path)[task]["wer"] for task in ("asr", "mt")} == {"asr": 0, "mt": 1}


def test_outputs_whose_order_nobody_wrote_down_are_scored_too(tmp_path):
  saved.keep(tmp_path, [line("model", "mt")])
  saved.keep(tmp_path, [line("model", "asr", "b")])
  saved.finish(tmp_path, ["asr", "mt"])
  assert list(saved.score(tmp_path)) == ["asr", "mt", "held_out_voices", "baselines", "suites"]
  assert json.loads((tmp_path / "results.json").read_text())["asr"]["wer"] == 1


def test_without_outputs_there_is_nothing_to_score(tmp_path):
  with pytest.raises(DataError, match="There are no outputs in .*made by `audiopalm evaluate --wo"):
    saved.score(tmp_path / "evaluation")
