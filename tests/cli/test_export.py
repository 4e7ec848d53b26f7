import dataclasses

import pytest

from audiopalm import session
from audiopalm.cli import main
from audiopalm.errors import EXIT_DONE, EXIT_USER


@pytest.fixture
def opened(monkeypatch, small_run, tmp_path):
  """Puts the small run in the place of every workdir."""
  run, prepared = small_run.run()
  prepared = dataclasses.replace(prepared, longest=run.longest)
  found = session.Session(
    run.experiment, prepared, None, run.params, {}, small_run.ONE, run.step, tmp_path
  )
  monkeypatch.setattr(session, "load", lambda workdir, machine=None, step=None, trust=(): found)


def test_it_says_what_was_exported_as_what_and_where(opened, tmp_path, capsys):
  out = tmp_path / "out"
  assert main.main(["export", "--workdir", str(tmp_path), "--out", str(out)]) == EXIT_DONE
  said = capsys.readouterr().out
  assert said.startswith(f"Exported checkpoint 7 as LlamaForCausalLM: {out} (")
  assert (out / "model.safetensors").is_file()


def test_a_folder_that_is_not_empty_is_one_error(tmp_path, capsys):
  (tmp_path / "notes.txt").write_text("mine")
  assert main.main(["export", "--workdir", "none", "--out", str(tmp_path)]) == EXIT_USER
  assert f"ConfigError: {tmp_path} is not empty (it holds notes.txt)" in capsys.readouterr().err


def test_a_workdir_without_a_run_is_one_error(tmp_path, capsys):
  line = ["export", "--workdir", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
  assert main.main(line) == EXIT_USER
  assert "ConfigError: There is no run in" in capsys.readouterr().err
  assert not (tmp_path / "out").exists()
