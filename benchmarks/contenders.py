"""Programs that are timed in turn, each in a process of its own: none computes while another is.

The parent asks with one line of JSON on a pipe and gets one back; a contender that is not asked
waits, so that the threads of one never take the cores from another.
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
  """A contender: `python SCRIPT ARGUMENTS`, which must call `serve`."""

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
    """Returns the contender's answer; the benchmark ends with its exit code if it has died."""
    with contextlib.suppress(BrokenPipeError):  # it has died: the empty answer below says so
      self._process.stdin.write(json.dumps(question) + "\n")
      self._process.stdin.flush()
    answer = self._process.stdout.readline()
    if not answer:
      raise SystemExit(f"{self._name} ended with {self._process.wait()}; what it said is above.")
    return json.loads(answer)

  def close(self) -> None:
    """Lets the contender end; it does when its input does."""
    self._process.stdin.close()
    self._process.wait()


def serve(answer: Callable[..., Any]) -> None:
  """Answers each question with answer(**question) until there are no more."""
  answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
  os.dup2(2, 1)  # what libraries print must not be taken for an answer
  for line in sys.stdin:
    answers.write(json.dumps(answer(**json.loads(line))) + "\n")
    answers.flush()


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
  """Returns (call(), seconds it took)."""
  start_s = time.perf_counter()
  return call(), time.perf_counter() - start_s
