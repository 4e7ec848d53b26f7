"""Reads the rows of a manifest file: JSON lines, a tab-separated table, or a folder.

    {"audio": "a.wav", "text": "good morning"}         one JSON object per line
    audio <tab> text                                   a header, then one row per line
    SPEAKER/CHAPTER/*.trans.txt beside the audio       LibriSpeech: "ID THE WORDS" per line

A cell of a table is quoted, as by Python's csv or pandas, if it starts and ends with a double quote
and every quote inside is doubled; any other cell is read literally, as in Common Voice:

    "Stop," he said.       the quotes belong to the text, as the cell does not end with one
    "She said ""no""."     She said "no".
"""

import codecs
import collections
import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from audiopalm.data.manifest.faults import Fault, Location

JSON_ENDINGS = (".jsonl", ".json", ".ndjson")
TABLE_ENDINGS = (".tsv", ".csv", ".txt")
AUDIO_ENDINGS = (".flac", ".wav", ".ogg", ".mp3", ".opus")
TRANSCRIPTS = ".trans.txt"

QUOTED = re.compile(r'"((?:[^"]|"")*)"')
QUOTED_WITHOUT_TABS = re.compile(r'"((?:[^"\t]|"")*)"')
MOST_LINES_OF_A_CELL = 100  # limits how far an unclosed quote is searched for its end


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
  """One line of a file: its values by column name."""

  location: Location
  values: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Table:
  """The rows that can be read, the faults of the others, and the sha256 of the file.

  `header` is the line with the column names, None if every row has its own. Audio paths are
  relative to `folder`.
  """

  rows: tuple[Row, ...]
  faults: tuple[Fault, ...]
  digest: str
  folder: Path
  header: Row | None = None


def read(path: str, names: Sequence[str] = ()) -> Table:
  """Returns the rows of a manifest; faults if it is missing or not a manifest.

  `names` are the columns of a table without a header.
  """
  file = Path(path).expanduser()
  if file.is_dir() and not names:
    return _folder(path, file)
  try:
    data = file.read_bytes()
  except OSError as error:
    return _refused(path, f"cannot be read: {error.strerror}. Give the path of a manifest.")
  # UTF-16 and UTF-32 without a byte order mark show by the zeros of the first characters.
  if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data[:4]:
    text = "is in UTF-16 or UTF-32, or not text, expected UTF-8. Save it in that encoding."
    return _refused(path, text)
  faults: list[Fault] = []
  lines = list(_lines(path, data.removeprefix(codecs.BOM_UTF8), faults))
  first, ending, header = lines[0][1].lstrip() if lines else "", file.suffix.lower(), None
  is_json = ending in JSON_ENDINGS or (first.startswith(("{", "[")) and ending not in TABLE_ENDINGS)
  if not lines:
    rows = ()
    if not faults:
      faults.append(Fault(Location(path), "is empty: expected one recording per line."))
  elif names:
    rows = tuple(_rows(lines, names, f"expected {len(names)}: {', '.join(names)}", faults))
  elif not is_json:
    header, rows = _table(lines, faults)
  elif first.startswith("["):
    return _refused(path, "is a JSON array, expected one JSON object per line.")
  else:
    rows = tuple(_json_rows(lines, faults))
  return Table(rows, tuple(faults), hashlib.sha256(data).hexdigest(), file.parent, header)


def _refused(path: str, text: str) -> Table:
  return Table((), (Fault(Location(path), text),), "", Path(path))


def _lines(path: str, data: bytes, faults: list[Fault]) -> Iterator[tuple[Location, str]]:
  """Yields the lines that are not blank; adds a fault for each that is not UTF-8."""
  for number, line in enumerate(data.split(b"\n"), 1):
    location = Location(path, number)
    try:
      text = line.removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError:
      faults.append(Fault(location, "is not UTF-8 text. Save the manifest in that encoding."))
      continue
    if text.strip():
      yield location, text


def _json_rows(lines: list[tuple[Location, str]], faults: list[Fault]) -> Iterator[Row]:
  for location, text in lines:
    try:
      values = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:  # ValueError: also `_object` and too many digits
      reason = f"{error.msg}, column {error.colno}" if hasattr(error, "colno") else f"{error}"
      faults.append(Fault(location, f"is not JSON: {reason}. Expected one object per line."))
      continue
    if isinstance(values, dict):
      yield Row(location, values)
    else:
      faults.append(Fault(location, "is JSON, but not an object. Expected {...} on each line."))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """Returns a JSON object; ValueError if it has a name twice."""
  values = dict(pairs)
  if len(values) < len(pairs):
    names = [name for name, _ in pairs]
    raise ValueError(f"it names {next(name for name in names if names.count(name) > 1)!r} twice")
  return values


def _table(
  lines: list[tuple[Location, str]], faults: list[Fault]
) -> tuple[Row | None, tuple[Row, ...]]:
  """Returns (header, rows) of a table; adds its faults."""
  (location, text), *rest = lines
  names = [name.strip() for name in cells(text)]
  if len(names) == 1:
    text = (
      f"is {text[:60]!r}: expected column names separated by tabs (TSV), or a JSON object on each "
      "line (JSONL)."
    )
    faults.append(Fault(location, text))
    return None, ()
  for name in dict.fromkeys(name for name in names if names.count(name) > 1):
    faults.append(Fault(location, f"names the column {name!r} twice. Rename one."))
  rows = tuple(_rows(rest, names, f"the header names {len(names)} columns", faults))
  if not rest:
    faults.append(Fault(location, "is the only line: expected rows after the column names."))
  return Row(location, dict.fromkeys(names)), rows


def _rows(
  lines: list[tuple[Location, str]], names: Sequence[str], expected: str, faults: list[Fault]
) -> Iterator[Row]:
  """Yields the lines split into cells; adds a fault for each with too many or too few.

  Tabs and line ends in quotes belong to the cell if that gives the right number of cells.
  """
  waiting = collections.deque(lines)
  while waiting:
    location, text = waiting.popleft()
    split = cells(text)
    if len(split) != len(names):
      split = cells(text, QUOTED)
    if _is_open(split, waiting, names):
      split = cells(text)
      for count in range(1, min(len(waiting), MOST_LINES_OF_A_CELL) + 1):
        text += "\n" + waiting[count - 1][1]
        joined = cells(text, QUOTED)
        if len(joined) == len(names):
          split = joined
          for _ in range(count):
            waiting.popleft()
          break
    if len(split) == len(names):
      yield Row(location, dict(zip(names, split, strict=True)))
    else:
      text = f"has {len(split)} cells, {expected}. Separate cells with one tab each."
      faults.append(Fault(location, text))


def _is_open(
  split: Sequence[str], following: Sequence[tuple[Location, str]], names: Sequence[str]
) -> bool:
  """Returns whether the last cell may continue on the next line, which is not a row itself."""
  if not split[-1].startswith('"') or len(split) > len(names) or not following:
    return False
  return len(split) < len(names) or len(cells(following[0][1])) < len(names)


def cells(text: str, quoted: re.Pattern = QUOTED_WITHOUT_TABS) -> list[str]:
  """Returns the cells of a line, without their quotes.

  Returns no cells for joined lines if a line end is not in quotes.
  """
  split, first = [], 0
  while True:
    match = quoted.match(text, first)
    if match and text[match.end() : match.end() + 1] in ("", "\t"):
      split.append(match[1].replace('""', '"'))
      end = match.end()
    else:
      end = text.find("\t", first)
      end = len(text) if end < 0 else end
      if "\n" in text[first:end]:
        return []
      split.append(text[first:end])
    if end == len(text):
      return split
    first = end + 1


def _folder(path: str, folder: Path) -> Table:
  """Returns the rows of SPEAKER/CHAPTER/*.trans.txt, with the audio files of the same names."""
  transcripts = sorted(folder.rglob(f"*{TRANSCRIPTS}"))
  if not transcripts:
    text = (
      f"is a folder without transcripts: expected SPEAKER/CHAPTER/*{TRANSCRIPTS} as in "
      "LibriSpeech. Give such a folder, or a manifest (JSONL or TSV)."
    )
    return _refused(path, text)
  rows, faults = [], []
  digest = hashlib.sha256()
  for transcript in transcripts:
    name = transcript.relative_to(folder).as_posix()
    file = f"{path.rstrip('/')}/{name}"
    try:
      data = transcript.read_bytes()
      audio = {
        path.stem: path.name
        for path in sorted(transcript.parent.iterdir())
        if path.suffix.lower() in AUDIO_ENDINGS
      }
    except OSError as error:
      faults.append(Fault(Location(file), f"cannot be read: {error.strerror}."))
      continue
    digest.update(json.dumps([name, hashlib.sha256(data).hexdigest()]).encode())
    for location, line in _lines(file, data, faults):
      id, _, text = line.strip().partition(" ")
      values = {
        "audio": str(Path(name).parent / audio.pop(id, f"{id}.flac")),
        "text": text,
        "speaker": transcript.parent.parent.name,
        "id": id,
      }
      rows.append(Row(location, values))
    for name in audio.values():
      text = f"has no line for {name} in its folder. Add its transcript, or remove it."
      faults.append(Fault(Location(file), text))
  return Table(tuple(rows), tuple(faults), digest.hexdigest(), folder)
