import json
import subprocess
import sys

import pytest

from audiopalm.cli import main
from audiopalm.data.executors import Local
from audiopalm.errors import EXIT_DONE, EXIT_USER
from audiopalm.evaluation import likelihoods, runner
from audiopalm.metrics.likelihood import Sums


@pytest.fixture
def command(opened, tmp_path, monkeypatch, capsys):
  """Runs `audiopalm evaluate` on a made-up run; gives the exit code, stdout and stderr."""
  sums = {"text": Sums(1.0, 1.0, 1.0)}
  monkeypatch.setattr(likelihoods, "of_examples", lambda generator, grids: [sums] * len(grids))
  monkeypatch.setattr(runner.executors, "Local", lambda workers: Local(0))
  monkeypatch.setenv("COLUMNS", "200")
  opened()

  def run(*arguments):
    code = main.main(["evaluate", "--workdir", str(tmp_path), *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err

  return run


def test_the_table_ends_with_where_everything_lies(command, tmp_path):
  code, out, err = command("--json", str(tmp_path / "scores/all.json"))
  assert code == EXIT_DONE
  assert "nearest copied" in out
  assert "should say" in out
  last = out.strip().splitlines()[-1]
  assert last == (
    f"Scores: {tmp_path}/evaluation/results.json, {tmp_path}/scores/all.json. "
    f"Every output: {tmp_path}/evaluation"
  )
  assert "asr on test: 8 examples" in err
  scores = json.loads((tmp_path / "scores/all.json").read_text())
  assert list(scores) == ["asr", "tts", "mt", "held_out_voices", "baselines"]
  assert scores == json.loads((tmp_path / "evaluation/results.json").read_text())


def test_only_the_tasks_named_are_scored(command, tmp_path):
  command("--tasks", "mt, asr")
  scores = json.loads((tmp_path / "evaluation/results.json").read_text())
  assert list(scores) == ["asr", "mt", "held_out_voices", "baselines"]


def test_an_unknown_task_lists_the_known_ones(command):
  code, _, err = command("--tasks", "asr,asl")
  assert code == EXIT_USER
  assert "Unknown task 'asl'. This run was trained on: asr, tts, mt" in err


def apart(*arguments):
  """Runs a command line in a process of its own; gives its result, and whether jax was loaded."""
  code = f"""
import sys
from audiopalm.cli import main
code = main.main({list(arguments)})
print("jax" in sys.modules, file=sys.stderr)
sys.exit(code)
"""
  return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_what_was_said_is_scored_again_without_the_model_and_without_jax(command, tmp_path):
  _, table, _ = command()
  results = tmp_path / "evaluation/results.json"
  whole = results.read_text()
  results.unlink()
  found = apart("evaluate", "--workdir", str(tmp_path), "--rescore")
  assert (found.returncode, found.stderr) == (EXIT_DONE, "False\n")
  assert results.read_text() == whole
  first, again = (
    [text for text in said.splitlines() if not text.startswith("Scored ")]
    for said in (table, found.stdout)
  )
  assert again == first


def test_nothing_to_score_again_is_one_text(tmp_path, capsys):
  assert main.main(["evaluate", "--workdir", str(tmp_path), "--rescore"]) == EXIT_USER
  assert "There are no outputs in" in capsys.readouterr().err


@pytest.mark.parametrize("option", [("--tasks", "asr"), ("--step", "3"), ("--machine", "cpu")])
def test_options_that_ask_the_model_are_refused_beside_rescore(tmp_path, capsys, option):
  assert main.main(["evaluate", "--workdir", str(tmp_path), "--rescore", *option]) == EXIT_USER
  text = f"--rescore counts all outputs that were saved, as they are: leave out {option[0]}."
  assert text in capsys.readouterr().err
