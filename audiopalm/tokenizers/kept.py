"""Fitted tokenizers in folders of their own, and the settings of a run that keeps their ids.

folder/fitted.json    settings, fingerprint, and what it was fitted on
folder/...            what `save` wrote
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from audiopalm import values
from audiopalm.errors import ConfigError, TokenSpaceError
from audiopalm.tokenizers.base import Fitted, Tokenizer
from audiopalm.types import StreamSpec, Utterance

RECORD = "fitted.json"
FORMAT = 1


@dataclasses.dataclass(frozen=True)
class KeptTokenizer:
  """The tokenizer that was fitted with `settings` and lies in `folder`: its ids are kept.

  `fingerprint` is that of the ids. A run gets a copy, and needs the folder only at its start.
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

  def check(self) -> None:
    """Raises TokenSpaceError unless the tokenizer in `folder` is the one that was named."""
    self.load(Path(self.folder).expanduser())

  def fit(self, utterances: Iterable[Utterance], seed: int) -> Fitted:
    """Returns the tokenizer in `folder`; it learns nothing from the utterances."""
    return self.load(Path(self.folder).expanduser())

  def load(self, folder: Path) -> Fitted:
    """Returns the tokenizer in a folder; TokenSpaceError if it gives other ids."""
    try:
      fitted = self.settings.load(folder)
      found = fitted.spec.fingerprint
    except (OSError, ValueError, KeyError, EOFError) as error:  # of damaged or missing arrays
      raise TokenSpaceError(
        f"The tokenizer in {folder} cannot be read ({error}). Restore its files, or fit it again."
      ) from error
    if found != self.fingerprint:
      raise TokenSpaceError(
        f"The tokenizer in {folder} is not the one that was fitted there: expected the "
        f"fingerprint {self.fingerprint[:12]}, found {found[:12]}. Restore its files, or fit it "
        "again and train in a new workdir."
      )
    return fitted


def plain(settings: Tokenizer) -> Tokenizer:
  """Returns the settings that a tokenizer was fitted with, wherever it lies."""
  return settings.settings if isinstance(settings, KeptTokenizer) else settings


def write(
  fitted: Fitted,
  settings: Tokenizer,
  folder: Path,
  about: Mapping[str, object],
  trust: Sequence[str] = (),
) -> None:
  """Writes a fitted tokenizer with its record; `about` says what it was fitted on."""
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
  """Returns the settings that keep the ids of the tokenizer in a folder that `write` wrote;
  ConfigError where there is none. Reads the record alone."""
  path = Path(folder).expanduser() / RECORD
  try:
    record = json.loads(path.read_text(encoding="utf-8"))
    settings, fingerprint = json.dumps(record["settings"]), str(record["fingerprint"])
    known = record["format"] == FORMAT
  except (OSError, ValueError, KeyError, TypeError) as error:
    missing = not path.is_file()
    what = "which holds no fitted.json" if missing else f"whose fitted.json is damaged ({error})"
    raise ConfigError(
      f"Expected a folder that `audiopalm tokenizer fit` wrote, or the workdir of a run, got "
      f"{folder}, {what}. Fit one: audiopalm tokenizer fit MANIFEST --out {folder}"
    ) from error
  if not known:
    raise ConfigError(
      f"{path} has the format {record['format']!r}, this version of audiopalm reads {FORMAT}. Open "
      "it with the version that wrote it, or fit it again."
    )
  return KeptTokenizer(values.from_json(settings, trust), str(folder), fingerprint)
