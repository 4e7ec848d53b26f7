import importlib
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny():
  """The module of a whole experiment that takes seconds; it is a program too."""
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).parent))
    yield importlib.import_module("tiny")
