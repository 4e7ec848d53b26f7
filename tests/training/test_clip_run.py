"""An encoder trains on clips as a decoder does on rows: saved, resumed, on any mesh."""

import functools
import importlib
import json
import os
import signal
from pathlib import Path

import jax
import numpy as np
import pytest

from audiopalm import errors, sharding
from audiopalm.data import loader, prepared
from audiopalm.settings import Machine, WarmStart
from audiopalm.training import checkpoint, metrics, state, warm_start


@pytest.fixture(scope="module")
def clip_run():
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).parent))
    yield importlib.import_module("clip_run")


@pytest.fixture(scope="module")
def straight(clip_run, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("straight")
  return workdir, clip_run.run(workdir)


def saved(clip_run, workdir):
  """Returns the state in a run's newest checkpoint, as numpy arrays."""
  made = clip_run.experiment()
  prepared, mesh = clip_run.Prepared(made), sharding.mesh(clip_run.ONE)
  model = made.model.build(prepared.space)
  with jax.set_mesh(mesh):
    wanted = state.shapes(model, made.objective, state.learners_of(made), mesh)
    found, _ = checkpoint.restore_state(Path(workdir), wanted, prepared.manifest)
  return jax.device_get(found)


def losses(workdir):
  return [line["loss"] for line in metrics.read(workdir) if "loss" in line]


def digests(workdir):
  return [line["batch"] for line in metrics.read(workdir) if "batch" in line]


def test_it_learns_and_its_variables_lie_in_an_item_of_their_own(clip_run, straight):
  workdir, summary = straight
  assert summary.step == 6 and len(losses(workdir)) == 6
  held_out = [line["held_out"]["speech"] for line in metrics.read(workdir) if "held_out" in line]
  assert held_out[-1]["loss"] < held_out[0]["loss"]
  assert {"loss", "nll_speech", "accuracy_speech"} <= set(held_out[-1])
  item = workdir / "checkpoints" / "6" / "variables"
  assert item.is_dir()
  found = saved(clip_run, workdir)
  made = clip_run.experiment().objective.variables(
    clip_run.experiment().model.build(clip_run.Prepared(clip_run.experiment()).space),
    None,
    jax.random.split(jax.random.key(0))[1],
  )
  close = functools.partial(np.testing.assert_allclose, rtol=1e-6)
  jax.tree.map(close, found.variables, jax.device_get(made))


def test_stopped_and_resumed_equals_uninterrupted(clip_run, straight, tmp_path, monkeypatch):
  batch_at, done = loader.Loader.batch_at, []

  def stopping(self, step):
    if step == 3 and not done:
      done.append(step)
      os.kill(os.getpid(), signal.SIGTERM)
    return batch_at(self, step)

  monkeypatch.setattr(loader.Loader, "batch_at", stopping)
  with pytest.raises(errors.Requeue):
    clip_run.run(tmp_path)
  clip_run.run(tmp_path)
  jax.tree.map(
    np.testing.assert_array_equal, saved(clip_run, straight[0]), saved(clip_run, tmp_path)
  )
  assert losses(straight[0]) == losses(tmp_path)


@pytest.mark.parametrize(
  "machine",
  [
    Machine(name="eight", data=2, fsdp=4),
    pytest.param(
      Machine(name="tensor", data=1, fsdp=4, tensor=2), id="tensor", marks=pytest.mark.long
    ),
    pytest.param(
      Machine(name="micro-batches", data=1, fsdp=1, micro_batch_tokens=160),
      id="micro-batches",
      marks=pytest.mark.long,
    ),
  ],
  ids=lambda machine: machine.name,
)
def test_other_devices_and_micro_batches_compute_the_same(clip_run, straight, tmp_path, machine):
  clip_run.run(tmp_path, machine=machine)
  np.testing.assert_allclose(losses(tmp_path), losses(straight[0]), rtol=2e-4)
  lines = [
    [line["batch"] for line in metrics.read(w) if "batch" in line] for w in (tmp_path, straight[0])
  ]
  assert lines[0] == lines[1]


@pytest.mark.long
def test_two_processes_are_given_the_batches_of_one(clip_run, straight, tmp_path):
  import test_processes

  test_processes.together("clip_run.py", tmp_path, "6", "--mesh", "data=2,fsdp=4")
  assert digests(tmp_path) == digests(straight[0])
  np.testing.assert_allclose(losses(tmp_path), losses(straight[0]), rtol=2e-4)


def test_a_run_begins_with_the_parameters_of_an_earlier_encoder(clip_run, straight, tmp_path):
  warm = clip_run.experiment(warm_start=WarmStart(str(straight[0])), steps=7)
  model = warm.model.build(clip_run.Prepared(warm).space)
  mesh = sharding.mesh(clip_run.ONE)
  with jax.set_mesh(mesh):
    params = warm_start.params(
      warm.warm_start, model, clip_run.Prepared(warm).space, jax.random.key(0), mesh, print
    )
  jax.tree.map(
    np.testing.assert_array_equal, jax.device_get(params), saved(clip_run, straight[0]).params
  )


def test_nothing_can_be_scored(clip_run):
  with pytest.raises(errors.ConfigError, match="trains on clips, with a model that has no outp"):
    prepared.check_answers(clip_run.experiment().data)


def test_a_mesh_that_splits_rows_is_refused(clip_run, tmp_path):
  with pytest.raises(errors.ConfigError, match="Clips cannot be split over context=2 devices"):
    clip_run.run(tmp_path, machine=Machine(name="context", data=1, fsdp=4, context=2))


def test_the_config_in_the_tree_is_this_system():
  from audiopalm.cli import config

  made = config.load("configs/systems/best_rq.py", [])
  assert json.loads(made.to_json())["data"]["class"] == "audiopalm.data.clips.Clips"
  assert made.model.parameters(None) < 5_000_000
