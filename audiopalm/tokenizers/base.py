"""The protocol of all tokenizers: settings, which fit or load, and fitted tokenizers.

*Settings* are a frozen dataclass that a config names (`KMeansUnits(size=256)`), without arrays.
`fit` learns parameters from training utterances, `load` reads what `save` wrote. *Fitted*
tokenizers encode an utterance as ids that start at 0 (the token space assigns their place on the
grid), and decode ids to text or sound.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt

from audiopalm import orthography
from audiopalm.audio import spectrum, waveform
from audiopalm.errors import ConfigError, DataError, RecordError, TokenSpaceError
from audiopalm.types import StreamSpec, Utterance

Result = TypeVar("Result")

FRAMES_HZ = round(1 / spectrum.HOP_S)  # rate of the spectra from which units and codes are computed


class Fitted(Protocol):
  """A tokenizer ready for use: stateless, picklable, safe to share between threads.

  Optional methods: A text tokenizer has `encode_text(text)`, which returns a list of int; the first
  text stream of a run also encodes its tags. One that is faster with many recordings at a time has
  `encode_batch(utterances)`, with the result of this module's `encode_batch`. One that does not
  encode the letters of a text has `ends(utterance, cuts)`, which returns the number of ids before
  each position in the text.
  """

  spec: StreamSpec
  """Name, modality, sizes, rate and fingerprint: equal after save and load, and after another fit
  with the same settings, utterances and seed."""

  voices: tuple[str, ...]
  """Speakers that `decode` can imitate, in alphabetical order; () for text, and for codes that
  determine the voice themselves."""

  def encode(self, utterance: Utterance) -> np.ndarray:
    """Returns int32 ids: [T], or [T, Q] if the spec has Q > 1 codebooks.

    Speech is resampled to the working rate. RecordError if the utterance cannot be encoded, for
    example without a wave or text: `prepare` leaves such a record out.
    """

  def decode(self, ids: npt.ArrayLike, *, voice: str | None = None) -> str | np.ndarray:
    """Returns a str (text) or a float32 wave_S at 16 kHz (speech) for any ids, even none.

    `voice` is one of `voices`, None for the default. ConfigError for an unknown voice, listing the
    known ones, and for a stream that has no sound of its own, such as pitch. DataError for ids that
    the spec does not have.
    """

  def save(self, folder: Path) -> None:
    """Writes everything `load` needs into `folder`, creating it if needed."""


@runtime_checkable
class Framed(Protocol):
  """A fitted speech tokenizer that exposes the vectors of its ids, for `audiopalm tokenizer
  evaluate`, which can score only the ids of other tokenizers."""

  codebook_VE: np.ndarray
  """The vector of each id of the first codebook."""

  def frames(self, utterance: Utterance) -> tuple[np.ndarray, np.ndarray]:
    """Returns (ids, features_TE): an id for each 1 / rate_hz seconds, before runs are collapsed,
    and the vector that was quantized. Errors are those of `encode`.

    A tokenizer with `encode_batch` may have `frames_batch(utterances)`, with the result of this
    module's `frames_batch`.
    """


class Tokenizer(Protocol):
  """Settings of a tokenizer: a frozen dataclass whose fields can be written as JSON.

  Four more attributes are optional. `sources` are paths of files: a tokenizer of a user's own class
  is exported as the files of `save`, with copies of these. `source_digest()`, called after `check`,
  is for one that is read from files: it returns a text that depends on their contents, so that runs
  share fitted tokenizers only if their files are the same. `sample_s` is the seconds of speech that
  `fit` needs if 40 minutes are not enough. `answers` is False if ids are neither the words of an
  utterance nor sound, as for pitch and phonemes: no evaluated task may predict them.
  """

  stream: str
  """Name of its stream: the second half of "source.units"."""

  largest: StreamSpec
  """The spec with the most ids that the settings allow and without a fingerprint, for planning a
  model before the tokenizer is fitted."""

  def check(self) -> None:
    """Raises ConfigError if anything that `fit` needs besides utterances is missing; called before
    any recording is read."""

  def fit(self, utterances: Iterable[Utterance], seed: int) -> Fitted:
    """Returns the tokenizer fitted on training utterances, deterministic in their order and seed.

    Reads only as many as it needs: pass them shuffled over languages and speakers. Skips utterances
    that cannot be encoded (without a wave or text); DataError if none is left.
    """

  def load(self, folder: Path) -> Fitted:
    """Returns the tokenizer `save` wrote; TokenSpaceError if it was fitted with other settings."""


class FittedArrays:
  """Base class of fitted speech tokenizers whose `parameters`, arrays by name, are hashed, saved
  and exported. The class of their `settings` is an `ArraySettings`."""

  settings: "ArraySettings"
  parameters: Callable[[], dict[str, np.ndarray]]

  @functools.cached_property
  def spec(self) -> StreamSpec:
    hashed = fingerprint(self.settings, self.parameters())
    return dataclasses.replace(self.settings.largest, fingerprint=hashed)

  def save(self, folder: Path) -> None:
    write_settings(self.settings, Path(folder))
    np.savez(Path(folder) / self.settings.arrays_file, **self.parameters())


class ArraySettings:
  """Base class of the settings of `FittedArrays`, whose `fit` needs only utterances."""

  stream: str
  size: int
  rate_hz: float
  arrays_file: ClassVar[str]
  fitted: Callable[[Mapping[str, np.ndarray]], FittedArrays]  # the tokenizer with these parameters

  def check(self) -> None:
    """Does nothing."""

  def load(self, folder: Path) -> FittedArrays:
    check_settings(self, folder)
    with np.load(Path(folder) / self.arrays_file, allow_pickle=False) as arrays:
      return self.fitted(arrays)

  def check_frames(self, frames: int, name: str) -> None:
    """Raises DataError for fewer frames of speech than centroids; `name` is the name of frames."""
    if frames < self.size:
      raise DataError(
        f"Expected at least {self.size} {name} of speech to fit the stream {self.stream!r} on, the "
        f"training split has {frames} ({frames / self.rate_hz:.1f} s). Use more recordings, or a "
        f"smaller size, such as size={max(2, frames // 10)}."
      )


@dataclasses.dataclass(frozen=True, eq=False)
class FittedFile:
  """Base class of fitted text tokenizers that consist of the content of `settings.file`."""

  settings: Tokenizer
  content: bytes
  voices: tuple[str, ...] = ()
  encode_text: ClassVar[Callable[[str], list[int]]]

  def __reduce__(self):
    return type(self), (self.settings, self.content)

  def encode(self, utterance: Utterance) -> np.ndarray:
    """Returns the ids of the utterance's text."""
    return np.array(self.encode_text(utterance.text), np.int32)

  def save(self, folder: Path) -> None:
    write_settings(self.settings, Path(folder))
    (Path(folder) / self.settings.file).write_bytes(self.content)


def encode_batch(fitted: Fitted, utterances: Sequence[Utterance]) -> list[np.ndarray | RecordError]:
  """Returns for each utterance the ids that `fitted.encode` returns, or the RecordError it
  raises."""
  batch = getattr(fitted, "encode_batch", None)
  return batch(utterances) if batch else _results(fitted.encode, utterances)


def frames_batch(
  fitted: Framed, utterances: Sequence[Utterance]
) -> list[tuple[np.ndarray, np.ndarray] | RecordError]:
  """Returns for each utterance what `fitted.frames` returns, or the RecordError it raises."""
  batch = getattr(fitted, "frames_batch", None)
  return batch(utterances) if batch else _results(fitted.frames, utterances)


def _results(
  encode: Callable[[Utterance], Result], utterances: Sequence[Utterance]
) -> list[Result | RecordError]:
  results: list[Result | RecordError] = []
  for utterance in utterances:
    try:
      results.append(encode(utterance))
    except RecordError as error:
      results.append(error)
  return results


def result(of_utterance: Result | RecordError) -> Result:
  """Returns an item of `encode_batch` or `frames_batch`; raises it if it is an error."""
  if isinstance(of_utterance, RecordError):
    raise of_utterance
  return of_utterance


def fingerprint(
  settings: Tokenizer,
  parameters: Mapping[str, np.ndarray | bytes],
  without: Sequence[str] = (),
) -> str:
  """Returns the sha256 hex digest of the settings, except for the fields `without`, and of the
  fitted parameters by name."""
  digest = hashlib.sha256()
  digest.update(type(settings).__name__.encode())
  fields = dataclasses.asdict(settings)
  fields = {name: fields[name] for name in fields if name not in without}
  digest.update(json.dumps(fields, sort_keys=True).encode())
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


def rule(settings: Tokenizer) -> int:
  """Returns the version of the encoding rule: `rule` of the settings' class, by default 1.
  Increment it when a change of code gives other ids for the same settings and parameters."""
  return getattr(type(settings), "rule", 1)


def check_rule(settings: Tokenizer, fitted_rule: int, place: Path | str) -> None:
  """Raises TokenSpaceError if a tokenizer was fitted under another version of the rule."""
  if fitted_rule != rule(settings):
    raise TokenSpaceError(
      f"The tokenizer {settings.stream!r} in {place} encodes by rule {fitted_rule}, this version "
      f"of audiopalm by rule {rule(settings)}: the same recording has other ids now. Prepare and "
      "train in a new workdir, or use the version that wrote it."
    )


def check_spectra(name: str, rate_hz: float, size: int, low_hz: float, high_hz: float) -> None:
  """Raises ConfigError for a frame rate, size or band that a tokenizer of spectra cannot have."""
  if rate_hz <= 0 or FRAMES_HZ % rate_hz:
    raise ConfigError(
      f"{name} has rate_hz={rate_hz}, expected a divisor of {FRAMES_HZ} (the spectra per second). "
      "Set rate_hz=25 or rate_hz=50."
    )
  if size < 2:
    raise ConfigError(f"{name} has size={size}, expected at least 2. Set size=256.")
  if not 0 <= low_hz < high_hz <= waveform.RATE_HZ / 2:
    raise ConfigError(
      f"{name} has low_hz={low_hz} and high_hz={high_hz}, expected 0 <= low_hz < high_hz <= "
      f"{waveform.RATE_HZ // 2}. Set low_hz=60 and high_hz=7600."
    )


def check_sample(name: str, fit_s: float, voices: int = 1) -> None:
  """Raises ConfigError unless `fit` gets speech, and learns a voice if it learns any."""
  if not fit_s > 0:
    raise ConfigError(f"{name} has fit_s={fit_s}, expected seconds above 0. Set fit_s=3600.")
  if voices < 1:
    raise ConfigError(f"{name} has voices={voices}, expected at least 1. Set voices=64.")


def wave_of(utterance: Utterance, stream: str) -> np.ndarray:
  """Returns wave_S at the working rate; RecordError, naming the stream, if there is none."""
  if utterance.wave_S is None or not len(utterance.wave_S):
    raise RecordError(
      f"Expected a wave for the stream {stream!r}, but the utterance {utterance.text!r} of "
      f"{utterance.speaker!r} has none. Leave it out of speech tasks."
    )
  return waveform.resample(utterance.wave_S, utterance.rate_hz, waveform.RATE_HZ)


def speech_waves(utterances: Iterable[Utterance], most_s: float) -> list[tuple[str, np.ndarray]]:
  """Returns (speaker, wave_S at the working rate) of utterances with a wave, until their duration
  reaches `most_s` seconds."""
  waves, seconds = [], 0.0
  for utterance in utterances:
    if seconds >= most_s:
      break
    if utterance.wave_S is not None and len(utterance.wave_S):
      wave_S = waveform.resample(utterance.wave_S, utterance.rate_hz, waveform.RATE_HZ)
      waves.append((utterance.speaker, wave_S))
      seconds += len(wave_S) / waveform.RATE_HZ
  return waves


def match_voice(voice: str | None, voices: Sequence[str]) -> str | None:
  """Returns the known voice of that name in any spelling (`orthography.plain`), else `voice`."""
  if voice is None:
    return None
  return {orthography.plain(name): name for name in voices}.get(orthography.plain(voice), voice)


def check_voice(voice: str | None, spec: StreamSpec, voices: Sequence[str]) -> None:
  """Raises ConfigError for a voice that is not one of `voices`."""
  if voice is None or voice in voices:
    return
  if not voices:
    raise ConfigError(
      f"The ids of the stream {spec.name!r} determine the voice, so voice={voice!r} cannot be "
      "chosen. Leave it out."
    )
  raise ConfigError(f"Unknown voice {voice!r}. Known voices: {', '.join(voices)}.")


def check_text(text: str) -> None:
  """Raises RecordError for a str that is not valid Unicode."""
  try:
    text.encode()
  except UnicodeEncodeError as error:
    raise RecordError(
      f"Expected Unicode text, got {text!r}, which has an unpaired surrogate, as from bytes "
      "decoded with the wrong encoding. Decode it as UTF-8."
    ) from error


def check_ids(ids: npt.ArrayLike, spec: StreamSpec) -> np.ndarray:
  """Returns int64 ids_T of a stream with one codebook; DataError for ids that it does not have."""
  return check_codes(np.reshape(ids, (-1, 1)), spec)[:, 0]


def check_codes(ids: npt.ArrayLike, spec: StreamSpec) -> np.ndarray:
  """Returns int64 codes_TQ of a stream with Q codebooks, 0 frames for an empty array; DataError for
  a wrong shape, and for ids that a codebook does not have."""
  codes_TQ = np.asarray(ids, np.int64)
  if not codes_TQ.size:
    return np.zeros((0, spec.codebooks), np.int64)
  if codes_TQ.ndim != 2 or codes_TQ.shape[1] != spec.codebooks:
    raise DataError(
      f"Expected codes of the stream {spec.name!r} as [frames, {spec.codebooks}], got the shape "
      f"{list(codes_TQ.shape)}. Pass one row per frame, as `encode` returns."
    )
  for level, size in enumerate(spec.sizes):
    low, high = codes_TQ[:, level].min(), codes_TQ[:, level].max()
    if low < 0 or high >= size:
      codebook = f" in codebook {level}" if spec.codebooks > 1 else ""
      raise DataError(
        f"Expected ids of the stream {spec.name!r} from 0 to {size - 1}, got {low} to {high}"
        f"{codebook}. Pass only ids of this stream, as `encode` returns."
      )
  return codes_TQ


def write_settings(settings: Tokenizer, folder: Path) -> None:
  """Writes `settings` beside the parameters; `check_settings` compares them at load."""
  folder.mkdir(parents=True, exist_ok=True)
  described = _described(settings)
  if rule(settings) > 1:
    described["rule"] = rule(settings)
  text = json.dumps(described, indent=2, sort_keys=True)
  (folder / "settings.json").write_text(text + "\n", encoding="utf-8")


def check_settings(settings: Tokenizer, folder: Path) -> None:
  """Raises TokenSpaceError unless `folder` has a tokenizer with these settings and their `rule`."""
  path = Path(folder) / "settings.json"
  if not path.is_file():
    raise TokenSpaceError(
      f"Expected the fitted tokenizer {settings.stream!r} in {folder}, found none. "
      "Run `audiopalm prepare` for this workdir first."
    )
  saved, expected = json.loads(path.read_text(encoding="utf-8")), _described(settings)
  check_rule(settings, saved.pop("rule", 1), folder)
  if saved == expected:
    return
  names = sorted(k for k in saved.keys() | expected.keys() if saved.get(k) != expected.get(k))
  lines = [f"  {k}: config {expected.get(k)!r}, workdir {saved.get(k)!r}" for k in names]
  raise TokenSpaceError(
    f"The tokenizer {settings.stream!r} in {folder} was fitted with other settings:\n"
    + "\n".join(lines)
    + "\nSet the config back, or prepare a new workdir."
  )


def _described(settings: Tokenizer) -> dict[str, Any]:
  values = json.loads(json.dumps(dataclasses.asdict(settings)))
  return {"class": type(settings).__name__, **values}
