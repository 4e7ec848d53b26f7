"""Times programs in turn, each in its own process: only one computes at a time.

The parent process sends one line of JSON on a pipe and receives one line. A contender waits between
requests, so its threads never take cores from another.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


class Worker:
  """A contender: the process `python SCRIPT ARGUMENTS`, which must call `serve`."""

  def __init__(
    self, script: str, *arguments: str, environment: Mapping[str, str] | None = None
  ) -> None:
    self._name = " ".join((Path(script).name, *arguments))
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    self._process = subprocess.Popen(
      [sys.executable, str(Path(script).resolve()), *arguments],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      encoding="utf-8",
      env={**os.environ, "PYTHONPATH": path, **(environment or {})},
    )

  def __enter__(self) -> "Worker":
    return self

  def __exit__(self, *exception) -> None:
    self.close()

  def ask(self, **question: Any) -> Any:
    """Returns the contender's answer; raises SystemExit if the contender has died."""
    with contextlib.suppress(BrokenPipeError):  # it has died, so the answer below is empty
      self._process.stdin.write(json.dumps(question) + "\n")
      self._process.stdin.flush()
    answer = self._process.stdout.readline()
    if not answer:
      code = self._process.wait()
      raise SystemExit(f"{self._name} failed with exit code {code}; see its output above.")
    return json.loads(answer)

  def close(self) -> None:
    """Ends the contender by closing its input."""
    self._process.stdin.close()
    self._process.wait()


def serve(answer: Callable[..., Any]) -> None:
  """Answers each question with answer(**question) until the input ends."""
  answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
  os.dup2(2, 1)  # output of libraries must not mix with answers
  for line in sys.stdin:
    answers.write(json.dumps(answer(**json.loads(line))) + "\n")
    answers.flush()


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
  """Returns (call(), its seconds)."""
  start_s = time.perf_counter()
  return call(), time.perf_counter() - start_s
