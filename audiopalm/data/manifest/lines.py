"""The lines of a manifest: recordings with their texts, and the lines that form a record."""

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from audiopalm import language_tags, orthography
from audiopalm.data.manifest import columns, table
from audiopalm.data.manifest.columns import Fields
from audiopalm.data.manifest.faults import Fault, Location
from audiopalm.data.manifest.table import Row, Table
from audiopalm.errors import ConfigError
from audiopalm.types import Phone, Word

ROLES = ("source", "target")
SOMEBODY = "somebody"  # the speaker of lines without one
CLIPS = "clips"  # Common Voice's folder for the files in its column `path`

Timed = TypeVar("Timed", Word, Phone)

Files = str | tuple[str, ...]  # a manifest or folder, or several, that list a split


@dataclasses.dataclass(frozen=True)
class Reading:
  """Options for reading a manifest.

  `language` and `translation_language` are the codes of lines without one. Audio paths are relative
  to `audio_dir`, by default the manifest's folder. Subclasses in `published` read the tables of
  published corpora as manifests, and `turns.Turns` dialogues. `roles` name the two utterances of a
  record.
  """

  roles: ClassVar[tuple[str, str]] = ROLES

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
    return [self.table_of(path) for path in paths]

  def table_of(self, path: str) -> Table:
    return table.read(path)


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
  phones: tuple[Phone, ...] = ()
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
    if source.header:
      header = _LineFields(source.header, reading, source.folder)
      header.check_columns("audio", "text", *(() if reading.language else ("language",)))
      faults += header.faults
      if header.faults:
        continue
    for row in source.rows:
      fields = _LineFields(row, reading, source.folder)
      line = fields.line()
      faults += fields.faults
      if not fields.faults:
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
    elif line is partners[line.pair][0]:
      first, second = partners[line.pair]
      if first.role != "target":
        yield first, second
      if first.role != "source":
        yield second, first


class _LineFields(Fields):
  """The fields of a row, of which `line` makes a line.

  NeMo's rows have a text and an answer (see `columns`), of which either may be the translation.
  """

  def __init__(self, row: Row, reading: Reading, folder: Path):
    super().__init__(row)
    self._reading, self._folder = reading, folder

  def check_columns(self, *required: str) -> None:
    """Adds a fault for each required column that the row, or the header, lacks."""
    for column in required:
      if not self.has(column) and not (column == "text" and self._has_answer):
        self.add_fault(columns.missing(column, self.row))

  def line(self) -> ManifestLine | None:
    """Returns the line of the row, which is valid only if there are no faults afterwards."""
    self.check_columns("audio", "text")
    if self.faults:
      return None
    audio = self.text("audio")
    if not audio and not self.faults:
      self.add_fault("audio is empty, expected the path of a recording.")
    offset_s, duration_s = self.seconds("offset"), self.seconds("duration")
    span_s = None
    if offset_s is not None:
      span_s = (offset_s, math.inf if duration_s is None else offset_s + duration_s)
    language = self._language  # first: its faults are reported before those of the translation
    translation = self._translation()
    return ManifestLine(
      location=self.row.location,
      id=self.label("id") or (f"{audio}@{offset_s}" if offset_s else audio),
      audio=self._path(audio, "audio"),
      text=self._transcript(translation),
      language=language,
      speaker=self.label("speaker") or SOMEBODY,
      span_s=span_s,
      seconds=duration_s,
      words=self._timed("words", Word),
      phones=self._timed("phones", Phone),
      pair=self.label("pair"),
      role=self._role(),
      translation=translation,
    )

  @functools.cached_property
  def _language(self) -> str:
    return self.language("language", self._reading.language)

  @property
  def _has_answer(self) -> bool:
    """Whether the row has a column for a translation or an answer."""
    return self.has("translation") or self.has("answer")

  @functools.cached_property
  def _is_foreign(self) -> bool:
    """Whether the row names a language of its translation other than that of its audio."""
    return language_tags.find(self.text("translation_language")) not in (None, self._language)

  @functools.cached_property
  def _is_translated_only(self) -> bool:
    """Whether `text` is a translation, the expected output of a NeMo model."""
    named = self.name("translation_language") == "target_lang"
    return named and not self._has_answer and self._is_foreign

  def _path(self, audio: str, column: str) -> str:
    """Returns the path of a recording."""
    folder = self._folder
    if self._reading.audio_dir is not None:
      folder = Path(self._reading.audio_dir)
    elif self.name(column) == "path" and "/" not in audio and _is_folder(folder / CLIPS):
      folder = folder / CLIPS  # Common Voice names its files without their folder
    try:
      return str(folder.expanduser() / (Path(audio).expanduser() if audio[:1] == "~" else audio))
    except RuntimeError:
      path = columns.quoted(audio)
      self.add_fault(f"there is no user for the ~ in {path}. Write the path without ~.")
      return audio

  def _role(self) -> str:
    role = self.text("role")
    if role and role not in ROLES:
      self.add_fault(f"role is {role!r}, expected {' or '.join(ROLES)}, or none.")
    elif role and not self.label("pair"):
      self.add_fault(
        f"role is {role!r}, but there is no pair. Give both lines with one meaning the same pair."
      )
    return role

  def _transcript(self, translation: ManifestLine | None) -> str:
    """Returns the text of the recording, "" if the row has that of its translation only."""
    if self._is_translated_only:
      return ""
    text, answer = self.text("text"), self.text("answer")
    if not answer or (translation is not None and not self.has("translation")):
      return text
    if text and text != answer:
      self.add_fault(
        f"has a text and an answer, both in {self._language!r}, that differ. Remove one, or name "
        "the language of the answer: target_lang."
      )
    return text or answer

  def _translation(self) -> ManifestLine | None:
    text, audio = self.text("translation"), self.text("translation_audio")
    if not self.has("translation"):
      column = "text" if self._is_translated_only else "answer"
      text = self.text(column) if self._is_foreign else ""
    if not audio and self.value("translation_speaker") is not None:
      self.add_fault("has a translation_speaker, but no translation_audio. Add it, or remove both.")
    if not text and not audio:
      named = self.value("translation_language") is not None
      if named and not self._has_answer and self._is_foreign:
        self.add_fault("has a translation_language, but no translation. Add it, or remove both.")
      return None
    if self.label("pair"):
      self.add_fault("has a pair and a translation. Remove one: each gives the record its target.")
    answers = self._reading.roles != ROLES  # in the language of what they answer
    default = self._language if answers else self._reading.translation_language
    code = self.language("translation_language", default)
    if code and code == self._language and not answers:
      self.add_fault(f"its translation is in {code!r}, the language of its text.")
    path = self._path(audio, "translation_audio") if audio else None
    speaker = (self.label("translation_speaker") or SOMEBODY) if audio else ""
    return ManifestLine(self.row.location, "", path, text, code, speaker)

  def _timed(self, column: str, kind: type[Timed]) -> tuple[Timed, ...]:
    """Returns the words or phones with their times; () if the row has none."""
    value, name = self.value(column), column.removesuffix("s")
    if value is None:
      return ()
    try:
      items = json.loads(value) if isinstance(value, str) else value
      timed = tuple(kind(*_timed(item, name)) for item in items)
    except (TypeError, ValueError, KeyError, OverflowError, RecursionError):
      self.add_fault(
        f"{column} is {columns.quoted(value)}, expected [[{name}, start, end], ...] with times in "
        "seconds."
      )
      return ()
    starts = [item.start_s for item in timed]
    if starts != sorted(starts):
      self.add_fault(f"{column} are not in the order of their starts.")
    return timed


@functools.lru_cache(maxsize=16)
def _is_folder(path: Path) -> bool:
  return path.is_dir()


def _timed(item: Any, name: str) -> tuple[str, float, float]:
  """Returns (text, start, end) of an item of the column of words or phones."""
  if isinstance(item, dict):
    item = (item[name] if name in item else item["text"], item["start"], item["end"])
  text, start_s, end_s = item
  start_s, end_s = float(start_s), float(end_s)
  if not isinstance(text, str) or not 0 <= start_s <= end_s < math.inf:
    raise ValueError(item)
  return orthography.plain(text), start_s, end_s


def _duplicates(lines: Sequence[ManifestLine]) -> Iterator[Fault]:
  """Yields a fault for each line with the id of an earlier line."""
  first: dict[str, Location] = {}
  for line in lines:
    earlier, location = first.setdefault(line.id, line.location), line.location
    if earlier is not location:
      other = f"line {earlier.line}" if earlier.file == location.file else str(earlier)
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
