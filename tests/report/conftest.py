import importlib
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def made_run():
  """The module that writes the files of a small run."""
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).parent))
    yield importlib.import_module("made_run")


@pytest.fixture(scope="session")
def workdir(made_run, tmp_path_factory):
  """A run that is trained and evaluated. Not to be written to."""
  return made_run.write(tmp_path_factory.mktemp("runs") / "whole")
