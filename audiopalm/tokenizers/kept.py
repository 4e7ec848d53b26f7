"""Fitted tokenizers in folders of their own, and settings with which a run uses them.

folder/fitted.json    settings, fingerprint, and the training data
folder/...            the files of `save`
"""

import dataclasses
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from audiopalm import values
from audiopalm.errors import ConfigError, TokenSpaceError
from audiopalm.tokenizers.base import Fitted, Tokenizer
from audiopalm.types import StreamSpec, Utterance

RECORD = "fitted.json"
FORMAT = 1
# What readers of arrays and of SentencePiece models raise for files that are missing or damaged.
DAMAGED = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile)


@dataclasses.dataclass(frozen=True)
class KeptTokenizer:
  """The tokenizer in `folder`, which was fitted with `settings`; a run gets the same ids.

  `fingerprint` identifies the ids. A run copies the tokenizer and needs the folder only at its
  start.
  """

  settings: Tokenizer
  folder: str
  fingerprint: str

  @property
  def stream(self) -> str:
    return self.settings.stream

  @property
  def largest(self) -> StreamSpec:
    return self.settings.largest

  @property
  def answers(self) -> bool:
    return getattr(self.settings, "answers", True)

  def check(self) -> None:
    """Raises TokenSpaceError unless the tokenizer in `folder` has the fingerprint."""
    self.load(Path(self.folder).expanduser())

  def fit(self, utterances: Iterable[Utterance], seed: int) -> Fitted:
    """Returns the tokenizer in `folder`; it learns nothing from the utterances."""
    return self.load(Path(self.folder).expanduser())

  def load(self, folder: Path) -> Fitted:
    """Returns the tokenizer in a folder; TokenSpaceError if it is damaged or has other ids."""
    try:
      fitted = self.settings.load(folder)
      actual = fitted.spec.fingerprint
    except DAMAGED as error:
      raise TokenSpaceError(
        f"The tokenizer in {folder} cannot be read ({error}). Restore its files, or fit it again."
      ) from error
    if actual != self.fingerprint:
      raise TokenSpaceError(
        f"The tokenizer in {folder} is not the one that was fitted there: expected the "
        f"fingerprint {self.fingerprint[:12]}, found {actual[:12]}. Restore its files, or fit it "
        "again and train in a new workdir."
      )
    return fitted


def plain(settings: Tokenizer) -> Tokenizer:
  """Returns the settings with which a tokenizer was or will be fitted, without its folder."""
  return settings.settings if isinstance(settings, KeptTokenizer) else settings


def write(
  fitted: Fitted,
  settings: Tokenizer,
  folder: Path,
  about: Mapping[str, object],
  trust: Sequence[str] = (),
) -> None:
  """Writes a fitted tokenizer and its record; `about` describes the training data."""
  fitted.save(folder)
  record = {
    "format": FORMAT,
    "settings": json.loads(values.to_json(settings, trust)),
    "fingerprint": fitted.spec.fingerprint,
    "fitted_on": about,
  }
  text = json.dumps(record, indent=1, sort_keys=True)
  (folder / RECORD).write_text(text + "\n", encoding="utf-8")


def read(folder: str | Path, trust: Sequence[str] = ()) -> KeptTokenizer:
  """Returns the settings for using the tokenizer in a folder that `write` wrote; ConfigError if it
  has no valid record. Reads only the record."""
  path = Path(folder).expanduser() / RECORD
  try:
    record = json.loads(path.read_text(encoding="utf-8"))
    settings, fingerprint = json.dumps(record["settings"]), str(record["fingerprint"])
    is_known = record["format"] == FORMAT
  except (OSError, ValueError, KeyError, TypeError) as error:
    missing = not path.is_file()
    what = "which has no fitted.json" if missing else f"whose fitted.json is damaged ({error})"
    raise ConfigError(
      f"Expected a folder that `audiopalm tokenizer fit` wrote, or the workdir of a run, got "
      f"{folder}, {what}. Fit one: audiopalm tokenizer fit MANIFEST --out {folder}"
    ) from error
  if not is_known:
    raise ConfigError(
      f"{path} has the format {record['format']!r}, this version of audiopalm reads {FORMAT}. Open "
      "it with the version that wrote it, or fit it again."
    )
  return KeptTokenizer(values.from_json(settings, trust), str(folder), fingerprint)
