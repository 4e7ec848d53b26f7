"""Programs in processes of their own that answer requests: `ask(server, request)`.

They are modules of `data_pipelines.speech`, whose `serving` has the protocol.
"""

import atexit
import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from audiopalm.errors import DataError, RecordError

ROOT = Path(__file__).resolve().parents[1]


@dataclasses.dataclass(frozen=True)
class Server:
  """A process that runs `module` with `arguments`; `name` is what errors call it.

  It imports the module `imported` of the package `package`; `install` is the advice if that is
  missing.
  """

  name: str
  module: str
  package: str
  imported: str
  install: str
  arguments: tuple[str, ...] = ()

  @property
  def command(self) -> list[str]:
    return [sys.executable, "-m", self.module, *self.arguments]


# Keyed by the id of the calling process too, so that a fork starts its own.
_processes: dict[tuple[int, Server], subprocess.Popen] = {}
_lock = threading.Lock()  # of their pipes


def ask(server: Server, request: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray]:
  """Returns (header, float32 samples) of the server's answer.

  Starts the server if needed, and restarts it once if it died. Raises RecordError for a text that
  the server cannot speak, and DataError, which ends `prepare`, for any other refused request: a
  missing voice is not a fault of a single record.
  """
  with _lock:
    return _ask(server, request)


def _ask(server: Server, request: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray]:
  for _ in range(2):
    process = _process(server)
    try:
      process.stdin.write(json.dumps(request).encode() + b"\n")
      process.stdin.flush()
      header = json.loads(process.stdout.readline() or "null")
    except (BrokenPipeError, json.JSONDecodeError):
      header = None
    if header and header.get("unspoken"):
      raise RecordError(f"{header['error']}. Correct the text, or leave it out.")
    if header and "error" in header:
      raise DataError(f"{header['error']}. {server.install}")
    if header is not None:
      data = process.stdout.read(2 * header["samples"])
      if len(data) == 2 * header["samples"]:
        return header, np.frombuffer(data, np.int16).astype(np.float32) / 2**15
    stop()
  raise DataError(
    f"The {server.name} process died twice on {request}. To see why, run "
    f"`{' '.join(server.command)}` and enter this line."
  )


def _process(server: Server) -> subprocess.Popen:
  process = _processes.get((os.getpid(), server))
  if process is None or process.poll() is not None:
    if importlib.util.find_spec(server.imported) is None:
      raise DataError(
        f"{server.name!r} needs the package {server.package}, which is not installed. "
        f"{server.install}"
      )
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    process = _processes[os.getpid(), server] = subprocess.Popen(
      server.command,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      env=os.environ | {"PYTHONPATH": path},
    )
  return process


@atexit.register
def stop() -> None:
  """Kills the synthesizers started by this process; the next `ask` starts a new one."""
  for key in [key for key in _processes if key[0] == os.getpid()]:
    process = _processes.pop(key)
    process.kill()
    process.communicate()
