import os

import pytest

from audiopalm.cli import main, prepare, subcommand
from audiopalm.data import beam
from audiopalm.errors import EXIT_USER


@pytest.fixture
def asked(monkeypatch):
  """Takes the place of what prepares: what it was asked for."""
  found = {}

  def take(experiment, workdir, streams_dir, workers, *, executor, max_bad):
    found.update(executor=executor, max_bad=max_bad, workers=workers)

  monkeypatch.setattr(prepare.prepare, "prepare", take)
  return found


@pytest.fixture
def line(tmp_path):
  return ["prepare", "quickstart", "--workdir", str(tmp_path / "run")]


@pytest.mark.parametrize(
  ("given", "share"),
  [("0.1%", 0.001), ("0.001", 0.001), ("0", 0.0), ("100%", 1.0), ("2.5 %", 0.025)],
)
def test_a_share_is_given_in_percent_or_as_a_fraction(line, asked, given, share):
  assert main.main([*line, "--max-bad", given]) == 0
  assert asked["max_bad"] == pytest.approx(share)


def test_no_workers_are_this_process_which_has_the_accelerators(line, asked, capsys):
  assert main.main([*line, "--workers", "0"]) == 0
  assert asked["workers"] == 0
  with pytest.raises(SystemExit):
    main.main([*line, "--workers=-1"])
  assert "--workers: expected an integer of at least 0, not -1" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["5", "-1%", "101%", "some", "nan", "", "%"])
def test_what_is_no_share_is_refused_by_prepare_and_train(line, asked, capsys, given):
  for command in ("prepare", "train"):
    with pytest.raises(SystemExit) as stop:
      main.main([command, *line[1:], f"--max-bad={given}"])
    text = "argument --max-bad: expected a share of records from 0 to 1, such as 0.1% or 0.001, not"
    assert stop.value.code == EXIT_USER and f"{text} {given!r}" in capsys.readouterr().err
  assert not asked


def test_train_hands_shares_packages_and_paths_on_to_its_prepare(line, monkeypatch, tmp_path):
  started = []

  class Process:
    def __init__(self, command, env):
      started.append((command, env["PYTHONPATH"].split(os.pathsep)))

    def wait(self):
      return 75

  monkeypatch.setattr(subcommand.subprocess, "Popen", Process)
  monkeypatch.syspath_prepend(str(tmp_path))
  assert main.main(["train", *line[1:], "--max-bad", "1%", "--trust", "xml"]) == 75
  command, paths = started[0]
  assert "--max-bad=0.01" in command and "--trust=xml" in command
  assert paths[0] == str(tmp_path)


def test_what_follows_two_dashes_are_options_of_beam(line, asked, monkeypatch, tmp_path):
  made = []
  monkeypatch.setattr(beam.Beam, "__init__", lambda self, *of: made.append(of))
  monkeypatch.setattr(beam.Beam, "__exit__", lambda self, *error: None)
  own = ["--runner=DirectRunner", "--direct_num_workers", "2"]
  assert main.main([*line, "--executor", "beam", "--", *own]) == 0
  assert made == [(own, tmp_path / "run")] and isinstance(asked["executor"], beam.Beam)


def test_without_the_executor_its_options_are_refused(line, asked, capsys):
  assert main.main([*line, "--", "--runner=DirectRunner"]) == EXIT_USER
  text = "Options after -- are for Apache Beam, got --runner=DirectRunner: add --executor beam"
  assert text in capsys.readouterr().err and not asked
  assert main.main(line) == 0 and asked["executor"] is None


def test_two_dashes_of_other_commands_mean_what_they_always_do(capsys):
  with pytest.raises(SystemExit):
    main.main(["generate", "--", "--runner=DirectRunner"])
  assert "--workdir" in capsys.readouterr().err
