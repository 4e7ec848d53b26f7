"""Copies of all lines of a manifest, for another manifest with more columns."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from audiopalm.data.manifest import columns, lines
from audiopalm.data.manifest.faults import Location
from audiopalm.data.manifest.lines import Files, ManifestLine, Reading
from audiopalm.data.manifest.table import Table
from audiopalm.errors import DataError


@dataclasses.dataclass(frozen=True)
class Copy:
  """A line of a manifest. If it has a fault, `line` is None and `reason` is the fault.

  `values` is None for a line that cannot be read as a row, whose bytes are `data`.
  """

  location: Location
  values: dict[str, Any] | None
  line: ManifestLine | None = None
  reason: str = ""
  data: bytes = b""


@dataclasses.dataclass(frozen=True)
class Copies:
  """All lines of a manifest, in order, and the digest of all that they depend on."""

  copies: tuple[Copy, ...]
  digest: str


def read(files: Files, reading: Reading, folder: Path) -> Copies:
  """Returns the lines of a manifest for a copy in `folder`; relative paths are made absolute if
  that is another folder.

  Raises DataError for a manifest that cannot be read at all.
  """
  known = lines.read(files, reading)
  by_location = {line.location: line for line in known.lines}
  reasons: dict[Location, str] = {}
  for fault in known.faults:
    reasons.setdefault(fault.location, fault.text)
  copies: list[Copy] = []
  for table in reading.tables(lines.paths(files)):
    for row in table.rows:
      line = by_location.get(row.location)
      values = _moved(dict(row.values), line, table, reading, folder)
      reason = "" if line else reasons.get(row.location, "its file has faults as a whole.")
      copies.append(Copy(row.location, values, line, reason))
    seen = {copy.location for copy in copies}
    unread = {fault.location for fault in table.faults if fault.location.line} - seen
    if table.header is not None:
      unread.discard(table.header.location)
    for location, data in _data(unread):
      copies.append(Copy(location, None, None, reasons[location], data))
  if not copies:
    reason = f"{known.faults[0].location}: {known.faults[0].text}" if known.faults else "no lines."
    raise DataError(f"Expected a manifest of recordings, but it has none: {reason}")
  order = {path: number for number, path in enumerate(lines.paths(files))}
  copies.sort(
    key=lambda copy: (order.get(copy.location.file, 0), copy.location.file, copy.location.line)
  )
  return Copies(tuple(copies), known.digest)


def _moved(
  values: dict[str, Any], line: ManifestLine | None, table: Table, reading: Reading, folder: Path
) -> dict[str, Any]:
  """Returns the values of a row with paths that are valid in another folder."""
  if reading.audio_dir is not None or os.path.realpath(folder) == os.path.realpath(table.folder):
    return values
  translated = line.translation if line else None
  known = {"audio": line and line.audio, "translation_audio": translated and translated.audio}
  for column, file in known.items():
    for name in columns.COLUMNS[column]:
      if isinstance(values.get(name), str) and values[name]:
        path = Path(file) if file else table.folder / Path(values[name]).expanduser()
        values[name] = os.path.abspath(path)
  return values


def _data(locations: set[Location]) -> Iterator[tuple[Location, bytes]]:
  """Yields the bytes of lines that are not rows."""
  for file in sorted({location.file for location in locations}):
    data = Path(file).expanduser().read_bytes().split(b"\n")
    for location in locations:
      if location.file == file:
        yield location, data[location.line - 1].removesuffix(b"\r")
