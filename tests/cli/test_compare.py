import pytest

from audiopalm.cli import main
from audiopalm.errors import EXIT_DONE, EXIT_USER


@pytest.fixture
def runs(made_run, tmp_path):
  return [
    str(made_run.write(tmp_path / name, steps=20, evaluated=False)) for name in ("one", "two")
  ]


def test_the_path_of_the_page_is_printed(runs, tmp_path, capsys):
  out = tmp_path / "page.html"
  assert main.main(["compare", *runs, "--out", str(out)]) == EXIT_DONE
  assert capsys.readouterr().out.startswith(f"Comparison: {out} (")
  assert "one · two" in out.read_text()


def refused(capsys, *arguments):
  assert main.main(["compare", *map(str, arguments)]) == EXIT_USER
  return capsys.readouterr().err


def test_a_folder_that_is_no_run_is_named(runs, tmp_path, capsys):
  said = refused(capsys, runs[0], tmp_path / "three", "--out", tmp_path / "page.html")
  assert f"There is no run in {tmp_path}/three: no such folder." in said


def test_one_run_is_too_few(runs, tmp_path, capsys):
  said = refused(capsys, runs[0], "--out", tmp_path / "page.html")
  assert said.startswith("ConfigError: Give two or more runs to compare, not only")


def test_a_run_named_twice_is_refused(runs, tmp_path, capsys):
  said = refused(capsys, runs[0], runs[0], "--out", tmp_path / "page.html")
  assert f"{runs[0]} is named twice" in said


def test_the_page_needs_a_folder_that_exists(runs, tmp_path, capsys):
  said = refused(capsys, *runs, "--out", tmp_path / "nowhere/page.html")
  assert f"an existing folder, but {tmp_path}/nowhere" in said
  said = refused(capsys, *runs, "--out", tmp_path)
  assert f"{tmp_path} is a folder" in said
