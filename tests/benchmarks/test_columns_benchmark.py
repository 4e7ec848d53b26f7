"""The table of one column, delayed columns and a depth head: resumed where it stopped."""

import contextlib
import json
import sys

import columns
import pytest
import score

LINE = {
  "rows_per_second_of_speech": 30.0, "nats_per_code": 2.5,
  "train_speech_s_per_s": 100.0, "speak_s_per_s": 9.5,
}  # fmt: skip


@pytest.fixture
def started(tmp_path, monkeypatch):
  """Starts the benchmark with given ways that fail; returns the commands it ran and its result."""

  def start(steps, fails=()):
    commands, measured = [], []

    def command(*line):
      commands.append(line)
      workdir = tmp_path / "runs" / line[3].rsplit("/", 1)[1]
      workdir.mkdir(parents=True, exist_ok=True)

    def row(workdir):
      measured.append(workdir.name)
      if workdir.name in fails:
        raise RuntimeError("stopped")
      return LINE

    monkeypatch.setattr(score, "audiopalm", command)
    monkeypatch.setattr(columns, "row", row)
    monkeypatch.setattr(score, "conditions", lambda packages: {"commit": "abc1234"})
    monkeypatch.setattr(score, "RESULTS", tmp_path / "results")
    runs = ["--workdirs", str(tmp_path / "runs")]
    monkeypatch.setattr(sys, "argv", ["columns.py", "--steps", steps, "--set=seed=3", *runs])
    with pytest.raises(RuntimeError, match="stopped") if fails else contextlib.nullcontext():
      columns.main()
    return commands, measured, json.loads((tmp_path / "results" / "columns.json").read_text())

  return start


def test_each_way_is_trained_on_the_same_streams_and_stands_in_one_table(started, capsys):
  commands, measured, result = started("5")
  assert measured == ["delayed_flat", "delayed_delayed", "delayed_depth"]
  assert [line[0] for line in commands] == ["prepare", "train"] * 3
  for line in commands:
    assert {"seed=3", "steps=5", f"columns={line[3].rsplit('_', 1)[1]}"} <= set(line)
  assert len({line[-1] for line in commands if line[0] == "prepare"}) == 1
  assert result["ways"] == dict.fromkeys(("flat", "delayed", "depth"), LINE)
  assert result["command"] == "python benchmarks/columns.py --steps=5 --set=seed=3"
  assert "| depth | 30.0 | 2.5 | 100.0 | 9.5 |" in capsys.readouterr().out


def test_what_was_measured_is_not_measured_again_by_the_same_command(started):
  _, measured, result = started("5", fails=("delayed_delayed",))
  assert measured == ["delayed_flat", "delayed_delayed"] and list(result["ways"]) == ["flat"]
  _, measured, result = started("5")
  assert measured == ["delayed_delayed", "delayed_depth"] and len(result["ways"]) == 3
  assert len(started("6")[1]) == 3
