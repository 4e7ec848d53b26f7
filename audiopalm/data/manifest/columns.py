"""What the columns of a manifest mean, whoever named them.

    column                 also called                       by
    audio                  audio_filepath, path              NeMo; Common Voice, CoVoST 2
    text                   sentence                          Common Voice, CoVoST 2
    language               locale, lang, source_lang         Common Voice; NeMo
    speaker                client_id                         Common Voice, CoVoST 2
    id                     (its audio and offset, if absent)
    pair, role             (two lines of one meaning)
    translation                                              CoVoST 2
    answer                                                   NeMo
    translation_language   target_lang                       NeMo
    translation_audio, translation_speaker                   (where it is spoken too)
    offset, duration       (seconds; the part of the file)   NeMo
    words                  [[word, start, end], ...]

NeMo writes what a model shall answer: where target_lang is another language than source_lang,
`answer` is the translation, and so is `text` where there is no answer; the words of the recording
are not known then. Other columns are left alone; `audiopalm inspect data` names them.
"""

import math
import re
from typing import Any

from audiopalm import language_tags, orthography
from audiopalm.data.manifest.faults import Fault
from audiopalm.data.manifest.table import Row

COLUMNS = {
  "audio": ("audio", "audio_filepath", "path"),
  "text": ("text", "sentence"),
  "language": ("language", "locale", "lang", "source_lang"),
  "speaker": ("speaker", "client_id"),
  "id": ("id",),
  "pair": ("pair",),
  "role": ("role",),
  "translation": ("translation",),
  "answer": ("answer",),
  "translation_language": ("translation_language", "target_lang"),
  "translation_audio": ("translation_audio",),
  "translation_speaker": ("translation_speaker",),
  "offset": ("offset",),
  "duration": ("duration",),
  "words": ("words",),
}

KNOWN = frozenset(name for names in COLUMNS.values() for name in names)
PATHS = ("audio", "translation_audio")  # as files are called: no other spelling finds them

# JSON can write it, and nothing can encode it.
SURROGATE = re.compile("[\ud800-\udfff]")


class Fields:
  """The values of a row by the names this project uses; what cannot be used becomes a fault."""

  def __init__(self, row: Row):
    self.row = row
    self.faults: list[Fault] = []

  def wrong(self, text: str) -> None:
    fault = Fault(self.row.place, text)
    if fault not in self.faults:
      self.faults.append(fault)

  def name(self, column: str) -> str | None:
    """Returns what the row calls a column, None where it has no value in it."""
    values = self.row.values
    names = [name for name in COLUMNS[column] if values.get(name) not in (None, "")]
    if len(names) > 1 and len({str(values[name]) for name in names}) > 1:
      self.wrong(f"the columns {' and '.join(names)} both give the {column}. Leave one.")
    return names[0] if names else None

  def value(self, column: str) -> Any:
    name = self.name(column)
    return None if name is None else self.row.values[name]

  def has(self, column: str) -> bool:
    """Returns whether the row has this column, with a value or without."""
    return not set(COLUMNS[column]).isdisjoint(self.row.values)

  def text(self, column: str) -> str:
    """Returns a path as it stands, any other text in its one form: `orthography.plain`."""
    value = self.value(column)
    if value is None:
      return ""
    if not isinstance(value, str):
      self.wrong(f"{column} is {shown(value)}, expected text.")
      return ""
    if SURROGATE.search(value):
      self.wrong(f"{column} is {shown(value)}: half a character. Write it as UTF-8.")
      return ""
    return value.strip() if column in PATHS else orthography.plain(value)

  def label(self, column: str) -> str:
    """Returns text that may be written as a whole number: an id, a speaker."""
    value = self.value(column)
    return str(value) if type(value) is int else self.text(column)

  def seconds(self, column: str) -> float | None:
    value = self.value(column)
    if value is None:
      return None
    try:
      seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
      seconds = math.nan
    if not math.isfinite(seconds) or seconds < 0:
      self.wrong(f"{column} is {shown(value)}, expected seconds: a number, 0 or more.")
      return None
    return seconds

  def language(self, column: str, otherwise: str | None) -> str:
    """Returns the code of any tag (`language_tags`); "pt-BR" is "pt"."""
    given = self.text(column)
    code = language_tags.find(given) if given else otherwise or ""
    if not code and self.value(column) is None:
      names = ", ".join(COLUMNS[column])
      self.wrong(
        f"no {column}: expected a column of the name {names}; or give {column}=... for all lines."
      )
    elif code is None:
      self.wrong(f"unknown {column} {given!r}. {language_tags.expected(given)}")
    return code or ""


def missing(column: str, row: Row) -> str:
  """Returns what is wrong with a row, or a first line, that has no such column."""
  names = ", ".join(map(str, row.values)) or "none"
  hint = "; or give language=... for all lines" if column == "language" else ""
  return (
    f"no column for {column}: expected the name {' or '.join(COLUMNS[column])}, the columns are "
    f"{names}. Rename one{hint}."
  )


def shown(value: Any) -> str:
  """Returns a value as a fault quotes it."""
  text = repr(value)
  return text if len(text) <= 60 else f"{text[:57]}..."
