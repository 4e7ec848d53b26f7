import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time

import pytest

from audiopalm.data import executors, files
from audiopalm.errors import DataError


def test_results_come_in_the_order_of_the_jobs():
  for workers in (0, 1, 2):
    with executors.Local(workers) as executor:
      assert list(executor.map(abs, [-3, 2, -1])) == [3, 2, 1]


def test_errors_come_back_from_workers(tmp_path):
  with executors.Local(2) as executor, pytest.raises(DataError, match="no such file"):
    list(executor.map(files.read_json, [tmp_path / "a", tmp_path / "b"]))
  assert str(pickle.loads(pickle.dumps(DataError("text")))) == "text"


def test_an_error_is_raised_while_earlier_jobs_still_run():
  started_s = time.monotonic()
  with executors.Local(2) as executor:
    results = executor.map(time.sleep, [0, 0])  # both workers are there
    assert list(results) == [None, None]
    started_s = time.monotonic()
    with pytest.raises(ValueError, match="must be non-negative"):
      list(executor.map(time.sleep, [6, -1, *[6] * 20]))
    assert time.monotonic() - started_s < 4
    for worker in multiprocessing.active_children():
      worker.kill()  # none of these seconds has to be waited for


def test_a_worker_that_dies_is_reported():
  with executors.Local(2) as executor, pytest.raises(DataError, match="A worker process died"):
    list(executor.map(os._exit, [3, 3]))


def test_a_worker_that_dies_while_it_waits_for_work_is_reported_and_the_others_end():
  for dies in range(2):  # the pool's workers share a lock, and one of the two holds it
    with executors.Local(2) as executor:
      results = executor.map(time.sleep, [0, 0, 5])
      next(results), next(results)
      workers = multiprocessing.active_children()
      os.kill(sorted(worker.pid for worker in workers)[dies], signal.SIGKILL)
      with pytest.raises(DataError, match="A worker process died"):
        list(results)
      with pytest.raises(DataError, match="A worker process died"):
        list(executor.map(abs, [1]))
    assert not any(worker.is_alive() for worker in workers)


def test_workers_have_one_thread_each_and_the_caller_keeps_its_own(monkeypatch):
  monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
  with executors.Local(2) as executor:
    assert list(executor.map(os.getenv, ["OMP_NUM_THREADS"] * 2)) == ["1", "1"]
  assert "OMP_NUM_THREADS" not in os.environ


def test_workers_leave_accelerators_to_the_caller(monkeypatch):
  monkeypatch.setenv("JAX_PLATFORMS", "cuda")
  with executors.Local(1) as executor:
    assert list(executor.map(os.getenv, ["JAX_PLATFORMS"])) == ["cpu"]
  assert os.environ["JAX_PLATFORMS"] == "cuda"


def test_stopping_is_left_to_the_parent():
  stops = [signal.SIGTERM, signal.SIGINT]
  with executors.Local(1) as executor:
    assert list(executor.map(signal.raise_signal, stops)) == [None, None]


ORPHAN = """
import multiprocessing, os, pathlib, time
from audiopalm.data import executors

def child():
  executors.end_with_parent(lambda: (pathlib.Path("gone").touch(), os._exit(0)))
  pathlib.Path("started").touch()
  time.sleep(60)

multiprocessing.get_context("fork").Process(target=child).start()
while not pathlib.Path("started").exists():
  time.sleep(0.01)
os._exit(1)  # no clean end: nobody tells the child
"""


def test_a_process_learns_that_its_parent_is_gone_however_it_went(tmp_path):
  line = [sys.executable, "-c", ORPHAN]
  assert subprocess.run(line, cwd=tmp_path, stdout=subprocess.DEVNULL).returncode == 1
  until_s = time.monotonic() + 20
  while not (tmp_path / "gone").exists():
    assert time.monotonic() < until_s
    time.sleep(0.01)
