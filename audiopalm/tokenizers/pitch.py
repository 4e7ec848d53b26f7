"""Pitch as ids: the log pitch of speech relative to its mean, at a fixed rate."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from audiopalm.audio import f0
from audiopalm.errors import ConfigError, DataError
from audiopalm.tokenizers import base, kmeans
from audiopalm.types import StreamSpec, Utterance

UNVOICED = 0  # id of unvoiced units; ids of pitches follow, from low to high


@dataclasses.dataclass(frozen=True)
class PitchUnits(base.ArraySettings):
  """`size` clusters of log pitch minus its mean over the voiced frames of the utterance, and an id
  for unvoiced speech and silence.

  A unit lasts 1 / `rate_hz` seconds. It is voiced if at least half of its 10 ms frames are, and its
  pitch is their geometric mean. Pitch is searched between `low_hz` and `high_hz`. At most `fit_s`
  seconds of speech are used for fitting. Source: the pitch tokens of SPIRIT LM, arXiv:2402.05755,
  section 3.2, with k-means instead of a VQ-VAE.
  """

  arrays_file: ClassVar[str] = "pitch.npz"
  answers: ClassVar[bool] = False

  stream: str = "pitch"
  size: int = 64
  rate_hz: float = 12.5
  low_hz: float = 65.0
  high_hz: float = 500.0
  fit_s: float = 3_600.0

  def __post_init__(self):
    name = f"Pitch stream {self.stream!r}"
    base.check_spectra(name, self.rate_hz, self.size, self.low_hz, self.high_hz)
    base.check_sample(name, self.fit_s)
    if not 30 <= self.low_hz < self.high_hz / 2 <= 1_000:
      raise ConfigError(
        f"{name} has low_hz={self.low_hz} and high_hz={self.high_hz}, expected more than an octave "
        "between 30 and 2000. Set low_hz=65 and high_hz=500."
      )

  @property
  def largest(self) -> StreamSpec:
    return StreamSpec(self.stream, "speech", (1 + self.size,), self.rate_hz, "")

  def fit(self, utterances: Iterable[Utterance], seed: int) -> "FittedPitch":
    """Returns the tokenizer fitted on the first `fit_s` seconds of the utterances' speech."""
    relative = [self.relative(wave_S) for _, wave_S in base.speech_waves(utterances, self.fit_s)]
    log_T = np.concatenate([np.zeros(0), *relative])
    log_T = log_T[np.isfinite(log_T)].astype(np.float32)
    self.check_frames(len(log_T), "voiced units")
    if (different := len(np.unique(log_T))) < self.size:
      raise DataError(
        f"Expected at least {self.size} different pitches to fit the stream {self.stream!r} on, "
        f"but the training split has {different}. Use more recordings, or a smaller size."
      )
    centers_V1 = kmeans.fit(log_T[:, None], self.size, np.random.default_rng(seed))
    return FittedPitch(self, np.sort(centers_V1[:, 0]))

  def fitted(self, parameters: Mapping[str, np.ndarray]) -> "FittedPitch":
    return FittedPitch(self, parameters["centers_V"])

  def relative(self, wave_S: np.ndarray) -> np.ndarray:
    """Returns relative_T of a wave at the working rate: the log pitch of each unit minus the mean
    of the voiced frames, NaN for unvoiced units."""
    pitch_T = f0.track(wave_S, self.low_hz, self.high_hz)
    frames = round(base.FRAMES_HZ / self.rate_hz)
    pitch_TF = np.pad(pitch_T, (0, -len(pitch_T) % frames)).reshape(-1, frames)
    voiced_TF = pitch_TF > 0
    log_TF = np.log(np.where(voiced_TF, pitch_TF, 1.0))
    voiced_T = voiced_TF.sum(axis=1)
    mean = log_TF.sum() / max(1, voiced_T.sum())
    relative_T = log_TF.sum(axis=1) / np.maximum(voiced_T, 1) - mean
    return np.where(2 * voiced_T >= frames, relative_T, np.nan)


@dataclasses.dataclass(frozen=True, eq=False)
class FittedPitch(base.FittedArrays):
  """The centers of the clusters, `centers_V`, from low to high."""

  settings: PitchUnits
  centers_V: np.ndarray
  voices: tuple[str, ...] = ()

  def parameters(self) -> dict[str, np.ndarray]:
    return {"centers_V": self.centers_V}

  def encode(self, utterance: Utterance) -> np.ndarray:
    """Returns ids_T: UNVOICED, or 1 + the index of the nearest center."""
    relative_T = self.settings.relative(base.wave_of(utterance, self.settings.stream))
    edges_V = (self.centers_V[1:] + self.centers_V[:-1]) / 2
    ids_T = 1 + np.digitize(np.nan_to_num(relative_T), edges_V)
    return np.where(np.isnan(relative_T), UNVOICED, ids_T).astype(np.int32)

  def decode(self, ids: npt.ArrayLike, *, voice: str | None = None) -> np.ndarray:
    """Raises ConfigError, because pitch alone cannot be decoded to sound."""
    raise ConfigError(
      f"The stream {self.spec.name!r} is pitch, which is no sound by itself: expected ids of units "
      "or codes. Decode those of the same recording."
    )
