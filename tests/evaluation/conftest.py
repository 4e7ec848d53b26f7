import importlib
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def made_up():
  """The module of the run made up in memory."""
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).parent))
    yield importlib.import_module("made_up")
