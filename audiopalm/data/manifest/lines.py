"""The lines of a manifest: recordings with their texts, and the lines that form a record."""

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from audiopalm import language_tags, orthography
from audiopalm.data.manifest import columns, table
from audiopalm.data.manifest.columns import Fields
from audiopalm.data.manifest.faults import Fault, Location
from audiopalm.data.manifest.table import Row, Table
from audiopalm.errors import ConfigError
from audiopalm.types import Word

ROLES = ("source", "target")
SOMEBODY = "somebody"  # the speaker of lines without one
CLIPS = "clips"  # Common Voice's folder for the files in its column `path`

Files = str | tuple[str, ...]  # a manifest or folder, or several, that list a split


@dataclasses.dataclass(frozen=True)
class Reading:
  """Options for reading a manifest.

  `language` and `translation_language` are the codes of lines without one. Audio paths are relative
  to `audio_dir`, by default the manifest's folder. Subclasses in `published` read the tables of
  published corpora as manifests.
  """

  language: str | None = None
  translation_language: str | None = None
  audio_dir: str | None = None

  def __post_init__(self):
    for field in ("language", "translation_language"):
      code = getattr(self, field)
      if code is None:
        continue
      if (canonical := language_tags.find(code)) is None:
        expected = language_tags.expected(code)
        raise ConfigError(f"{field}={code!r} is not a known language. {expected}")
      object.__setattr__(self, field, canonical)

  def tables(self, paths: Sequence[str]) -> list[Table]:
    """Returns the tables of a split's files. Opens no audio."""
    return [table.read(path) for path in paths]


@dataclasses.dataclass(frozen=True, slots=True)
class ManifestLine:
  """A recording, or a part of one, and its text.

  `audio` is None for a translation that is text only; `text` is empty if the manifest has the text
  of the translation only. `span_s` is (start, end) in the file, None for all of it; `seconds` is
  the duration in the manifest, if it has one.
  """

  location: Location
  id: str
  audio: str | None
  text: str
  language: str
  speaker: str = ""
  span_s: tuple[float, float] | None = None
  seconds: float | None = None
  words: tuple[Word, ...] = ()
  pair: str = ""
  role: str = ""
  translation: "ManifestLine | None" = None


@dataclasses.dataclass(frozen=True)
class Lines:
  """The lines of a manifest without faults, all faults, and the sha256 of all they depend on.

  `unused` are the columns that are ignored.
  """

  lines: tuple[ManifestLine, ...]
  faults: tuple[Fault, ...]
  digest: str
  unused: tuple[str, ...] = ()


def paths(files: Files) -> tuple[str, ...]:
  """Returns the files of a split as a tuple."""
  return (files,) if isinstance(files, str) else files


def read(files: Files, reading: Reading) -> Lines:
  """Returns the lines of manifests, LibriSpeech-style folders or the tables that `reading` reads.

  Opens no audio.
  """
  tables = reading.tables(paths(files))
  faults, lines = [], []
  for source in tables:
    faults += source.faults
    missing = list(_missing_columns(source.header, reading)) if source.header else []
    faults += missing
    for row in source.rows if not missing else ():
      fields = Fields(row)
      line = _line(fields, reading, source.folder)
      if fields.faults:
        faults += fields.faults
      else:
        lines.append(line)
  between = [*_duplicates(lines), *_unpaired(lines)]
  faulty = {fault.location for fault in between}
  kept = tuple(line for line in lines if line.location not in faulty)
  faults = sorted([*faults, *between], key=lambda f: (f.location.file, f.location.line))
  digests = (source.digest for source in tables)
  content = json.dumps([*digests, reading.language, reading.translation_language])
  names = {str(name) for source in tables for row in source.rows for name in row.values}
  digest = hashlib.sha256(content.encode()).hexdigest()
  return Lines(kept, tuple(faults), digest, tuple(sorted(names - columns.KNOWN)))


def joined(lines: Sequence[ManifestLine]) -> Iterator[tuple[ManifestLine, ManifestLine | None]]:
  """Yields (source, target) of every record; the target is None if there is no translation.

  The two lines of a pair are two records, one in each direction, unless they have roles. They are
  yielded in place of the first of the two.
  """
  partners: dict[str, list[ManifestLine]] = {}
  for line in lines:
    if line.pair:
      partners.setdefault(line.pair, []).append(line)
  for line in lines:
    if not line.pair:
      yield line, line.translation
      continue
    first, second = partners[line.pair]
    if line is not first:
      continue
    if first.role:
      yield (first, second) if first.role == "source" else (second, first)
    else:
      yield first, second
      yield second, first


def _missing_columns(header: Row, reading: Reading) -> Iterator[Fault]:
  """Yields a fault for each required column that a header lacks."""
  fields = Fields(header)
  required = ["audio", "text"] + ([] if reading.language else ["language"])
  for column in required:
    if not fields.has(column) and not (column == "text" and _has_answer(fields)):
      yield Fault(header.location, columns.missing(column, header))


def _has_answer(fields: Fields) -> bool:
  """Returns whether a row has a column for a translation or an answer."""
  return fields.has("translation") or fields.has("answer")


def _line(fields: Fields, reading: Reading, folder: Path) -> ManifestLine | None:
  """Returns the line of a row, which is valid only if `fields` has no faults afterwards."""
  for column in ("audio", "text"):
    if not fields.has(column) and not (column == "text" and _has_answer(fields)):
      fields.add_fault(columns.missing(column, fields.row))
  if fields.faults:
    return None
  audio = fields.text("audio")
  if not audio and not fields.faults:
    fields.add_fault("audio is empty, expected the path of a recording.")
  offset_s, duration_s = fields.seconds("offset"), fields.seconds("duration")
  span_s = None
  if offset_s is not None:
    span_s = (offset_s, math.inf if duration_s is None else offset_s + duration_s)
  language = fields.language("language", reading.language)
  translation = _translation(fields, reading, folder, language)
  return ManifestLine(
    location=fields.row.location,
    id=fields.label("id") or (f"{audio}@{offset_s}" if offset_s else audio),
    audio=_path(audio, "audio", fields, reading, folder),
    text=_transcript(fields, language, translation),
    language=language,
    speaker=fields.label("speaker") or SOMEBODY,
    span_s=span_s,
    seconds=duration_s,
    words=_words(fields),
    pair=fields.label("pair"),
    role=_role(fields),
    translation=translation,
  )


def _path(audio: str, column: str, fields: Fields, reading: Reading, folder: Path) -> str:
  """Returns the path of a recording."""
  if reading.audio_dir is not None:
    folder = Path(reading.audio_dir)
  elif fields.name(column) == "path" and "/" not in audio and _is_folder(folder / CLIPS):
    folder = folder / CLIPS  # Common Voice names its files without their folder
  try:
    return str(folder.expanduser() / (Path(audio).expanduser() if audio[:1] == "~" else audio))
  except RuntimeError:
    path = columns.quoted(audio)
    fields.add_fault(f"there is no user for the ~ in {path}. Write the path without ~.")
    return audio


@functools.lru_cache(maxsize=16)
def _is_folder(path: Path) -> bool:
  return path.is_dir()


def _role(fields: Fields) -> str:
  role = fields.text("role")
  if role and role not in ROLES:
    fields.add_fault(f"role is {role!r}, expected {' or '.join(ROLES)}, or none.")
  elif role and not fields.label("pair"):
    fields.add_fault(
      f"role is {role!r}, but there is no pair. Give both lines with one meaning the same pair."
    )
  return role


def _transcript(fields: Fields, language: str, translation: ManifestLine | None) -> str:
  """Returns the text of the recording, "" if the row has that of its translation only."""
  if _is_translated_only(fields, language):
    return ""
  text, answer = fields.text("text"), fields.text("answer")
  if not answer or (translation is not None and not fields.has("translation")):
    return text
  if text and text != answer:
    fields.add_fault(
      f"has a text and an answer, both in {language!r}, that differ. Remove one, or name the "
      "language of the answer: target_lang."
    )
  return text or answer


def _translation(
  fields: Fields, reading: Reading, folder: Path, language: str
) -> ManifestLine | None:
  text, audio = fields.text("translation"), fields.text("translation_audio")
  if not fields.has("translation"):
    column = "text" if _is_translated_only(fields, language) else "answer"
    text = fields.text(column) if _is_foreign(fields, language) else ""
  if not audio and fields.value("translation_speaker") is not None:
    fields.add_fault("has a translation_speaker, but no translation_audio. Add it, or remove both.")
  if not text and not audio:
    named = fields.value("translation_language") is not None
    if named and not _has_answer(fields) and _is_foreign(fields, language):
      fields.add_fault("has a translation_language, but no translation. Add it, or remove both.")
    return None
  if fields.label("pair"):
    fields.add_fault("has a pair and a translation. Remove one: each gives the record its target.")
  code = fields.language("translation_language", reading.translation_language)
  if code and code == language:
    fields.add_fault(f"its translation is in {code!r}, the language of its text.")
  if not audio:
    return ManifestLine(fields.row.location, "", None, text, code)
  path = _path(audio, "translation_audio", fields, reading, folder)
  speaker = fields.label("translation_speaker") or SOMEBODY
  return ManifestLine(fields.row.location, "", path, text, code, speaker)


def _is_foreign(fields: Fields, language: str) -> bool:
  """Returns whether the row names a language of its translation other than that of its audio."""
  return language_tags.find(fields.text("translation_language")) not in (None, language)


def _is_translated_only(fields: Fields, language: str) -> bool:
  """Returns whether `text` is a translation, the expected output of a NeMo model."""
  named = fields.name("translation_language") == "target_lang"
  return named and not _has_answer(fields) and _is_foreign(fields, language)


def _words(fields: Fields) -> tuple[Word, ...]:
  """Returns the words with their times; () if the row has none."""
  value = fields.value("words")
  if value is None:
    return ()
  try:
    items = json.loads(value) if isinstance(value, str) else value
    words = tuple(_word(item) for item in items)
  except (TypeError, ValueError, KeyError, OverflowError, RecursionError):
    fields.add_fault(
      f"words is {columns.quoted(value)}, expected [[word, start, end], ...] with times in seconds."
    )
    return ()
  starts = [word.start_s for word in words]
  if starts != sorted(starts):
    fields.add_fault("words are not in the order of their starts.")
  return words


def _word(item: Any) -> Word:
  if isinstance(item, dict):
    item = (item["word"] if "word" in item else item["text"], item["start"], item["end"])
  text, start_s, end_s = item
  start_s, end_s = float(start_s), float(end_s)
  if not isinstance(text, str) or not 0 <= start_s <= end_s < math.inf:
    raise ValueError(item)
  return Word(orthography.plain(text), start_s, end_s)


def _duplicates(lines: Sequence[ManifestLine]) -> Iterator[Fault]:
  """Yields a fault for each line with the id of an earlier line."""
  first: dict[str, Location] = {}
  for line in lines:
    before, location = first.setdefault(line.id, line.location), line.location
    if before is not location:
      other = f"line {before.line}" if before.file == location.file else str(before)
      yield Fault(
        location,
        f"the id {line.id!r} is that of {other} too. Give each line an id of its own; the default "
        "is the path of the audio.",
      )


def _unpaired(lines: Sequence[ManifestLine]) -> Iterator[Fault]:
  """Yields a fault for every line of a pair that is not valid."""
  pairs: dict[str, list[ManifestLine]] = {}
  for line in lines:
    if line.pair:
      pairs.setdefault(line.pair, []).append(line)
  for name, members in pairs.items():
    if len(members) != 2:
      text = f"the pair {name!r} has {len(members)} usable lines, expected two."
    elif members[0].language == members[1].language:
      text = f"both lines of the pair {name!r} are in {members[0].language!r}."
    elif sorted(member.role for member in members) not in (["", ""], sorted(ROLES)):
      text = f"the pair {name!r} needs one source and one target, or no roles at all."
    else:
      continue
    yield from (Fault(member.location, text) for member in members)
