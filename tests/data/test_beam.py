import importlib
import os
import platform
import re
import subprocess
import time
from pathlib import Path

import pytest

from audiopalm.data import beam, executors
from audiopalm.errors import DataError

pytest.importorskip("apache_beam", reason="it comes with audiopalm[data]")

TWO = ("--runner=DirectRunner", "--direct_num_workers=2", "--direct_running_mode=multi_processing")


@pytest.fixture(scope="module")
def jobs():
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).parent))
    yield importlib.import_module("beam_jobs")


def left(folder):
  """Returns what is left in a folder but for what Beam said."""
  return [name for name in os.listdir(folder) if name != "beam.log"]


@pytest.mark.parametrize("options", [(), pytest.param(TWO, marks=pytest.mark.long)])
def test_results_come_back_and_workers_have_one_thread(jobs, tmp_path, options):
  with beam.Beam(options, tmp_path) as executor:
    found = list(executor.map(jobs.square, range(5)))
    assert sorted(found) == [(number**2, "1") for number in range(5)]
    assert list(executor.map(jobs.square, [7])) == [(49, "1")]
  assert left(tmp_path) == []


@pytest.mark.parametrize("options", [(), TWO])
def test_an_error_for_the_user_comes_back_as_its_text_alone(jobs, tmp_path, options):
  with beam.Beam(options, tmp_path) as executor:
    with pytest.raises(DataError, match=r"^Job 3: expected another, got this one. Leave it out.$"):
      list(executor.map(jobs.refuse, [3]))
  assert left(tmp_path) == []


def test_a_fault_of_a_workers_machine_ends_all_at_once_and_names_the_worker(jobs, tmp_path):
  text = (
    rf"^The Beam worker on {re.escape(platform.node())} failed: FileNotFoundError: No such file or "
    r"directory: .*/none. There is no such file or folder: correct the path\.$"
  )
  with beam.Beam((), tmp_path) as executor, pytest.raises(DataError, match=text):
    list(executor.map(jobs.read, [tmp_path / "none"]))
  assert left(tmp_path) == []


@pytest.mark.parametrize(("name", "options"), [("fail", ()), ("die", ()), ("die", TWO)])
def test_a_worker_that_fails_or_dies_ends_all_and_says_where_to_look(jobs, tmp_path, name, options):
  text = (
    r"Beam pipeline ended with exit code -?\d and 1 of 1 jobs not done: see .*/beam.log. All wor"
  )
  with beam.Beam(options, tmp_path) as executor, pytest.raises(DataError, match=text):
    list(executor.map(getattr(jobs, name), [0]))
  if name == "fail":
    assert "ZeroDivisionError: made up" in (tmp_path / "beam.log").read_text()
  assert left(tmp_path) == []


def test_what_runs_ends_with_the_context(jobs, tmp_path):
  with pytest.raises(KeyboardInterrupt), beam.Beam(TWO, tmp_path) as executor:
    results = executor.map(jobs.square, range(3))
    next(results)
    driver = executors.multiprocessing.active_children()[0]
    raise KeyboardInterrupt
  assert not driver.is_alive()
  assert eventually(lambda: not living(driver.pid))
  assert left(tmp_path) == []


def living(group):
  """Returns the processes of a group that are not dead yet."""
  listed = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True)
  states = (line.split() for line in listed.stdout.splitlines())
  return [state for pgid, state in states if int(pgid) == group and not state.startswith("Z")]


def eventually(condition, seconds=10.0):
  until_s = time.monotonic() + seconds
  while not condition() and time.monotonic() < until_s:
    time.sleep(0.05)
  return condition()


def test_options_that_beam_cannot_read_are_in_its_log(jobs, tmp_path):
  with beam.Beam(["--direct_num_workers=many"], tmp_path) as executor:
    with pytest.raises(DataError, match="ended with exit code 2 and 1 of 1 jobs not done"):
      list(executor.map(jobs.square, [0]))
  assert "direct_num_workers" in (tmp_path / "beam.log").read_text()


def test_a_worker_of_many_threads_is_refused(tmp_path, monkeypatch):
  monkeypatch.setenv("OMP_NUM_THREADS", "8")
  with pytest.raises(
    DataError, match=r"may compute with several threads, .* set OMP_NUM_THREADS=1 OP"
  ):
    beam._check_threads()


def test_beam_that_is_not_installed_is_asked_for(tmp_path, monkeypatch):
  monkeypatch.setattr(beam.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(DataError, match="which --executor beam needs: pip install 'audiopalm"):
    beam.Beam((), tmp_path).__enter__()
