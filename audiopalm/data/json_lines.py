"""JSON Lines: one JSON value a line. The only reader and the only writer of such files here.

Lines end at "\\n" alone. Texts hold other characters that `str.splitlines` and text files opened by
default take for ends of lines (U+2028, U+2029, U+0085, ...), and JSON does not escape those.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from audiopalm.data import files
from audiopalm.errors import DataError


def dumps(value: object) -> str:
  """Returns a value as one line, its end included."""
  return json.dumps(value, ensure_ascii=False) + "\n"


def write(path: Path, lines: Iterable[object]) -> None:
  """Writes values, each on a line; a file of this name is always whole."""
  text = "".join(map(dumps, lines))
  with files.replacing(path) as part:
    part.write_bytes(text.encode())


def read(
  path: Path, *, growing: bool = False, again: str = "Delete that line."
) -> Iterator[tuple[int, Any]]:
  """Yields (number of the line, its value) of a file; blank lines have none.

  Of a file that is `growing`, to which a run adds lines, a last line without its end that is no
  JSON was cut short by whatever stopped the run, and is left out. DataError, with the line and
  `again` as what to do, for any other line that is no JSON.
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
  """Returns the objects in a file that a run adds to, [] where it is not there yet; DataError, with
  the line, for another value and for an object without one of `fields`."""
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
  """Ends the last line of a file before others are added, or takes it away where it was cut."""
  data = path.read_bytes() if path.is_file() else b""
  if data and not data.endswith(b"\n"):
    write(path, [value for _, value in read(path, growing=True)])
