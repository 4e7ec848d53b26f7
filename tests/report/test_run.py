import json
import shutil

import pytest

from audiopalm.errors import ConfigError, DataError
from audiopalm.report import run


@pytest.fixture
def copied(workdir, tmp_path):
  return shutil.copytree(workdir, tmp_path / "copy")


def test_a_run_is_what_its_files_say(workdir):
  found = run.read(workdir)
  assert (found.experiment.name, found.step) == ("small", 40)
  assert found.seen["asr"]["tokens"] == 1_000
  assert (found.goodput, found.lost_steps) == ({"step": 75.0, "compile": 25.0}, 3)
  assert (found.modality("source.units"), found.modality("text")) == ("speech", "text")
  assert found.scores == json.loads((workdir / "evaluation/results.json").read_text())
  assert found.gaps() == []


def test_seconds_of_starts_that_ended_and_of_one_that_was_killed_add_up():
  def line(start, **seconds):
    return {"time": 0.0, "start": start, "step": 1, "seconds": seconds}

  def total(start, **seconds):
    return {"time": 0.0, "start": start, "step": 1, "total": seconds, "lost_steps": 0}

  ended = [line(5, init=1.0, step=9.0), line(5, step=10.0), total(5, init=1.0, step=22.0)]
  assert run.goodput(ended) == {"init": 1.0, "step": 22.0}
  assert run.goodput([*ended, total(6, init=1.0, step=30.0)]) == {"init": 2.0, "step": 52.0}
  killed = [line(4, init=2.0, step=8.0), line(4, step=10.0)]
  assert run.goodput(killed) == {"init": 2.0, "step": 18.0}
  assert run.goodput([*killed, *ended]) == {"init": 3.0, "step": 40.0}
  assert run.goodput([]) == {}


def test_lines_without_a_start_are_read_up_to_each_total():
  first = [{"seconds": {"init": 1.0, "step": 9.0}}, {"total": {"init": 1.0, "step": 22.0}}]
  killed = [{"seconds": {"init": 2.0, "step": 8.0}}]
  assert run.goodput([*first, *killed]) == {"init": 3.0, "step": 30.0}
  assert run.goodput([*first, *killed, *first]) == {"init": 4.0, "step": 44.0}


def test_a_last_line_that_was_cut_is_left_out(copied):
  path = copied / "metrics.jsonl"
  path.write_text(path.read_text() + '{"step": 41, "lo')
  assert run.read(copied).step == 40


def test_a_damaged_line_is_named(copied):
  path = copied / "metrics.jsonl"
  path.write_text("{\n" + path.read_text())
  with pytest.raises(DataError, match=r"metrics.jsonl, line 1: expected JSON.*Delete that line"):
    run.read(copied)


def test_a_folder_that_is_not_there_is_no_run(tmp_path):
  with pytest.raises(ConfigError, match="There is no run in .*nowhere: no such folder. Train one"):
    run.read(tmp_path / "nowhere")


def test_a_folder_without_a_config_is_no_run(tmp_path):
  with pytest.raises(ConfigError, match="it holds no config.json, which `audiopalm train` writes"):
    run.read(tmp_path)


@pytest.mark.parametrize(
  ("text", "advice"),
  [
    ("{", "JSON, but it is damaged .* run the command that wrote it again"),
    ("[]", "the scores of an evaluation.* Run `audiopalm evaluate` again"),
    ('{"asr": {}}', "the scores of an evaluation.* Run `audiopalm evaluate` again"),
  ],
)
def test_damaged_scores_say_how_to_make_them_again(copied, text, advice):
  (copied / "evaluation/results.json").write_text(text)
  with pytest.raises(DataError, match=f"results.json: expected {advice}"):
    run.read(copied)


def test_what_is_missing_comes_with_the_command_that_makes_it(made_run, tmp_path):
  new = run.read(made_run.write(tmp_path / "new", steps=0, evaluated=False))
  assert new.gaps() == [
    ("Nothing has been trained yet: there are no curves. Begin with",
     f"audiopalm train CONFIG --workdir {tmp_path}/new"),
    ("Nothing has been scored yet: no table, no examples. Score it with",
     f"audiopalm evaluate --workdir {tmp_path}/new"),
  ]  # fmt: skip
  half = run.read(made_run.write(tmp_path / "half", steps=25, evaluated=False))
  assert half.gaps()[0][0] == "Training is at step 25 of 40. Continue with"


def test_scores_of_an_older_step_or_of_some_tasks_are_said(copied):
  results = copied / "evaluation/results.json"
  scores = json.loads(results.read_text())
  results.write_text(json.dumps({name: value for name, value in scores.items() if name != "mt"}))
  (copied / "evaluation/checkpoint.json").write_text('{"step": 30}')
  assert [what for what, _ in run.read(copied).gaps()] == [
    "Not scored: mt. Score the whole mixture with",
    "The scores are of step 30, training is at 40. Score it again with",
  ]


def test_recordings_that_are_gone_are_a_data_error(copied):
  found = run.read(copied)
  shutil.rmtree(copied / "streams")
  with pytest.raises(DataError, match="is missing"):
    found.entries(found.experiment.tasks[0], "test")
