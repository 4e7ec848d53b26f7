"""The one protocol every token system keeps: settings that fit or load, and what was fitted.

*Settings* are a frozen dataclass that a config names (`KMeansUnits(size=256)`); they hold no arrays
and cost nothing. `fit` learns parameters from training utterances, `load` reads what `save` wrote.
*Fitted* tokenizers turn an utterance into ids that start at 0 (the space, not the tokenizer, places
them on the grid) and ids back into text or sound.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from audiopalm.errors import ManifestError
from audiopalm.types import StreamSpec, Utterance


class Fitted(Protocol):
  """A tokenizer that is ready: stateless, picklable, safe to share between threads."""

  spec: StreamSpec
  """Name, modality, sizes, rate and fingerprint: equal after save and load, and after another fit
  from the same settings, utterances and seed."""

  voices: tuple[str, ...]
  """Speakers `decode` can sound like, in alphabetical order; () where it gives text."""

  def encode(self, utterance: Utterance) -> np.ndarray:
    """Returns int32 ids: [T], or [T, Q] where the spec has Q > 1 codebooks.

    Speech is resampled to the working rate where it has another. Raises DataError on an utterance
    without what is encoded (a wave, a text).
    """
    ...

  def decode(self, ids: Sequence[int] | np.ndarray, *, voice: str | None = None) -> Any:
    """Returns a str (text) or a float32 wave_S at 16 kHz (speech) for any ids, also for none.

    `voice` is one of `voices`, None for the default; another is a ConfigError listing them. Text
    ignores it. Ids that are not the spec's are a DataError.
    """
    ...

  def save(self, folder: Path) -> None:
    """Writes everything `load` needs into `folder`, which is made if absent."""
    ...


class Tokenizer(Protocol):
  """Settings of a tokenizer: a frozen dataclass with JSON-able fields."""

  stream: str
  """Name of the stream it gives: the second half of "source.units"."""

  def fit(self, utterances: Iterable[Utterance], seed: int) -> Fitted:
    """Returns the tokenizer fitted on training utterances; the same for the same order and seed.

    Reads only as many utterances as it needs: give them shuffled over languages and speakers.
    Utterances without what is encoded (no wave, no text) are passed over; DataError if none is
    left.
    """
    ...

  def load(self, folder: Path) -> Fitted:
    """Returns the tokenizer `save` wrote; ManifestError if it was fitted with other settings."""
    ...


def fingerprint(settings: Any, parameters: Mapping[str, np.ndarray | bytes]) -> str:
  """Returns the sha256 hex of a settings dataclass and the parameters fitted for it, by name."""
  digest = hashlib.sha256()
  digest.update(type(settings).__name__.encode())
  digest.update(json.dumps(dataclasses.asdict(settings), sort_keys=True).encode())
  for name in sorted(parameters):
    value = parameters[name]
    digest.update(name.encode())
    if isinstance(value, np.ndarray):
      digest.update(f"{value.dtype.str}{value.shape}".encode())
      value = np.ascontiguousarray(value).tobytes()
    digest.update(value)
  return digest.hexdigest()


def write_settings(settings: Any, folder: Path) -> None:
  """Writes `settings` beside the parameters, for `check_settings` to compare at load."""
  folder.mkdir(parents=True, exist_ok=True)
  text = json.dumps(_described(settings), indent=2, sort_keys=True)
  (folder / "settings.json").write_text(text + "\n")


def check_settings(settings: Any, folder: Path) -> None:
  """Raises ManifestError unless `folder` holds a tokenizer fitted with exactly `settings`."""
  path = Path(folder) / "settings.json"
  if not path.is_file():
    raise ManifestError(
      f"Expected the fitted tokenizer {settings.stream!r} in {folder}, found none. "
      "Run `audiopalm prepare` for this workdir first."
    )
  found, expected = json.loads(path.read_text()), _described(settings)
  if found == expected:
    return
  names = sorted(k for k in found.keys() | expected.keys() if found.get(k) != expected.get(k))
  lines = [f"  {k}: config {expected.get(k)!r}, workdir {found.get(k)!r}" for k in names]
  raise ManifestError(
    f"The tokenizer {settings.stream!r} in {folder} was fitted with other settings:\n"
    + "\n".join(lines)
    + "\nSet the config back, or prepare a new workdir."
  )


def _described(settings: Any) -> dict[str, Any]:
  values = json.loads(json.dumps(dataclasses.asdict(settings)))
  return {"class": type(settings).__name__, **values}
