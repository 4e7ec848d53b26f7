"""Lines of a manifest: a recording each, what is said in it, and which lines belong together."""

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
from audiopalm.data.manifest.faults import Fault, Place
from audiopalm.data.manifest.table import Row, Table
from audiopalm.errors import ConfigError
from audiopalm.types import Word

ROLES = ("source", "target")
SOMEBODY = "somebody"  # the speaker of lines that name none
CLIPS = "clips"  # where Common Voice keeps the files that its column `path` names

Files = str | tuple[str, ...]  # what lists a split: a file or folder, or several


@dataclasses.dataclass(frozen=True)
class Reading:
  """What a manifest does not say itself; each None where it does.

  `language` and `translation_language` are codes for lines without one; `audio_dir` is the folder
  that paths of audio are relative to, the manifest's own if None. A subclass says how files that
  are no manifests become tables of the columns of one (`published`).
  """

  language: str | None = None
  translation_language: str | None = None
  audio_dir: str | None = None

  def __post_init__(self):
    for field in ("language", "translation_language"):
      code = getattr(self, field)
      if code is None:
        continue
      if (found := language_tags.find(code)) is None:
        expected = language_tags.expected(code)
        raise ConfigError(f"{field}={code!r} is no known language. {expected}")
      object.__setattr__(self, field, found)

  def tables(self, paths: Sequence[str]) -> list[Table]:
    """Returns what the files of a split hold. Opens no audio."""
    return [table.read(path) for path in paths]


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
  """One recording, or a part of one, and what is said in it.

  `audio` is None for a translation in words alone; `text` is empty where the manifest has the words
  of the translation alone. `span_s` is (start, end) in the file, None for all of it; `seconds` how
  long it lasts, where the manifest says so.
  """

  place: Place
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
  translation: "Line | None" = None


@dataclasses.dataclass(frozen=True)
class Lines:
  """The lines of a manifest that have no fault, the faults, and sha256 of all they depend on.

  `unused` are the names of columns that mean nothing here.
  """

  lines: tuple[Line, ...]
  faults: tuple[Fault, ...]
  digest: str
  unused: tuple[str, ...] = ()


def paths(files: Files) -> tuple[str, ...]:
  """Returns what lists a split, one by one."""
  return (files,) if isinstance(files, str) else files


def read(files: Files, reading: Reading) -> Lines:
  """Returns the lines of manifests, of LibriSpeech-style folders or of what else `reading` reads.

  Opens no audio.
  """
  found = reading.tables(paths(files))
  faults, lines = [], []
  for one in found:
    faults += one.faults
    lacking = list(_lacking(one.header, reading)) if one.header else []
    faults += lacking
    for row in one.rows if not lacking else ():
      fields = Fields(row)
      line = _line(fields, reading, one.folder)
      if fields.faults:
        faults += fields.faults
      else:
        lines.append(line)
  apart = [*_doubles(lines), *_unpaired(lines)]
  wrong = {fault.place for fault in apart}
  kept = tuple(line for line in lines if line.place not in wrong)
  faults = sorted([*faults, *apart], key=lambda fault: (fault.place.file, fault.place.line))
  digests = (one.digest for one in found)
  said = json.dumps([*digests, reading.language, reading.translation_language])
  unused = {str(name) for one in found for row in one.rows for name in row.values} - columns.KNOWN
  digest = hashlib.sha256(said.encode()).hexdigest()
  return Lines(kept, tuple(faults), digest, tuple(sorted(unused)))


def joined(lines: Sequence[Line]) -> Iterator[tuple[Line, Line | None]]:
  """Yields (source, target) of every record, None where there is nothing to translate to.

  Two lines of a pair are two records, one in each direction, unless they say their roles; they
  stand where the first of the two stood.
  """
  partners: dict[str, list[Line]] = {}
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


def _lacking(header: Row, reading: Reading) -> Iterator[Fault]:
  """Yields what a table's first line must name and does not."""
  fields = Fields(header)
  wanted = ["audio", "text"] + ([] if reading.language else ["language"])
  for column in wanted:
    if not fields.has(column) and not (column == "text" and _has_answer(fields)):
      yield Fault(header.place, columns.missing(column, header))


def _has_answer(fields: Fields) -> bool:
  """Returns whether a row has a column for what is answered to its recording."""
  return fields.has("translation") or fields.has("answer")


def _line(fields: Fields, reading: Reading, folder: Path) -> Line | None:
  """Returns the line of a row; where it has faults, what is returned is not to be used."""
  for column in ("audio", "text"):
    if not fields.has(column) and not (column == "text" and _has_answer(fields)):
      fields.wrong(columns.missing(column, fields.row))
  if fields.faults:
    return None
  audio = fields.text("audio")
  if not audio and not fields.faults:
    fields.wrong("audio is empty, expected the path of a recording.")
  offset_s, duration_s = fields.seconds("offset"), fields.seconds("duration")
  span_s = None
  if offset_s is not None:
    span_s = (offset_s, math.inf if duration_s is None else offset_s + duration_s)
  language = fields.language("language", reading.language)
  translation = _translation(fields, reading, folder, language)
  return Line(
    place=fields.row.place,
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
  """Returns where a recording lies."""
  if reading.audio_dir is not None:
    folder = Path(reading.audio_dir)
  elif fields.name(column) == "path" and "/" not in audio and _is_folder(folder / CLIPS):
    folder = folder / CLIPS  # Common Voice names its files without the folder they lie in
  try:
    return str(folder.expanduser() / (Path(audio).expanduser() if audio[:1] == "~" else audio))
  except RuntimeError:
    fields.wrong(f"no user has the folder of {columns.shown(audio)}. Write the path without ~.")
    return audio


@functools.lru_cache(maxsize=16)
def _is_folder(path: Path) -> bool:
  return path.is_dir()


def _role(fields: Fields) -> str:
  role = fields.text("role")
  if role and role not in ROLES:
    fields.wrong(f"role is {role!r}, expected {' or '.join(ROLES)}, or none.")
  elif role and not fields.label("pair"):
    fields.wrong(f"role is {role!r}, but there is no pair. Give two lines of one meaning a pair.")
  return role


def _transcript(fields: Fields, language: str, translation: Line | None) -> str:
  """Returns the words of the recording, "" where the row has those of its translation alone."""
  if _is_translated_only(fields, language):
    return ""
  text, answer = fields.text("text"), fields.text("answer")
  if not answer or (translation is not None and not fields.has("translation")):
    return text
  if text and text != answer:
    fields.wrong(
      f"has a text and an answer, both in {language!r}, that differ. Leave one, or name the "
      "language of the answer: target_lang."
    )
  return text or answer


def _translation(fields: Fields, reading: Reading, folder: Path, language: str) -> Line | None:
  text, audio = fields.text("translation"), fields.text("translation_audio")
  if not fields.has("translation"):
    column = "text" if _is_translated_only(fields, language) else "answer"
    text = fields.text(column) if _is_abroad(fields, language) else ""
  if not audio and fields.value("translation_speaker") is not None:
    fields.wrong("has a translation_speaker, but no translation_audio. Name it, or leave both.")
  if not text and not audio:
    named = fields.value("translation_language") is not None
    if named and not _has_answer(fields) and _is_abroad(fields, language):
      fields.wrong("has a translation_language, but no translation. Write it, or leave both.")
    return None
  if fields.label("pair"):
    fields.wrong("has a pair and a translation. Leave one: each gives the record its target.")
  code = fields.language("translation_language", reading.translation_language)
  if code and code == language:
    fields.wrong(f"its translation is in {code!r}, the language of its text.")
  if not audio:
    return Line(fields.row.place, "", None, text, code)
  path = _path(audio, "translation_audio", fields, reading, folder)
  speaker = fields.label("translation_speaker") or SOMEBODY
  return Line(fields.row.place, "", path, text, code, speaker)


def _is_abroad(fields: Fields, language: str) -> bool:
  """Returns whether the row names a language of its translation that is not that of its audio."""
  return language_tags.find(fields.text("translation_language")) not in (None, language)


def _is_translated_only(fields: Fields, language: str) -> bool:
  """Returns whether `text` is what a model of NeMo shall answer, in another language."""
  named = fields.name("translation_language") == "target_lang"
  return named and not _has_answer(fields) and _is_abroad(fields, language)


def _words(fields: Fields) -> tuple[Word, ...]:
  """Returns when each word is spoken; () where the row does not say."""
  value = fields.value("words")
  if value is None:
    return ()
  try:
    items = json.loads(value) if isinstance(value, str) else value
    words = tuple(_word(item) for item in items)
  except (TypeError, ValueError, KeyError, OverflowError, RecursionError):
    fields.wrong(
      f"words is {columns.shown(value)}, expected [[word, start, end], ...] with times in seconds."
    )
    return ()
  starts = [word.start_s for word in words]
  if starts != sorted(starts):
    fields.wrong("words are not in the order of their starts.")
  return words


def _word(item: Any) -> Word:
  if isinstance(item, dict):
    item = (item["word"] if "word" in item else item["text"], item["start"], item["end"])
  text, start_s, end_s = item
  start_s, end_s = float(start_s), float(end_s)
  if not isinstance(text, str) or not 0 <= start_s <= end_s < math.inf:
    raise ValueError(item)
  return Word(orthography.plain(text), start_s, end_s)


def _doubles(lines: Sequence[Line]) -> Iterator[Fault]:
  """Yields the lines whose id an earlier line has."""
  first: dict[str, Place] = {}
  for line in lines:
    before = first.setdefault(line.id, line.place)
    if before is not line.place:
      yield Fault(
        line.place,
        f"the id {line.id!r} is that of {_named(before, line.place)} too. Give each line an id of "
        "its own; where none is given it is the path of the audio.",
      )


def _unpaired(lines: Sequence[Line]) -> Iterator[Fault]:
  """Yields what is wrong with lines that say they are a pair, at each of them."""
  pairs: dict[str, list[Line]] = {}
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
    yield from (Fault(member.place, text) for member in members)


def _named(place: Place, seen_from: Place) -> str:
  return f"line {place.line}" if place.file == seen_from.file else str(place)
