"""Asks synthesizers, each in a process of its own: `ask(server, request)`."""

import atexit
import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from audiopalm.errors import DataError, RecordError

ROOT = Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class Server:
  """A program that speaks: `python -m MODULE ARGUMENTS`, for which `package` is `imported`.

  `install` says how one gets the package, or does without.
  """

  name: str
  module: str
  package: str
  imported: str
  install: str
  arguments: tuple[str, ...] = ()


# By the id of the calling process, which a fork does not share.
_processes: dict[tuple[int, Server], subprocess.Popen] = {}


def ask(server: Server, request: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray]:
  """Returns the head of the answer, and its samples as float32.

  The server is started when first needed, and again once if it died. RecordError for a text that it
  cannot say. DataError, which ends `prepare`, for what else it refuses: a voice that it lacks is a
  fault of no single record.
  """
  for _ in range(2):
    process = _process(server)
    try:
      process.stdin.write(json.dumps(request).encode() + b"\n")
      process.stdin.flush()
      head = json.loads(process.stdout.readline() or "null")
    except (BrokenPipeError, json.JSONDecodeError):
      head = None
    if head and head.get("unspoken"):
      raise RecordError(f"{head['error']}. Correct the text, or leave it out.")
    if head and "error" in head:
      raise DataError(f"{head['error']}. {server.install}")
    if head is not None:
      data = process.stdout.read(2 * head["samples"])
      if len(data) == 2 * head["samples"]:
        return head, np.frombuffer(data, np.int16).astype(np.float32) / 2**15
    stop()
  raise DataError(
    f"The {server.name} process died twice on {request}. To see why, run "
    f"`{' '.join([sys.executable, '-m', server.module, *server.arguments])}` and give it this line."
  )


def _process(server: Server) -> subprocess.Popen:
  process = _processes.get((os.getpid(), server))
  if process is None or process.poll() is not None:
    if importlib.util.find_spec(server.imported) is None:
      raise DataError(
        f"Synthesizer {server.name!r} needs the package {server.package}, which is not installed. "
        f"{server.install}"
      )
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    process = _processes[os.getpid(), server] = subprocess.Popen(
      [sys.executable, "-m", server.module, *server.arguments],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      env=os.environ | {"PYTHONPATH": path},
    )
  return process


@atexit.register
def stop() -> None:
  """Ends the synthesizers of this process, if it has any. The next `ask` starts another."""
  for key in [key for key in _processes if key[0] == os.getpid()]:
    process = _processes.pop(key)
    process.kill()
    process.communicate()
