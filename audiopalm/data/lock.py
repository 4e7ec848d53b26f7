"""One command at a time in a workdir."""

import contextlib
import fcntl
import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

from audiopalm.errors import ConfigError


@contextlib.contextmanager
def held(workdir: Path, command: str) -> Iterator[None]:
  """Lets no other process run `command` in the workdir until the block ends, or this process does.

  A ConfigError names who runs it already. The system lets go of the lock (WORKDIR/COMMAND.lock)
  with the process that holds it, however that ends; the file stays.
  """
  workdir.mkdir(parents=True, exist_ok=True)
  path = workdir / f"{command}.lock"
  with path.open("a+", encoding="utf-8") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise ConfigError(
        f"{workdir} is in use: {_holder(path)} runs audiopalm {command} there. Wait until it has "
        "ended, stop it, or choose another --workdir."
      ) from None
    file.truncate(0)
    json.dump({"host": platform.node(), "process": os.getpid(), "since": time.time()}, file)
    file.flush()
    yield


def check_free(workdir: Path, command: str) -> None:
  """Raises ConfigError, as `held` would, where some process runs `command` in the workdir."""
  if (workdir / f"{command}.lock").exists():
    with held(workdir, command):
      pass


def _holder(path: Path) -> str:
  try:
    found = json.loads(path.read_text(encoding="utf-8"))
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found["since"]))
    return f"process {found['process']} on {found['host']}, since {since},"
  except ValueError:  # it has just begun
    return "another process"
