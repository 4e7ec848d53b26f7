import importlib
import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def slurm():
  """The module of a SLURM cluster on this machine."""
  return module("slurm")


@pytest.fixture(scope="session")
def schemas():
  """The module of schemas for YAML."""
  return module("schemas")


@pytest.fixture(scope="session")
def small():
  """The module of a run that takes seconds."""
  return module("small")


@pytest.fixture(scope="session")
def prepared(small, tmp_path_factory):
  """The folder with the small run's config and its prepared workdir, run/."""
  folder = tmp_path_factory.mktemp("prepared")
  (folder / "small.py").write_text(small.CONFIG)
  small.ended(small.start(folder, "prepare", "small.py", "--workdir", "run"))
  return folder


@pytest.fixture(scope="session")
def straight(small, prepared, tmp_path_factory):
  """The curve of two uninterrupted processes."""
  workdir = tmp_path_factory.mktemp("straight") / "run"
  shutil.copytree(prepared / "run", workdir)
  two = ("launch", "--on", "local", "--num-processes", 2, "--devices-per-process", 1, "--")
  output = small.ended(small.start(prepared, *two, *small.train(workdir)))
  assert "[0] machine gpu: 2 x cpu of 2 processes" in output
  assert list(small.steps(workdir)) == list(range(1, small.STEPS + 1))
  return small.curve(workdir)


def module(name: str):
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).parent))
    return importlib.import_module(name)
