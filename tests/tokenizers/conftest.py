import importlib
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def sources():
  """The module of tiny tokenizers as text models come with."""
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).parent))
    yield importlib.import_module("sources")
