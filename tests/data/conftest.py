import importlib
import types
from pathlib import Path

import pytest

from audiopalm import layouts
from audiopalm.data import files
from audiopalm.data.packed import Packed
from audiopalm.objectives.next_token import NextToken
from audiopalm.parts import mixtures

RECORDS = 400  # few rows are slow: Grain shuffles n of them in 30 / n milliseconds a row


@pytest.fixture(scope="session")
def small():
  """The module of a corpus of tones, importable by worker processes too."""
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).parent))
    yield importlib.import_module("small_corpus")


@pytest.fixture
def full(monkeypatch):
  """Leaves no space on the device for a file of this name."""
  part_of = files.part_of

  def plant(name):
    def full_part_of(path):
      part = part_of(path)
      if path.name == name:
        part.symlink_to("/dev/full")  # every write fails: ENOSPC
      return part

    monkeypatch.setattr(files, "part_of", full_part_of)

  return plant


@pytest.fixture(scope="session")
def experiment_of(small):
  """Makes what an Experiment tells `prepare` and the loader, over a small corpus."""

  def make(corpus=None, tasks=None, rates=None, **changes):
    corpus = corpus or small.SmallCorpus(RECORDS)
    tasks = tasks or (mixtures.asr(corpus), mixtures.s2st(corpus), mixtures.continuation(corpus))
    mixture = mixtures.blend(*zip(tasks, rates or [1.0] * len(tasks), strict=True))
    fields = {
      "name": "small", "mixture": mixture, "tasks": tuple(tasks),
      "corpora": tuple(dict.fromkeys(task.corpus for task in tasks)),
      "tokenizers": (small.Letters(), small.Crossings()),
      "layout": layouts.Chain(), "data": Packed(row_length=96, batch_rows=4), "seed": 7,
      "objective": NextToken(), "steps": 40,
    }  # fmt: skip
    return types.SimpleNamespace(**fields | changes)

  return make


@pytest.fixture(scope="session")
def prepared(experiment_of, tmp_path_factory):
  """A small experiment, prepared once."""
  from audiopalm.data import prepare

  return prepare.prepare(experiment_of(), tmp_path_factory.mktemp("small"), workers=0)
