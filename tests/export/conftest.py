import importlib
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def small():
  """The module of a small run: real tokenizers, random parameters, no data."""
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).parent))
    yield importlib.import_module("small_run")


@pytest.fixture(scope="session")
def run(small):
  """(ExportedRun, Prepared) of the small run."""
  return small.run()
