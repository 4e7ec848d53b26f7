"""One run on several processes: real ones on this host, and layouts of them made up in one."""

import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from audiopalm import runs, sharding
from audiopalm.data import loader
from audiopalm.settings import Machine
from audiopalm.training import checkpoint, metrics

HERE = Path(__file__).parent
FLAGS = "--xla_backend_optimization_level=0 --xla_force_host_platform_device_count="


def start(program, *arguments, processes=2, devices=4):
  """Returns that many processes of a program beside this file, just started."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  environment = {
    **os.environ,
    "XLA_FLAGS": f"{FLAGS}{devices}",
    "PYTHONPATH": f"{HERE.parents[1]}{os.pathsep}{HERE}",
  }
  command = [sys.executable, str(HERE / program), *map(str, arguments)]
  command += ["--coordinator-address", f"127.0.0.1:{port}", "--num-processes", str(processes)]
  return [
    subprocess.Popen(
      [*command, "--process-id", str(index)],
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for index in range(processes)
  ]


def ended(started, code=0):
  """Returns what the processes printed, (standard output, error), after they ended with `code`."""
  try:
    said = [process.communicate(timeout=300) for process in started]
  finally:
    for process in started:
      process.kill()
  said_in_full = "\n".join(text for each in said for text in each)
  assert [process.returncode for process in started] == [code] * len(started), said_in_full
  return said


def together(program, *arguments, **options):
  return ended(start(program, *arguments, **options))


LAYOUTS = {
  "1": lambda device: 0,
  "2": lambda device: device.id // 4,
  "4": lambda device: device.id // 2,
  "8": lambda device: device.id,
  "2 with every other device": lambda device: device.id % 2,
}


@pytest.mark.parametrize("axes", [{"data": 2, "fsdp": 4}, {"fsdp": 2, "context": 2, "tensor": 2}])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_number_of_processes_makes_and_counts_the_same_batches(tiny, axes, layout):
  process_of = LAYOUTS[layout]
  made = tiny.experiment()
  prepared, mesh, rows = tiny.Prepared(made), sharding.mesh(Machine(**axes)), made.data.batch_rows
  whole = loader.Loader(prepared, made).batch_at(2)
  fields = [field.name for field in dataclasses.fields(whole)]
  seen = {name: np.full_like(getattr(whole, name), -7) for name in fields}
  counts = []
  for process in sorted({process_of(device) for device in jax.devices()}):
    here = sharding.rows_here(mesh, rows, process, process_of)
    counted = sharding.counted_here(mesh, rows, process, process_of)
    batch = loader.Loader(prepared, made, mine=here).batch_at(2)
    for name in fields:
      seen[name][here] = getattr(batch, name)
    counts.append(batch.count(2, counted, here.start))
  for name in fields:
    np.testing.assert_array_equal(seen[name], getattr(whole, name))
  expected = whole.count(2)
  for name in ("rows_T", "examples_T", "tokens_T"):
    np.testing.assert_array_equal(
      sum(getattr(each, name) for each in counts), getattr(expected, name)
    )
  assert sum(each.digest for each in counts) % 2**32 == expected.digest
  lengths_N = np.concatenate([each.lengths_N for each in counts])
  assert sorted(lengths_N) == sorted(expected.lengths_N)


def test_processes_agree_and_make_the_batches_of_one(tiny, tmp_path):
  together("several.py", tmp_path, "data=2,fsdp=2,tensor=2")
  import several

  first, second = (json.loads((tmp_path / f"{index}.json").read_text()) for index in range(2))
  assert [first.pop("rows"), second.pop("rows")] == [[0, 4], [4, 8]]
  assert first.pop("complaint") == "nothing here"
  assert second.pop("complaint") == "Process 0: nothing here"
  assert first == second
  assert first["told"] == {"by": 0} and first["everybody"] == ["process 0", "process 1"]
  assert first["asked"] == ["", "SIGTERM", "SIGTERM"]  # the second alone was given it
  batches = [tiny.batch(step) for step in range(several.STEPS)]
  assert first["digests"] == [several.digest(batch) for batch in batches]
  assert first["counts"] == [several.counted(batch.count(2)) for batch in batches]


@pytest.fixture(scope="module")
def one(tiny, tmp_path_factory):
  """The workdir of three steps on one device, each of them saved."""
  workdir = tmp_path_factory.mktemp("one")
  tiny.run(workdir, saving_each_step(tiny))
  return workdir


@pytest.fixture(scope="module")
def two(tmp_path_factory):
  """(workdir, what each printed) of the same steps on two processes with four devices each."""
  workdir = tmp_path_factory.mktemp("two")
  return workdir, together("tiny.py", workdir, 3, "--every=1", "--mesh=data=2,fsdp=4")


def saving_each_step(tiny, steps=3):
  return tiny.experiment(steps=steps, checkpoint_every_steps=1, keep_checkpoints=9)


def gradients(tiny, workdir, tmp_path):
  """Returns {array: the gradient of the first step}, from what Adam keeps of it."""
  first = tmp_path / "first" / workdir.name
  shutil.copytree(workdir / "checkpoints" / "1", first / "checkpoints" / "1")
  saved = tiny.saved(first, saving_each_step(tiny))
  leaves = jax.tree_util.tree_flatten_with_path(saved.optimizer)[0]
  found = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
  return {path: leaf for path, leaf in found.items() if ".mu" in path}


def assert_same_training(tiny, one, other, tmp_path):
  expected, found = (gradients(tiny, workdir, tmp_path) for workdir in (one, other))
  assert expected.keys() == found.keys() and expected
  for path, gradient in expected.items():
    difference, largest = np.abs(gradient - found[path]).max(), np.abs(gradient).max()
    assert largest > 0 and difference <= 1e-5 * largest, path
  for line, other_line in zip(metrics.read(one), metrics.read(other), strict=True):
    for name in {"loss", "grad_norm", "update_norm", "nll_text"} & line.keys():
      np.testing.assert_allclose(other_line[name], line[name], rtol=1e-5)
    for name in {"tokens", "seen"} & line.keys():
      assert other_line[name] == line[name]


@pytest.mark.long
def test_two_processes_of_four_devices_train_as_one_device(tiny, one, two, tmp_path):
  assert_same_training(tiny, one, two[0], tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("axis", ["tensor", "context"])
def test_an_axis_that_splits_rows_or_weights_runs_across_processes(tiny, one, tmp_path, axis):
  together("tiny.py", tmp_path / "w", 3, "--every=1", f"--mesh=data=1,fsdp=1,{axis}=2", devices=1)
  assert_same_training(tiny, one, tmp_path / "w", tmp_path)


@pytest.mark.long
def test_one_process_prints_and_writes_the_journals(two):
  workdir, ((first, _), (second, _)) = two
  assert "8 x cpu of 2 processes, mesh data=2, fsdp=4" in first
  assert "next: audiopalm evaluate" in first
  ours = [line for line in second.splitlines() if "peer ranks" not in line]  # those are Gloo's
  assert ours == ["tensorflow loaded: False"]  # tiny.py itself says that
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 3]
  totals = [
    line for line in (workdir / "goodput.jsonl").read_text().splitlines() if "total" in line
  ]
  assert len(totals) == 1
  assert len(list((workdir / "events").iterdir())) == 1
  assert runs.steps(workdir) == [1, 2, 3]


@pytest.mark.long
def test_one_process_goes_on_where_two_stopped(tiny, two, tmp_path):
  shutil.copytree(two[0], tmp_path / "run")
  resumed = tiny.run(tmp_path / "run", saving_each_step(tiny, steps=5))
  straight = tiny.run(tmp_path / "straight", saving_each_step(tiny, steps=5))
  assert resumed.seen == straight.seen
  steps = [line["step"] for line in metrics.read(tmp_path / "run") if "loss" in line]
  assert steps == [1, 2, 3, 4, 5]
  position = checkpoint.latest(tmp_path / "run").position
  assert position == checkpoint.latest(tmp_path / "straight").position
  for task, values in straight.held_out.items():
    np.testing.assert_allclose(resumed.held_out[task]["loss"], values["loss"], rtol=1e-4)


@pytest.mark.long
def test_a_run_moved_twice_to_other_processes_keeps_its_batches_and_its_losses(tmp_path):
  last, ends = 110, (4, 56, 110)
  eight = ("--every=2", "--mesh=data=2,fsdp=4")
  together("tiny.py", tmp_path / "straight", last, *eight, processes=1, devices=8)
  together("tiny.py", tmp_path / "moved", ends[0], *eight, processes=1, devices=8)
  together("tiny.py", tmp_path / "moved", ends[1], *eight, processes=2, devices=4)
  four = ("--every=2", "--mesh=data=1,fsdp=4")
  together("tiny.py", tmp_path / "moved", ends[2], *four, processes=4, devices=1)
  straight, moved = (
    {line["step"]: line for line in metrics.read(tmp_path / name) if "loss" in line}
    for name in ("straight", "moved")
  )
  assert list(straight) == list(moved) == list(range(1, last + 1))
  assert len({line["batch"] for line in straight.values()}) == last
  for step, line in straight.items():
    assert moved[step]["batch"] == line["batch"]
    after = next(step - end for end in reversed((0, *ends)) if step > end)
    tolerance = 1e-6 if after == 1 else 1e-5
    np.testing.assert_allclose(moved[step]["loss"], line["loss"], rtol=tolerance, err_msg=f"{step}")


@pytest.mark.long
def test_a_signal_to_one_process_stops_all_after_the_same_step(tmp_path):
  command = ["tiny.py", tmp_path, 40, "--every=50", "--mesh=data=2,fsdp=1"]
  started = start(*command, "--slow", devices=1)
  while all(each.poll() is None for each in started) and not list(metrics.read(tmp_path)):
    time.sleep(0.1)
  started[1].send_signal(signal.SIGTERM)
  said = ended(started, 75)
  complaints = {error.strip().splitlines()[-1] for _, error in said}
  assert len(complaints) == 1, complaints
  step = checkpoint.latest(tmp_path).step
  assert f"Requeue: Stopped by SIGTERM after step {step} of 40" in complaints.pop()
  command[2] = step + 1
  (again, _), _ = together(*command, devices=1)
  assert f"resuming after step {step}" in again and f"step {step + 1}/{step + 1}" in again


@pytest.mark.long
def test_a_checkpoint_that_one_process_cannot_read_is_passed_over_by_all(two, tmp_path):
  shutil.copytree(two[0], tmp_path / "run")
  command = ["tiny.py", tmp_path / "run", 4, "--every=1", "--mesh=data=2,fsdp=4"]
  (first, _), _ = together(*command, "--unreadable=3")
  assert "checkpoints/3: OSError: made up. It is damaged or half written: skipped." in first
  assert "resuming after step 2" in first
  assert runs.steps(tmp_path / "run") == [1, 2, 3, 4]
