"""JSON Lines: one JSON value per line. All such files are read and written by this module.

Lines end only with "\\n". Texts may contain characters that `str.splitlines` and text mode treat as
line ends (U+2028, U+2029, U+0085, ...), which JSON does not escape.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from audiopalm.data import files
from audiopalm.errors import DataError


def dumps(value: object) -> str:
  """Returns a value as one line, with its end."""
  return json.dumps(value, ensure_ascii=False) + "\n"


def write(path: Path, lines: Iterable[object]) -> None:
  """Writes one value per line; the file is replaced atomically."""
  text = "".join(map(dumps, lines))
  with files.replacing(path) as part:
    part.write_bytes(text.encode())


def read(
  path: Path, *, growing: bool = False, again: str = "Delete that line."
) -> Iterator[tuple[int, Any]]:
  """Yields (line number, value) of each line that is not blank.

  In a file that is `growing`, as a run appends to it, a last line that is truncated is ignored.
  Raises DataError, with the line number and the advice `again`, for other lines that are not JSON.
  """
  data = path.read_bytes()
  lines = [line.removesuffix(b"\r") for line in data.removesuffix(b"\n").split(b"\n")]
  for number, line in enumerate(lines, 1):
    if not line.strip():
      continue
    try:
      value = json.loads(line)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
      if growing and number == len(lines) and not data.endswith(b"\n"):
        return
      raise DataError(
        f"{path}, line {number}: expected JSON, but it is damaged ({error}). {again}"
      ) from error
    yield number, value


def read_grown(path: Path, *fields: str) -> list[dict[str, Any]]:
  """Returns the objects in a file that a run appends to, [] if it does not exist yet. Raises
  DataError, with the line, for other values and for objects that lack one of `fields`."""
  objects = []
  for number, value in read(path, growing=True) if path.is_file() else ():
    if not isinstance(value, dict) or not value.keys() >= set(fields):
      expected = f" with {' and '.join(map(repr, fields))}" if fields else ""
      raise DataError(
        f"{path}, line {number}: expected a JSON object{expected}, but it is {str(value)[:40]!r}. "
        "Delete that line."
      )
    objects.append(value)
  return objects


def mend(path: Path) -> None:
  """Ends the last line of a file so that others can be appended, or removes it if truncated."""
  data = path.read_bytes() if path.is_file() else b""
  if data and not data.endswith(b"\n"):
    write(path, [value for _, value in read(path, growing=True)])
