"""Files that grow while a run goes on, and wait in memory while their device is full."""

from collections.abc import Callable
from pathlib import Path

from audiopalm import system


class Appender:
  """Adds bytes to the end of a file; what a full device does not take stays in memory.

  `flush` writes all that was added, or nothing of it. `say` is told when the device is full, when
  it has taken everything again, and at the end what is lost.
  """

  def __init__(self, path: Path, say: Callable[[str], None] = print):
    self._path, self._say = path, say
    self._waiting: list[bytes] = []
    self._is_full = False

  def add(self, data: bytes) -> None:
    self._waiting.append(data)

  def flush(self) -> None:
    """Writes what was added, if the device has room for it."""
    if not self._waiting:
      return
    try:
      self._write(b"".join(self._waiting))
    except OSError as error:
      if not system.is_full(error):
        raise
      if not self._is_full:
        self._say(
          f"No space left on the device of {self._path}: what belongs there waits in memory and is "
          "written when there is room."
        )
      self._is_full = True
      return
    self._waiting.clear()
    if self._is_full:
      self._is_full = False
      self._say(f"There is room again: {self._path} is whole.")

  def close(self) -> None:
    self.flush()
    if self._waiting:
      self._say(f"{self._path} ends early: its device is still full.")

  def _write(self, data: bytes) -> None:
    with self._path.open("ab", buffering=0) as file:
      before = file.tell()
      try:
        while data:
          data = data[file.write(data) :]
      except OSError:
        file.truncate(before)
        raise
