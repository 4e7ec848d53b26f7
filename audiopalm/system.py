"""Errors of the operating system: their cause, and a text with advice for the user."""

import errno
import os
import re
from collections.abc import Iterator

from audiopalm.errors import AudiopalmError

FULL = (errno.ENOSPC, errno.EDQUOT)
# Faults of a path. Any other error (EIO, ESTALE, EMFILE, ENOMEM, ...) is a fault of the machine.
OF_PATH = (
  errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG,
  errno.ELOOP, errno.ENXIO, errno.EINVAL,
)  # fmt: skip
ADVICE = {
  errno.ENOENT: "There is no such file or folder: correct the path",
  errno.ENOTDIR: "A part of this path is a file, where a folder was expected: correct the path",
  errno.EEXIST: "Something else has this name already: move it away, or choose another name",
  errno.EISDIR: "This is a folder, where a file was expected: correct the path",
  errno.EACCES: "Expected a place that this user may read and write: choose another, or change "
  "its permissions",
  errno.EROFS: "This is on a device that can only be read: choose another place to write to, or "
  "mount it writable",
  errno.ENAMETOOLONG: "The name is longer than the file system takes: choose a shorter one",
  errno.EFBIG: "A file may not become that large here: raise `ulimit -f`, or choose another place",
  errno.EMFILE: "This process has as many files open as it may: raise `ulimit -n`, or use fewer "
  "--workers",
}
ADVICE[errno.EPERM] = ADVICE[errno.EACCES]
OF_DEVICE = (errno.EROFS, errno.EIO, errno.EFBIG, errno.ESTALE)  # looked for in a library's words
OS_CODE = re.compile(r"\[os_error_code='(\d+)'\]")  # how TensorStore ends what it says of them
MOST_QUOTED = 300  # letters
PATH = str | bytes | os.PathLike
OURS = ("audiopalm", "configs")  # a failed import of these is a bug
OTHERWISE = "What was written is kept: have the machine repaired, then run the same command again"


def is_full(error: BaseException) -> bool:
  """Returns whether a full device or quota caused an error, however it is reported.

  False for an AudiopalmError, whose text already says what is full.
  """
  return any(_says_full(cause) for cause in _causes(error, handled=True))


def is_of_path(error: OSError) -> bool:
  """Returns whether an error is a fault of the path, not of the machine."""
  return error.errno in OF_PATH


def text_of(error: BaseException) -> str | None:
  """Returns a line for the user about a fault of the machine or of an installed package, with the
  system's message, the path and what to do; None for any other error."""
  name = type(error).__name__
  if is_full(error):
    return (
      "No space left on the device. What was written before is kept: free some space, then run "
      f"the same command again. ({error})"
    )
  if isinstance(error, OSError):
    if error.errno is None:  # raised by a library, or for one that cannot be loaded
      return f"{name}: {' '.join(str(error).split()).rstrip('.')}. {OTHERWISE}."
    paths = [os.fsdecode(p) for p in (error.filename, error.filename2) if isinstance(p, PATH)]
    message = error.strerror or os.strerror(error.errno)
    message += f": {' -> '.join(paths)}" if paths else ""
    return f"{name}: {message}. {ADVICE.get(error.errno, OTHERWISE)}."
  if (quoted := _quoted(error)) is not None:
    line, number = quoted
    return f"{name}: {line}. {ADVICE.get(number, OTHERWISE)}."
  if isinstance(error, ImportError) and (error.name or "").partition(".")[0] not in OURS:
    return (
      f"{name}: {error}. A package that this command needs is missing, or incompatible with "
      "others: docs/dependencies.md says which extra installs it, as in pip install "
      "'audiopalm[data]'."
    )
  return None


def _causes(error: BaseException | None, *, handled: bool) -> Iterator[BaseException]:
  """Yields an error and its causes, up to an AudiopalmError; with `handled` also what was being
  handled when it came."""
  while error is not None and not isinstance(error, AudiopalmError):
    yield error
    error = error.__cause__ or (error.__context__ if handled else None)


def _quoted(error: BaseException) -> tuple[str, int] | None:
  """Returns (first line, number) of an error of the system that a library quotes, if it does."""
  for cause in _causes(error, handled=False):
    text = str(cause)
    line = text.partition("\n")[0][:MOST_QUOTED].rstrip(".")
    if isinstance(cause, RuntimeError | ValueError) and (code := OS_CODE.search(text)):
      return line, int(code[1])
    if isinstance(cause, RuntimeError):
      for number in OF_DEVICE:
        if os.strerror(number).lower() in text.lower():
          return line, number
  return None


def _says_full(error: BaseException) -> bool:
  if isinstance(error, OSError):
    return error.errno in FULL
  # ArrayRecord quotes the system's message in a RuntimeError, TensorStore in a ValueError.
  text = str(error).lower()
  quoted = any(os.strerror(number).lower() in text for number in FULL)
  return quoted and isinstance(error, RuntimeError | ValueError)
