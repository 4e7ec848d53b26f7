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

from audiopalm import orthography
from audiopalm.audio import waveform
from audiopalm.errors import ConfigError, DataError, ManifestError, RecordError
from audiopalm.types import StreamSpec, Utterance


class Fitted(Protocol):
  """A tokenizer that is ready: stateless, picklable, safe to share between threads.

  One of text has `encode_text(text)` too, which returns its ids as a list of int: tags are written
  with the first text stream of a run.
  """

  spec: StreamSpec
  """Name, modality, sizes, rate and fingerprint: equal after save and load, and after another fit
  from the same settings, utterances and seed."""

  voices: tuple[str, ...]
  """Speakers `decode` can sound like, in alphabetical order; () where it gives text, and where the
  ids say how a voice sounds."""

  def encode(self, utterance: Utterance) -> np.ndarray:
    """Returns int32 ids: [T], or [T, Q] where the spec has Q > 1 codebooks.

    Speech is resampled to the working rate where it has another. Raises RecordError on an
    utterance without what is encoded (a wave, a text), and for no fault of anything else: that
    would leave sound records out.
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
  """Settings of a tokenizer: a frozen dataclass with JSON-able fields.

  Two more are asked for where they are needed. `sources`, paths of files: a tokenizer of the user's
  own class is exported as what `save` writes, with copies of these. `kept_in(folder)`, for text:
  settings of the tokenizer that `save` wrote there, to begin with the ids of an earlier run.
  """

  stream: str
  """Name of the stream it gives: the second half of "source.units"."""

  largest: StreamSpec
  """The spec with as many ids as the settings allow, without a fingerprint: what a model can be
  planned with before anything is fitted."""

  def check(self) -> None:
    """Raises ConfigError where something `fit` needs beside utterances is not there.

    Asked before any recording is read. Most tokenizers need nothing.
    """
    ...

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
  if rule(settings) > 1:
    digest.update(f"rule {rule(settings)}".encode())
  for name in sorted(parameters):
    value = parameters[name]
    digest.update(name.encode())
    if isinstance(value, np.ndarray):
      digest.update(f"{value.dtype.str}{value.shape}".encode())
      value = np.ascontiguousarray(value).tobytes()
    digest.update(value)
  return digest.hexdigest()


def rule(settings: Any) -> int:
  """Returns which rule makes ids of an utterance: 1, or what the class of the settings says.

  A class raises its `rule` where the same settings and parameters begin to give other ids.
  """
  return getattr(type(settings), "rule", 1)


def check_rule(settings: Any, found: int, where: Any) -> None:
  """Raises ManifestError where a tokenizer was fitted under another rule than today's."""
  if found != rule(settings):
    raise ManifestError(
      f"The tokenizer {settings.stream!r} in {where} makes ids by rule {found}, this version of "
      f"audiopalm by rule {rule(settings)}: the same recording has other ids now. Prepare and "
      "train in a new workdir, or use the version that wrote it."
    )


def wave_of(utterance: Utterance, stream: str) -> np.ndarray:
  """Returns wave_S at the working rate; RecordError, naming the stream, where there is none."""
  if utterance.wave_S is None or not len(utterance.wave_S):
    raise RecordError(
      f"Expected a wave for the stream {stream!r}, the utterance {utterance.text!r} of "
      f"{utterance.speaker!r} has none. Leave it out of speech tasks."
    )
  return waveform.resample(utterance.wave_S, utterance.rate_hz, waveform.RATE_HZ)


def heard(utterances: Iterable[Utterance], most_s: float) -> list[tuple[str, np.ndarray]]:
  """Returns (speaker, wave_S at the working rate) of utterances with sound, up to `most_s`."""
  found, seconds = [], 0.0
  for utterance in utterances:
    if seconds >= most_s:
      break
    if utterance.wave_S is not None and len(utterance.wave_S):
      wave_S = waveform.resample(utterance.wave_S, utterance.rate_hz, waveform.RATE_HZ)
      found.append((utterance.speaker, wave_S))
      seconds += len(wave_S) / waveform.RATE_HZ
  return found


def voice_called(voice: str | None, voices: Sequence[str]) -> str | None:
  """Returns which of `voices` is meant, in any spelling (`orthography.plain`), else `voice`."""
  if voice is None:
    return None
  return {orthography.plain(one): one for one in voices}.get(orthography.plain(voice), voice)


def check_voice(voice: str | None, spec: StreamSpec, voices: Sequence[str]) -> None:
  """Raises ConfigError for a voice that is not one of `voices`."""
  if voice is None or voice in voices:
    return
  if not voices:
    raise ConfigError(
      f"The stream {spec.name!r} says itself who speaks, so voice={voice!r} cannot be chosen. "
      "Leave it out."
    )
  raise ConfigError(f"Unknown voice {voice!r}. Known voices: {', '.join(voices)}.")


def check_text(text: str) -> None:
  """Raises RecordError for a str that is no Unicode text."""
  try:
    text.encode()
  except UnicodeEncodeError as error:
    raise RecordError(
      f"Expected Unicode text, got {text!r}, which is not (half of a surrogate pair, or bytes read "
      "with another encoding). Read it again as UTF-8."
    ) from error


def check_codes(ids: Any, spec: StreamSpec) -> np.ndarray:
  """Returns int64 codes_TQ of a stream with Q codebooks; no ids at all are 0 frames.

  DataError for another shape and for ids that a codebook does not have.
  """
  codes_TQ = np.asarray(ids, np.int64)
  if not codes_TQ.size:
    return np.zeros((0, spec.codebooks), np.int64)
  if codes_TQ.ndim != 2 or codes_TQ.shape[1] != spec.codebooks:
    raise DataError(
      f"Expected codes of the stream {spec.name!r} as [frames, {spec.codebooks}], got the shape "
      f"{list(codes_TQ.shape)}. Give one row a frame, as `encode` does."
    )
  for level, size in enumerate(spec.sizes):
    low, high = codes_TQ[:, level].min(), codes_TQ[:, level].max()
    if low < 0 or high >= size:
      raise DataError(
        f"Expected ids of the stream {spec.name!r} from 0 to {size - 1}, got {low} to {high} in "
        f"codebook {level}. Give the ids of this stream alone, as `encode` does."
      )
  return codes_TQ


def write_settings(settings: Any, folder: Path) -> None:
  """Writes `settings` beside the parameters, for `check_settings` to compare at load."""
  folder.mkdir(parents=True, exist_ok=True)
  described = _described(settings)
  if rule(settings) > 1:
    described["rule"] = rule(settings)
  text = json.dumps(described, indent=2, sort_keys=True)
  (folder / "settings.json").write_text(text + "\n", encoding="utf-8")


def check_settings(settings: Any, folder: Path) -> None:
  """Raises ManifestError unless `folder` holds a tokenizer fitted with exactly `settings`, under
  the `rule` of today."""
  path = Path(folder) / "settings.json"
  if not path.is_file():
    raise ManifestError(
      f"Expected the fitted tokenizer {settings.stream!r} in {folder}, found none. "
      "Run `audiopalm prepare` for this workdir first."
    )
  found, expected = json.loads(path.read_text(encoding="utf-8")), _described(settings)
  check_rule(settings, found.pop("rule", 1), folder)
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
