"""Rows of a manifest as they stand in its file: JSON lines, a table with tabs, or a folder.

{"audio": "a.wav", "text": "good morning"}         one JSON object a line
audio <tab> text                                   names of columns, then one row a line
SPEAKER/CHAPTER/*.trans.txt beside the audio       LibriSpeech: "ID THE WORDS" a line
"""

import codecs
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from audiopalm.data.manifest.faults import Fault, Place

JSON_ENDINGS = (".jsonl", ".json", ".ndjson")
TABLE_ENDINGS = (".tsv", ".csv", ".txt")
AUDIO_ENDINGS = (".flac", ".wav", ".ogg", ".mp3", ".opus")
TRANSCRIPTS = ".trans.txt"


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
  """One line: its values by the names of their columns, as they stand there."""

  place: Place
  values: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Table:
  """The rows that can be read, what is wrong with the others, and sha256 of all there is.

  `header` is the line with the names of columns, None where each row has its own names. `folder` is
  what paths of audio are relative to.
  """

  rows: tuple[Row, ...]
  faults: tuple[Fault, ...]
  digest: str
  folder: Path
  header: Row | None = None


def read(path: str, names: Sequence[str] = ()) -> Table:
  """Returns the rows of a manifest; faults where it is missing or not one.

  `names` are those of the columns of a table whose first line is a row already.
  """
  found = Path(path).expanduser()
  if found.is_dir() and not names:
    return _folder(path, found)
  try:
    data = found.read_bytes()
  except OSError as error:
    return _refused(path, found, f"cannot be read: {error.strerror}. Give the path of a manifest.")
  digest = hashlib.sha256(data).hexdigest()
  if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
    return _refused(path, found, "is in UTF-16, expected UTF-8. Save it in that encoding.")
  faults: list[Fault] = []
  lines = list(_lines(path, data.removeprefix(codecs.BOM_UTF8), faults))
  if not lines:
    faults.append(Fault(Place(path), "is empty: expected one recording a line."))
    return Table((), tuple(faults), digest, found.parent)
  if names:
    rows = tuple(_cut(lines, names, f"expected {len(names)}: {', '.join(names)}", faults))
    return Table(rows, tuple(faults), digest, found.parent)
  first = lines[0][1].lstrip()
  ending = found.suffix.lower()
  if ending in JSON_ENDINGS or (first.startswith(("{", "[")) and ending not in TABLE_ENDINGS):
    if first.startswith("["):
      return _refused(path, found, "is one JSON array, expected one JSON object a line.")
    rows = tuple(_json_rows(lines, faults))
    return Table(rows, tuple(faults), digest, found.parent)
  return _table(lines, faults, digest, found.parent)


def _refused(path: str, found: Path, text: str) -> Table:
  return Table((), (Fault(Place(path), text),), "", found.parent)


def _lines(path: str, data: bytes, faults: list[Fault]) -> Iterator[tuple[Place, str]]:
  """Yields the lines that are not blank; those that are not text become faults."""
  for number, line in enumerate(data.split(b"\n"), 1):
    place = Place(path, number)
    try:
      text = line.removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError:
      faults.append(Fault(place, "is not UTF-8 text. Save the manifest in that encoding."))
      continue
    if text.strip():
      yield place, text


def _json_rows(lines: list[tuple[Place, str]], faults: list[Fault]) -> Iterator[Row]:
  for place, text in lines:
    try:
      values = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError alone: a number of too many digits
      said = f"{error.msg}, column {error.colno}" if hasattr(error, "colno") else f"{error}"
      faults.append(Fault(place, f"is not JSON: {said}. Expected one object a line."))
      continue
    if isinstance(values, dict):
      yield Row(place, values)
    else:
      faults.append(Fault(place, "is JSON, but no object. Expected {...} on each line."))


def _table(lines: list[tuple[Place, str]], faults: list[Fault], digest: str, folder: Path) -> Table:
  (place, text), *rest = lines
  names = [name.strip() for name in text.split("\t")]
  if len(names) == 1:
    faults.append(
      Fault(
        place,
        f"is {text[:60]!r}: expected the names of columns with tabs between (TSV), or a JSON "
        "object on each line (JSONL).",
      )
    )
    return Table((), tuple(faults), digest, folder)
  for name in dict.fromkeys(name for name in names if names.count(name) > 1):
    faults.append(Fault(place, f"names the column {name!r} twice. Rename one."))
  rows = tuple(_cut(rest, names, f"the first line names {len(names)} columns", faults))
  if not rest:
    faults.append(Fault(place, "is the only line: expected rows under the names of columns."))
  return Table(rows, tuple(faults), digest, folder, Row(place, dict.fromkeys(names)))


def _cut(
  lines: list[tuple[Place, str]], names: Sequence[str], expected: str, faults: list[Fault]
) -> Iterator[Row]:
  """Yields the lines as rows of cells; those with too many or too few become faults."""
  for place, text in lines:
    cells = text.split("\t")
    if len(cells) == len(names):
      yield Row(place, dict(zip(names, cells, strict=True)))
    else:
      text = f"has {len(cells)} cells, {expected}. Separate cells with one tab each."
      faults.append(Fault(place, text))


def _folder(path: str, folder: Path) -> Table:
  """Returns the rows of SPEAKER/CHAPTER/*.trans.txt, with the audio of the same name beside."""
  transcripts = sorted(folder.rglob(f"*{TRANSCRIPTS}"))
  if not transcripts:
    text = (
      f"is a folder without transcripts: expected SPEAKER/CHAPTER/*{TRANSCRIPTS} as LibriSpeech "
      "has them. Give such a folder, or a manifest (JSONL or TSV)."
    )
    return _refused(path, folder / "*", text)
  rows, faults = [], []
  digest = hashlib.sha256()
  for transcript in transcripts:
    name = transcript.relative_to(folder).as_posix()
    file = f"{path.rstrip('/')}/{name}"
    try:
      data = transcript.read_bytes()
      audio = {
        beside.stem: beside.name
        for beside in sorted(transcript.parent.iterdir())
        if beside.suffix.lower() in AUDIO_ENDINGS
      }
    except OSError as error:
      faults.append(Fault(Place(file), f"cannot be read: {error.strerror}."))
      continue
    digest.update(json.dumps([name, hashlib.sha256(data).hexdigest()]).encode())
    for place, text in _lines(file, data, faults):
      id, _, said = text.strip().partition(" ")
      values = {
        "audio": str(Path(name).parent / audio.pop(id, f"{id}.flac")),
        "text": said,
        "speaker": transcript.parent.parent.name,
        "id": id,
      }
      rows.append(Row(place, values))
    for beside in audio.values():
      text = f"has no line for {beside}, which lies beside it. Write what it says, or remove it."
      faults.append(Fault(Place(file), text))
  return Table(tuple(rows), tuple(faults), digest.hexdigest(), folder)
