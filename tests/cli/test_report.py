import pytest

from audiopalm.cli import main
from audiopalm.errors import EXIT_DONE, EXIT_USER


@pytest.fixture
def run(made_run, tmp_path):
  return made_run.write(tmp_path / "run", steps=25, evaluated=False)


def test_the_path_of_the_page_is_printed_with_what_the_run_lacks(run, capsys):
  assert main.main(["report", "--workdir", str(run)]) == EXIT_DONE
  first, *rest = capsys.readouterr().out.splitlines()
  assert first.startswith(f"Report: {run}/report.html (") and first.endswith(" KiB)")
  assert rest == [
    f"Training is at step 25 of 40. Continue with audiopalm train CONFIG --workdir {run}",
    "Nothing has been scored yet: no table, no examples. Score it with audiopalm evaluate "
    f"--workdir {run}",
  ]
  assert (run / "report.html").read_text().startswith("<!doctype html>")


def test_a_folder_that_is_no_run_is_one_text(tmp_path, capsys):
  assert main.main(["report", "--workdir", str(tmp_path)]) == EXIT_USER
  assert capsys.readouterr().err.startswith(f"ConfigError: There is no run in {tmp_path}: it holds")


def test_a_line_of_metrics_that_is_no_record_is_one_text(run, capsys):
  path = run / "metrics.jsonl"
  count = len(path.read_bytes().splitlines())
  path.write_bytes(path.read_bytes() + b"5\n")
  assert main.main(["report", "--workdir", str(run)]) == EXIT_USER
  assert capsys.readouterr().err == (
    f"DataError: {path}, line {count + 1}: expected a JSON object with 'step', but it is '5'. "
    "Delete that line.\n"
  )
