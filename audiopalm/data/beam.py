"""Runs jobs on the workers of Apache Beam, on this machine or on others.

    FOLDER/.beam.1f3a09c4.part/    exists while `Beam.map` runs; all workers must see it
      jobs.arrayrecord             the jobs, pickled
      000012                       the result of job 12, pickled
      failed                       the error of a job that failed, pickled
    FOLDER/beam.log                output of Beam and its workers on this machine

The elements of the pipeline are job numbers, so jobs may be large. The pipeline runs in a process
of its own, the driver, whose linear algebra has one thread, as in the workers that it starts, and
which can be stopped together with them.
"""

import contextlib
import functools
import importlib.util
import math
import multiprocessing
import os
import pickle
import platform
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from array_record.python import array_record_module

from audiopalm import system
from audiopalm.data import executors, files
from audiopalm.data.executors import Job, Result
from audiopalm.errors import AudiopalmError, DataError

LOOK_S = 0.2  # between checks for results
LATE_S = 120.0  # how long a shared filesystem may hide a result after the pipeline has ended
PARTING_S = 30.0  # for a driver to cancel a pipeline that runs elsewhere
FAILED = "failed"
DIRECT = ("DirectRunner", "SwitchingDirectRunner", None)


class Beam:
  """Workers of a Beam runner, with the interface of `executors.Local`.

  `options` are Beam's own: ("--runner=DirectRunner", "--direct_num_workers=2"). All workers must
  see `folder`, at the same path as this process, and have this package installed.
  """

  def __init__(self, options: Sequence[str], folder: Path):
    self._options, self._folder = tuple(options), Path(folder).absolute()
    self._log = self._folder / "beam.log"
    self._running = contextlib.ExitStack()

  def __enter__(self) -> "Beam":
    if importlib.util.find_spec("apache_beam") is None:
      raise DataError(
        "Apache Beam is not installed, which --executor beam needs: pip install 'audiopalm[data]'."
      )
    return self

  def __exit__(self, *exception: object) -> None:
    self._running.close()

  def map(self, function: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[Result]:
    """Yields function(job) of each job in order of completion; workers must be able to import both.

    Raises the AudiopalmError of a job; an OSError or ImportError of a job becomes a DataError that
    names the worker. Raises DataError if the pipeline itself fails.
    """
    scratch = files.part_of(self._folder / "beam")
    scratch.mkdir(parents=True)
    # If remote workers still write to it, the next `prepare` removes it.
    self._running.callback(shutil.rmtree, scratch, ignore_errors=True)
    _write_jobs(scratch, jobs)
    driver = multiprocessing.get_context("spawn").Process(
      target=_drive, args=(self._options, scratch, self._log, function, len(jobs)), daemon=True
    )
    # Workers that Beam starts here import modules from the same paths as this process.
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    with executors.environment(executors.SINGLE_THREAD | paths):
      driver.start()
    self._running.callback(_end, driver)
    yield from self._results(scratch, len(jobs), driver)
    connection.wait([driver.sentinel])
    self._running.close()

  def _results(self, scratch: Path, jobs: int, driver: BaseProcess) -> Iterator[Any]:
    waiting = {f"{number:06}" for number in range(jobs)}
    deadline_s = math.inf
    while waiting:
      # Before the check for results: if the driver has ended, all of them are written.
      if connection.wait([driver.sentinel], LOOK_S):
        driver.join()
        deadline_s = min(deadline_s, time.monotonic() + (0 if driver.exitcode else LATE_S))
        time.sleep(LOOK_S)
      for name in sorted(waiting.intersection(os.listdir(scratch))):
        yield pickle.loads((scratch / name).read_bytes())
        waiting.remove(name)
        (scratch / name).unlink()
      if (scratch / FAILED).exists():
        raise pickle.loads((scratch / FAILED).read_bytes())
      if waiting and time.monotonic() >= deadline_s:
        raise DataError(
          f"The Beam pipeline ended with exit code {driver.exitcode} and {len(waiting)} of {jobs} "
          f"jobs not done: see {self._log}. All workers must see {self._folder} and have audiopalm "
          "installed. What was finished is kept: run the same command again."
        )


def _write_jobs(scratch: Path, jobs: Sequence[object]) -> None:
  with files.replacing(scratch / "jobs.arrayrecord") as part:
    writer = array_record_module.ArrayRecordWriter(str(part), "group_size:1")
    with contextlib.closing(writer):
      for job in jobs:
        writer.write(pickle.dumps(job))


def _end(driver: BaseProcess) -> None:
  """Stops a driver and all processes that it started."""
  driver.terminate()
  try:
    connection.wait([driver.sentinel], PARTING_S)
  finally:
    with contextlib.suppress(ProcessLookupError):  # no process of the group is left, or started
      os.killpg(driver.pid, signal.SIGKILL)
    driver.kill()
    driver.join()


def _drive(
  options: Sequence[str], scratch: Path, log: Path, function: Callable[[Job], Result], jobs: int
) -> None:
  """Runs the pipeline: the main function of the driver."""
  os.setsid()  # a process group for `_end` to kill; only the parent receives Ctrl-C
  with log.open("w", encoding="utf-8") as file:
    os.dup2(file.fileno(), sys.stdout.fileno())
    os.dup2(file.fileno(), sys.stderr.fileno())
  executors.end_with_parent(lambda: os.killpg(0, signal.SIGKILL))
  import apache_beam as beam
  from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
  from apache_beam.runners.portability.fn_api_runner import FnApiRunner

  options = PipelineOptions(list(options))
  # Beam would download another runner in its place, which ignores --direct_num_workers.
  direct = options.view_as(StandardOptions).runner in DIRECT
  if direct:
    threading.excepthook = _end_of_thread
  pipeline = beam.Pipeline(runner=FnApiRunner() if direct else None, options=options)
  numbers = pipeline | beam.Create(range(jobs)) | beam.Reshuffle()
  numbers | beam.Map(functools.partial(_work, scratch, Path.cwd(), function))
  running = pipeline.run()

  def stop(number, frame):
    running.cancel()  # a remote pipeline would continue without its driver
    os._exit(1)

  signal.signal(signal.SIGTERM, stop)
  running.wait_until_finish()


def _end_of_thread(failure: threading.ExceptHookArgs) -> None:
  """Ends the driver; the runner would wait forever for a worker that died."""
  traceback.print_exception(failure.exc_value)
  sys.stderr.flush()
  os._exit(1)


def _work(scratch: Path, cwd: Path, function: Callable[[Job], Result], number: int) -> None:
  """Runs one job on a worker; Beam may call this more than once per job."""
  if cwd.is_dir():
    os.chdir(cwd)  # relative paths in jobs start here
  if (scratch / FAILED).exists():
    return
  try:
    _check_threads()
    _write(scratch / f"{number:06}", function(pickle.loads(_jobs(scratch).read([number])[0])))
  except AudiopalmError as error:
    _write(scratch / FAILED, error)
  except (OSError, ImportError) as error:  # Beam would retry the job, and then hide the reason
    text = system.text_of(error) or repr(error)
    _write(scratch / FAILED, DataError(f"The Beam worker on {platform.node()} failed: {text}"))


def _write(path: Path, value: object) -> None:
  with files.replacing(path) as part:
    part.write_bytes(pickle.dumps(value))


@functools.lru_cache(maxsize=1)
def _jobs(scratch: Path) -> array_record_module.ArrayRecordReader:
  return array_record_module.ArrayRecordReader(
    str(scratch / "jobs.arrayrecord"), options="readahead_buffer_size:0"
  )


def _check_threads() -> None:
  """Raises DataError unless linear algebra has one thread, which reproducible ids require."""
  if not executors.SINGLE_THREAD.items() <= os.environ.items():
    settings = " ".join(f"{name}={value}" for name, value in executors.SINGLE_THREAD.items())
    raise DataError(
      f"The Beam worker on {platform.node()} may compute with several threads, expected one: set "
      f"{settings} in the environment of its container. Otherwise ids depend on the machine."
    )
