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
  """The module of what clusters take in YAML."""
  return module("schemas")


@pytest.fixture(scope="session")
def small():
  """The module of a run that takes seconds."""
  return module("small")


@pytest.fixture(scope="session")
def prepared(small, tmp_path_factory):
  """The folder of the small run's config, and of what `prepare` makes of it: run/."""
  folder = tmp_path_factory.mktemp("prepared")
  (folder / "small.py").write_text(small.CONFIG)
  small.ended(small.start(folder, "prepare", "small.py", "--workdir", "run"))
  return folder


@pytest.fixture(scope="session")
def straight(small, prepared, tmp_path_factory):
  """The curve of two processes that nobody disturbs."""
  workdir = tmp_path_factory.mktemp("straight") / "run"
  shutil.copytree(prepared / "run", workdir)
  two = ("launch", "--on", "local", "--num-processes", 2, "--devices-per-process", 1, "--")
  said = small.ended(small.start(prepared, *two, *small.train(workdir)))
  assert "[0] machine gpu: 2 x cpu of 2 processes" in said
  assert list(small.steps(workdir)) == list(range(1, small.STEPS + 1))
  return small.curve(workdir)


def module(name: str):
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).parent))
    return importlib.import_module(name)
