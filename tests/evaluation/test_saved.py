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
  saved.begin(tmp_path, 3, kinds, ["asr", "chain_asr"])
  for task in ("asr", "chain_asr"):
    saved.keep(tmp_path, [line("model", task)])
  saved.begin(tmp_path, 3, kinds, ["asr"])
  assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["model-test-chain_asr.jsonl"]
  assert saved.scored_step(tmp_path) == 3


def test_outputs_whose_order_nobody_wrote_down_are_scored_too(tmp_path):
  saved.keep(tmp_path, [line("model", "mt")])
  saved.keep(tmp_path, [line("model", "asr", "b")])
  assert list(saved.score(tmp_path)) == ["asr", "mt", "held_out_voices", "baselines", "suites"]
  assert json.loads((tmp_path / "results.json").read_text())["asr"]["wer"] == 1


def test_without_outputs_there_is_nothing_to_score(tmp_path):
  with pytest.raises(DataError, match="There are no outputs in .*made by `audiopalm evaluate --wo"):
    saved.score(tmp_path / "evaluation")
