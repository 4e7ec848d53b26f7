"""File locks: exclusive ones for commands in a workdir, shared ones for writers of a folder.

The system releases a lock when the process that holds it ends, even if it is killed.
"""

import contextlib
import errno
import fcntl
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from audiopalm.errors import ConfigError


@contextlib.contextmanager
def held(workdir: Path, command: str, name: str | None = None) -> Iterator[None]:
  """Prevents other processes from running `command` in the workdir until the block ends.

  Raises ConfigError, with the process, if one runs it already. Commands that exclude one another
  share a lock `name`, which defaults to `command`. The file WORKDIR/NAME.lock is not removed.
  """
  workdir.mkdir(parents=True, exist_ok=True)
  path = workdir / f"{name or command}.lock"
  with path.open("a+", encoding="utf-8") as file:
    if not _locked(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
      raise ConfigError(
        f"{workdir} is in use: {_holder(path, command)} there. Wait until it has ended, stop it, "
        "or choose another --workdir."
      )
    file.truncate(0)
    holder = {"host": platform.node(), "process": os.getpid(), "since": time.time()}
    json.dump(holder | {"command": command}, file)
    file.flush()
    yield


def check_free(workdir: Path, command: str) -> None:
  """Raises ConfigError, as `held` does, if a process runs `command` in the workdir."""
  if (workdir / f"{command}.lock").exists():
    with held(workdir, command):
      pass


@contextlib.contextmanager
def shared(folder: Path, when_alone: Callable[[], None]) -> Iterator[None]:
  """Makes this process one of the writers of a folder until the block ends.

  If it is the only one, `when_alone` is called first, while new writers wait.
  """
  folder.mkdir(parents=True, exist_ok=True)
  with (folder / "writers.lock").open("a", encoding="utf-8") as file:
    if _locked(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
      when_alone()
    _locked(file, fcntl.LOCK_SH)
    yield


def _locked(file: TextIO, how: int) -> bool:
  """Returns whether the lock was acquired; raises ConfigError if the filesystem has no locks."""
  try:
    fcntl.flock(file, how)
  except BlockingIOError:
    return False
  except OSError as error:
    if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
      raise
    raise ConfigError(
      f"{file.name} cannot be locked ({error.strerror}): expected a filesystem with file locks. "
      "Mount it with them (NFS: not with nolock; Lustre: with flock), or choose another folder."
    ) from error
  return True


def _holder(path: Path, command: str) -> str:
  """Returns which process holds a lock and what it runs, `command` if the file does not have it."""
  try:
    holder = json.loads(path.read_text(encoding="utf-8"))
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["since"]))
    who = f"process {holder['process']} on {holder['host']}, since {since},"
    return f"{who} runs audiopalm {holder.get('command', command)}"
  except ValueError:  # not written yet
    return f"another process runs audiopalm {command}"
