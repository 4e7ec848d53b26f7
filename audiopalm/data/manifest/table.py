"""Rows of a manifest as its file has them: JSON lines, a table with tabs, or a folder.

{"audio": "a.wav", "text": "good morning"}         one JSON object a line
audio <tab> text                                   names of columns, then one row a line
SPEAKER/CHAPTER/*.trans.txt beside the audio       LibriSpeech: "ID THE WORDS" a line

A cell of a table that begins and ends with a double quote, and in which every inner one is doubled,
is quoted, as by Python's csv or pandas; any other is taken as it is, as in Common Voice:

    "Stop," he said.       Stop with its quotes: the last letter is no quote
    "She said ""no""."     She said "no".
"""

import codecs
import collections
import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from audiopalm.data.manifest.faults import Fault, Place

JSON_ENDINGS = (".jsonl", ".json", ".ndjson")
TABLE_ENDINGS = (".tsv", ".csv", ".txt")
AUDIO_ENDINGS = (".flac", ".wav", ".ogg", ".mp3", ".opus")
TRANSCRIPTS = ".trans.txt"

QUOTED = re.compile(r'"((?:[^"]|"")*)"')
QUOTED_WITHOUT_TABS = re.compile(r'"((?:[^"\t]|"")*)"')
MOST_LINES_OF_A_CELL = 100  # a quote that nothing closes must not swallow the file


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
  # Without a mark at its beginning too, by the zeros of the first letters.
  if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data[:4]:
    text = "is in UTF-16 or UTF-32, or no text, expected UTF-8. Save it in that encoding."
    return _refused(path, found, text)
  faults: list[Fault] = []
  lines = list(_lines(path, data.removeprefix(codecs.BOM_UTF8), faults))
  if not lines:
    if not faults:
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
      values = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:  # ValueError alone: `_object`, too many digits
      said = f"{error.msg}, column {error.colno}" if hasattr(error, "colno") else f"{error}"
      faults.append(Fault(place, f"is not JSON: {said}. Expected one object a line."))
      continue
    if isinstance(values, dict):
      yield Row(place, values)
    else:
      faults.append(Fault(place, "is JSON, but no object. Expected {...} on each line."))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """Returns an object of JSON; ValueError for one that names something twice."""
  found = dict(pairs)
  if len(found) < len(pairs):
    names = [name for name, _ in pairs]
    raise ValueError(f"it names {next(name for name in names if names.count(name) > 1)!r} twice")
  return found


def _table(lines: list[tuple[Place, str]], faults: list[Fault], digest: str, folder: Path) -> Table:
  (place, text), *rest = lines
  names = [name.strip() for name in cells(text)]
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
  """Yields the lines as rows of cells; those with too many or too few become faults.

  Tabs and line ends inside quotes belong to their cell where the number of cells says so.
  """
  waiting = collections.deque(lines)
  while waiting:
    place, text = waiting.popleft()
    split = cells(text)
    if len(split) != len(names):
      split = cells(text, QUOTED)
    taken = 0
    if _is_open(split, waiting, names):
      following = list(itertools.islice(waiting, MOST_LINES_OF_A_CELL))
      taken, split = _over_lines(text, following, names)
    if len(split) == len(names):
      for _ in range(taken):
        waiting.popleft()
      yield Row(place, dict(zip(names, split, strict=True)))
    else:
      text = f"has {len(split)} cells, {expected}. Separate cells with one tab each."
      faults.append(Fault(place, text))


def _is_open(
  split: Sequence[str], following: Sequence[tuple[Place, str]], names: Sequence[str]
) -> bool:
  """Returns whether the last cell may go on in the next line, which is no row itself."""
  if not split[-1].startswith('"') or len(split) > len(names) or not following:
    return False
  return len(split) < len(names) or len(cells(following[0][1])) < len(names)


def cells(text: str, quoted: re.Pattern = QUOTED_WITHOUT_TABS) -> list[str]:
  """Returns the cells of a line, without the quotes of those that are quoted.

  None for lines that were joined where no quotes hold a line end.
  """
  found, first = [], 0
  while True:
    match = quoted.match(text, first)
    if match and text[match.end() : match.end() + 1] in ("", "\t"):
      found.append(match[1].replace('""', '"'))
      end = match.end()
    else:
      end = text.find("\t", first)
      end = len(text) if end < 0 else end
      if "\n" in text[first:end]:
        return []
      found.append(text[first:end])
    if end == len(text):
      return found
    first = end + 1


def _over_lines(
  text: str, following: Sequence[tuple[Place, str]], names: Sequence[str]
) -> tuple[int, list[str]]:
  """Returns how many of the following lines the quoted last cell of a line goes on over, and all
  cells; 0, and the cells of the line alone, where no number of them gives a cell for each name."""
  joined = text
  for taken, (_, line) in enumerate(following, 1):
    joined += "\n" + line
    if len(split := cells(joined, QUOTED)) == len(names):
      return taken, split
  return 0, cells(text)


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
