"""Atomic writes: files are written under a temporary name, then renamed."""

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from audiopalm import system
from audiopalm.errors import DataError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
  """Yields a temporary path; the file or folder written there replaces `path` when the block ends.

  If the block fails, the temporary path is removed and `path` is unchanged. Raises DataError, with
  the folder, if the device is full.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  part = part_of(path)
  try:
    yield part
    if part.is_dir():
      _remove(path)  # os.replace does not replace a folder that has files
    os.replace(part, path)
  except BaseException as error:
    _remove(part)
    if system.is_full(error):
      raise DataError(
        f"No space left on the device of {path.parent} while writing {path.name}. What was "
        "finished before is kept. Free some space, or choose another folder with --workdir or "
        "--streams, and run the same command again."
      ) from error
    raise


def part_of(path: Path) -> Path:
  """Returns a temporary path beside `path` that no other writer uses."""
  return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def remove_parts(folder: Path, pattern: str) -> None:
  """Removes temporary files of killed writers by a pattern; no process may be writing there."""
  for part in list(folder.glob(pattern)):
    _remove(part)


def write_json(path: Path, value: object) -> None:
  """Writes `value` as JSON atomically; equal values give equal bytes."""
  with replacing(path) as part:
    dump_json(part, value)


def dump_json(part: Path, value: object) -> None:
  """Writes `value` as JSON to a temporary path (`replacing`)."""
  part.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
  """Returns the value in a JSON file; raises DataError if it is missing or damaged."""
  try:
    return json.loads(path.read_text(encoding="utf-8"))
  except FileNotFoundError:
    raise DataError(f"{path}: no such file. Run `audiopalm prepare` for this workdir.") from None
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise DataError(
      f"{path}: expected JSON, but it is damaged ({error}). Delete it and run the command that "
      "wrote it again."
    ) from error


def _remove(path: Path) -> None:
  if path.is_dir() and not path.is_symlink():
    shutil.rmtree(path)
  else:
    path.unlink(missing_ok=True)
