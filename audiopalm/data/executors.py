"""Executors, which run jobs in this process or in worker processes on this machine."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Protocol, Self, TypeVar

from audiopalm.errors import DataError

Job, Result = TypeVar("Job"), TypeVar("Result")

# There is one worker per core, so threads inside of each would only wait for one another.
SINGLE_THREAD = {
  name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
}


class Executor(Protocol):
  """Runs jobs, once it is entered as a context: `Local` or `beam.Beam`."""

  def map(self, function: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[Result]:
    """Yields function(job) of each job, in any order."""
    ...


class Local:
  """Worker processes on this machine, one per core by default: `with Local() as executor`.

  `Local(0)` runs jobs in this process: for tests, debuggers, and encoders that use its
  accelerators. All other numbers of workers give bitwise equal results, as none runs jobs in this
  process, whose linear algebra has many threads.
  """

  def __init__(self, workers: int | None = None):
    self.workers = (os.cpu_count() or 1) if workers is None else workers
    self._pool: futures.ProcessPoolExecutor | None = None
    self._others: set[BaseProcess] = set()  # child processes that are not workers
    self._environment = contextlib.ExitStack()

  def __enter__(self) -> Self:
    if self.workers:
      self._others = set(multiprocessing.active_children())
      # Workers read the environment when they start, which is at their first job.
      self._environment.enter_context(environment(SINGLE_THREAD))
      # spawn: a forked worker would inherit the locks of jax's and this process's threads.
      context = multiprocessing.get_context("spawn")
      self._pool = futures.ProcessPoolExecutor(self.workers, context, initializer=_begin)
    return self

  def __exit__(self, *exception: object) -> None:
    if self._pool is not None:
      self._pool.shutdown(wait=True, cancel_futures=True)
    self._environment.close()

  def map(self, function: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[Result]:
    """Yields function(job) in the order of the jobs; closing it cancels jobs that are not started.

    The error of any job is raised as soon as it occurs, and no other job is started.
    """
    if self._pool is None:
      yield from map(function, jobs)
      return
    numbers: dict[futures.Future, int] = {}
    finished: dict[int, Result] = {}
    following = 0  # the number of the job whose result is yielded next
    try:
      for number, job in enumerate(jobs):
        numbers[self._pool.submit(function, job)] = number
      for future in futures.as_completed(numbers):
        finished[numbers[future]] = future.result()
        while following in finished:
          yield finished.pop(following)
          following += 1
    except BrokenProcessPool as error:
      # The pool waits for the other workers after a SIGTERM, which they ignore.
      for process in set(multiprocessing.active_children()) - self._others:
        process.kill()
      raise DataError(
        "A worker process died, most likely out of memory. What was finished is kept: run the same "
        f"command again with fewer workers than {self.workers} (--workers)."
      ) from error
    finally:
      for future in numbers:
        future.cancel()


def _begin() -> None:
  """Initializes a worker. It ignores signals to the process group, which would interrupt a shard,
  and uses no accelerator, as each worker would reserve most of its memory."""
  os.environ["JAX_PLATFORMS"] = "cpu"
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  signal.signal(signal.SIGTERM, signal.SIG_IGN)
  end_with_parent(lambda: os._exit(1))


def end_with_parent(end: Callable[[], None]) -> None:
  """Calls `end`, on a thread of its own, when the parent of this process has ended."""

  def wait() -> None:
    multiprocessing.parent_process().join()
    end()

  threading.Thread(target=wait, daemon=True).start()


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
  """Sets environment variables in the block, for processes that it starts."""
  previous = {name: os.environ[name] for name in values if name in os.environ}
  os.environ.update(values)
  try:
    yield
  finally:
    for name in values:
      del os.environ[name]
    os.environ.update(previous)
