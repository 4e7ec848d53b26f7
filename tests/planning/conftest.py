"""Modules of the programs that the tests plan."""

import importlib
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def programs():
  """The module of hand-written programs."""
  return module("programs")


@pytest.fixture(scope="session")
def scanned():
  """The module of a model to compile."""
  return module("scanned")


def module(name: str):
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).parent))
    return importlib.import_module(name)
