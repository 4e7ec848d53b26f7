import importlib
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def by_hand():
  """The module that writes small folders and computes their models in numpy."""
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).parent))
    yield importlib.import_module("by_hand")
