import importlib
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def folders():
  """The module that writes folders of small speech encoders with random weights."""
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).parent))
    yield importlib.import_module("encoder_folders")
