"""Transcripts cached in a file as they are made. Needs no jax.

A recognizer takes seconds for a recording; an evaluation that was killed resumes where it was.
"""

from pathlib import Path

from audiopalm.data import json_lines
from audiopalm.errors import DataError

FILE = "transcripts.jsonl"
AGAIN = "Remove the file: recordings are then heard again."


class Kept:
  """Transcripts by key, a line of JSON each; `add` writes a line before it returns.

  A line that a kill cut off is dropped when the file is opened. Without a path nothing is saved.
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
      with self._path.open("ab") as file:
        file.write(json_lines.dumps({"key": key, "text": text}).encode())


def _read(path: Path) -> dict[str, str]:
  json_lines.mend(path)
  texts = {}
  for number, line in json_lines.read(path, again=AGAIN):
    try:
      texts[line["key"]] = line["text"]
    except (TypeError, KeyError) as error:
      raise DataError(
        f"{path}, line {number}: expected a transcript with key and text, got {line!r}. {AGAIN}"
      ) from error
  return texts
