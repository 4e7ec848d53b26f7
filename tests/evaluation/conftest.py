import dataclasses
import importlib
from pathlib import Path

import pytest

from audiopalm.evaluation import likelihoods, runner
from audiopalm.inference import prompting
from audiopalm.metrics.likelihood import Sums


@pytest.fixture(scope="session")
def made_up():
  """The module of the run made up in memory."""
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).parent))
    yield importlib.import_module("made_up")


@pytest.fixture
def evaluate(monkeypatch, made_up, tmp_path):
  """Evaluates a made-up run: its trained parameters are an oracle, fresh ones say nothing."""

  def answer(trained, task, prompts, **options):
    if trained.params == "trained":
      return made_up.oracle(trained, task, prompts, **options)
    empty = {".".join(side): made_up.units_of("") for side in task.outputs}
    return [prompting.Continuation(empty, -9.0, 1, False) for _ in prompts]

  def sums(trained, grids):
    nll = 1.0 if trained.params == "trained" else 5.0
    return [{"text": Sums(nll, 1.0, 1.0)} for _ in grids]

  monkeypatch.setattr(prompting, "continuations", answer)
  monkeypatch.setattr(likelihoods, "of_examples", sums)

  def run(
    *builders, tasks=None, workers=0, step=7, compared=True, within=None, manifests=(),
    recognizer=None, recordings_each=0, meters=(), **changes,
  ):  # fmt: skip
    made = made_up.trained(*builders, **changes)
    made = dataclasses.replace(made, model=made_up.Untrained(), params="trained", step=step)
    options = runner.Options(
      tasks, within, manifests, recognizer=recognizer, recordings_each=recordings_each,
      meters=meters, compared=compared, workers=workers,
    )  # fmt: skip
    return runner.evaluate(made, tmp_path, options)

  return run
