"""The columns of a manifest, with the names that other projects give them.

    column                 also called                       by
    audio                  audio_filepath, path              NeMo; Common Voice, CoVoST 2
    text                   sentence                          Common Voice, CoVoST 2
    language               locale, lang, source_lang         Common Voice; NeMo
    speaker                client_id                         Common Voice, CoVoST 2
    id                     (its audio and offset, if absent)
    pair, role             (two lines with the same meaning)
    translation                                              CoVoST 2
    answer                                                   NeMo
    translation_language   target_lang                       NeMo
    translation_audio, translation_speaker                   (if it is spoken too)
    offset, duration       (seconds; a part of the file)     NeMo
    words, phones          [[word, start, end], ...]; phones are symbols of the IPA

NeMo's `answer` is the expected output of a model: the translation, if target_lang differs from
source_lang. Without an answer `text` is the translation, and the words of the recording are not
known. Other columns are ignored; `audiopalm inspect data` names them.
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
  "phones": ("phones",),
}

KNOWN = frozenset(name for names in COLUMNS.values() for name in names)
PATHS = ("audio", "translation_audio")  # not normalized, as file names are not

# An unpaired surrogate is valid in JSON, but cannot be encoded.
SURROGATE = re.compile("[\ud800-\udfff]")


class Fields:
  """The values of a row by column; values that cannot be used are collected as `faults`."""

  def __init__(self, row: Row):
    self.row = row
    self.faults: list[Fault] = []

  def add_fault(self, text: str) -> None:
    fault = Fault(self.row.location, text)
    if fault not in self.faults:
      self.faults.append(fault)

  def name(self, column: str) -> str | None:
    """Returns the row's own name of a column, None if it has no value."""
    values = self.row.values
    names = [name for name in COLUMNS[column] if values.get(name) not in (None, "")]
    if len(names) > 1 and len({str(values[name]) for name in names}) > 1:
      self.add_fault(f"the columns {' and '.join(names)} give different {column}s. Remove one.")
    return names[0] if names else None

  def value(self, column: str) -> Any:
    name = self.name(column)
    return None if name is None else self.row.values[name]

  def has(self, column: str) -> bool:
    """Returns whether the row has this column, even if it is empty."""
    return not set(COLUMNS[column]).isdisjoint(self.row.values)

  def text(self, column: str) -> str:
    """Returns a path unchanged, any other text in canonical form (`orthography.plain`)."""
    value = self.value(column)
    if value is None:
      return ""
    if not isinstance(value, str):
      self.add_fault(f"{column} is {quoted(value)}, expected text.")
      return ""
    if SURROGATE.search(value):
      self.add_fault(f"{column} is {quoted(value)}: half a character. Write it as UTF-8.")
      return ""
    return value.strip() if column in PATHS else orthography.plain(value)

  def label(self, column: str) -> str:
    """Returns text that may also be written as an integer: an id, a speaker."""
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
      self.add_fault(f"{column} is {quoted(value)}, expected seconds: a number, 0 or more.")
      return None
    return seconds

  def language(self, column: str, default: str | None) -> str:
    """Returns the code of the language tag in a column (`language_tags`); "pt-BR" is "pt"."""
    tag = self.text(column)
    code = language_tags.find(tag) if tag else default or ""
    if not code and self.value(column) is None:
      names = ", ".join(COLUMNS[column])
      self.add_fault(
        f"no {column}: expected a column named {names}; or set {column}=... for all lines."
      )
    elif code is None:
      self.add_fault(f"unknown {column} {tag!r}. {language_tags.expected(tag)}")
    return code or ""


def missing(column: str, row: Row) -> str:
  """Returns the error text for a column that a row or header lacks."""
  names = ", ".join(map(str, row.values)) or "none"
  hint = "; or set language=... for all lines" if column == "language" else ""
  return (
    f"no column for {column}: expected the name {' or '.join(COLUMNS[column])}, the columns are "
    f"{names}. Rename one{hint}."
  )


def quoted(value: object) -> str:
  """Returns a value as faults quote it, shortened if it is long."""
  text = repr(value)
  return text if len(text) <= 60 else f"{text[:57]}..."
