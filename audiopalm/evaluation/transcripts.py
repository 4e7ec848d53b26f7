"""Transcripts that were made before, kept in a file as they are made. Needs no jax.

A recognizer takes about a second a recording; an evaluation that was killed goes on where it was.
"""

import json
from pathlib import Path

from audiopalm.errors import DataError

FILE = "transcripts.jsonl"


class Kept:
  """Transcripts by key, a line of JSON each; `add` writes a line before it returns.

  A line that a kill cut off is dropped when the file is opened. None is a file that is nowhere.
  """

  def __init__(self, path: Path | None = None):
    self._path = path
    self._texts: dict[str, str] = {}
    if path is not None and path.exists():
      self._texts = _read(path)

  def __contains__(self, key: str | None) -> bool:
    return key in self._texts

  def __getitem__(self, key: str) -> str:
    return self._texts[key]

  def add(self, key: str, text: str) -> None:
    self._texts[key] = text
    if self._path is not None:
      self._path.parent.mkdir(parents=True, exist_ok=True)
      with self._path.open("a", encoding="utf-8", newline="\n") as file:
        file.write(json.dumps({"key": key, "text": text}, ensure_ascii=False) + "\n")


def _read(path: Path) -> dict[str, str]:
  content = path.read_bytes()
  whole = content[: content.rfind(b"\n") + 1]
  if len(whole) < len(content):  # the process that wrote it was killed in the middle of a line
    with path.open("r+b") as file:
      file.truncate(len(whole))
  found = {}
  for number, line in enumerate(whole.split(b"\n")[:-1], 1):
    try:
      values = json.loads(line)
      found[values["key"]] = values["text"]
    except (ValueError, TypeError, KeyError) as error:
      raise DataError(
        f"{path}, line {number}: expected a transcript with key and text, but it cannot be read "
        f"({error}). Remove the file: recordings are then heard again."
      ) from error
  return found
