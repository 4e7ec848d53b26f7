import importlib
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def made_up():
  """The module of the run made up in memory, which the tests of evaluation use too."""
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).parents[1] / "evaluation"))
    yield importlib.import_module("made_up")


@pytest.fixture(scope="session")
def made_run():
  """The module that writes the files of a small run, which the tests of reports use too."""
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).parents[1] / "report"))
    yield importlib.import_module("made_run")


@pytest.fixture
def opened(monkeypatch, made_up, tmp_path):
  """Puts a made-up run in the place of every workdir; asked for by a function of its tasks."""
  from audiopalm import session
  from audiopalm.inference import prompting

  monkeypatch.setattr(prompting, "continuations", made_up.oracle)

  def open_(*builders, **changes):
    made = made_up.trained(*builders, **changes)
    run = session.Session(
      made.experiment, made.prepared, made_up.Untrained(), "trained", {}, made.machine, 3, tmp_path
    )
    monkeypatch.setattr(session, "load", lambda workdir, *options, **named: run)
    return run

  return open_


@pytest.fixture(scope="session")
def small_run():
  """The module of a small run with real tokenizers, which the tests of export use too."""
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).parents[1] / "export"))
    yield importlib.import_module("small_run")
