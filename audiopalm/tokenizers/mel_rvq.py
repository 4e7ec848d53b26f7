"""Acoustic codes without a network: residual k-means over log-mel frames, and back to sound."""

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from audiopalm.audio import spectrum, vocoder, waveform
from audiopalm.errors import ConfigError, DataError
from audiopalm.tokenizers import base, kmeans
from audiopalm.types import StreamSpec, Utterance

FRAMES_HZ = round(1 / spectrum.HOP_S)
PARAMETERS = "mel_rvq.npz"
CORRECTIONS = 2  # times the vocoder's sound is compared with the spectrum it should have
LARGEST_CORRECTION = 2.0  # nepers of power each time


@dataclasses.dataclass(frozen=True)
class MelRVQ:
  """`codebooks` of `size` centroids: each quantises what those before it left of a frame.

  A frame is 1 / `rate_hz` seconds: its 10 ms log-mel spectra (`mels` bins from `low_hz` to
  `high_hz`, at most `floor_db` under the utterance's highest) one after another, their mean pitch
  and their mean voicing. `pitch_weight` and `voicing_weight` say how much an octave and the step
  from noise to voice count beside a root mean square error of 1 neper (4.3 dB) of the spectra.
  `fit_s` is the speech to fit on, at most. Codes keep speaker, pitch and loudness.
  Source: residual VQ, SoundStream, arXiv:2107.03312, section III-C, with k-means for training.
  """

  rule: ClassVar[int] = 2  # 2: an offset does not count

  stream: str = "codes"
  codebooks: int = 8
  size: int = 256
  rate_hz: float = 25.0
  mels: int = 40
  low_hz: float = 60.0
  high_hz: float = 7_600.0
  floor_db: float = 70.0
  pitch_weight: float = 3.0
  voicing_weight: float = 1.5
  fit_s: float = 3_600.0

  def __post_init__(self):
    what = f"Code stream {self.stream!r} has"
    if self.rate_hz <= 0 or FRAMES_HZ % self.rate_hz:
      raise ConfigError(
        f"{what} rate_hz={self.rate_hz}, expected a rate that divides {FRAMES_HZ} (the log-mel "
        "spectra a second). Set rate_hz=25 or rate_hz=50."
      )
    if self.codebooks < 1:
      raise ConfigError(f"{what} codebooks={self.codebooks}, expected at least 1. Set codebooks=8.")
    if self.size < 2:
      raise ConfigError(f"{what} size={self.size}, expected at least 2. Set size=256.")
    if self.mels < 2:
      raise ConfigError(f"{what} mels={self.mels}, expected at least 2. Set mels=40.")
    if not 0 <= self.low_hz < self.high_hz <= waveform.RATE_HZ / 2:
      raise ConfigError(
        f"{what} low_hz={self.low_hz} and high_hz={self.high_hz}, expected 0 <= low_hz < high_hz "
        f"<= {waveform.RATE_HZ // 2}. Set low_hz=60 and high_hz=7600."
      )

  @property
  def stacked(self) -> int:
    """Log-mel spectra in a frame."""
    return round(FRAMES_HZ / self.rate_hz)

  @property
  def largest(self) -> StreamSpec:
    """Its spec, which fitting does not change."""
    return StreamSpec(self.stream, "speech", (self.size,) * self.codebooks, self.rate_hz, "")

  def check(self) -> None:
    """Returns nothing: utterances are all it needs."""

  def fit(self, utterances: Iterable[Utterance], seed: int) -> "FittedMelRVQ":
    """Returns the tokenizer fitted on the first `fit_s` seconds of the utterances' speech."""
    frames = [self.frames(wave_S) for _, wave_S in base.heard(utterances, self.fit_s)]
    residual_TE = np.concatenate(frames) if frames else np.zeros((0, 1), np.float32)
    if len(residual_TE) < self.size:
      raise DataError(
        f"Expected at least {self.size} frames of speech to fit the stream {self.stream!r} on, the "
        f"training split has {len(residual_TE)} ({len(residual_TE) / self.rate_hz:.1f} s). Give it "
        f"more recordings, or set tokenizers.{self.stream}.size={max(2, len(residual_TE) // 10)}."
      )
    random = np.random.default_rng(seed)
    codebooks = []
    for _ in range(self.codebooks):
      centroids_VE = kmeans.fit(residual_TE, self.size, random)
      ids_T, _ = kmeans.nearest(residual_TE, centroids_VE)
      residual_TE = residual_TE - centroids_VE[ids_T]
      codebooks.append(centroids_VE)
    return FittedMelRVQ(self, np.stack(codebooks))

  def load(self, folder: Path) -> "FittedMelRVQ":
    base.check_settings(self, folder)
    with np.load(Path(folder) / PARAMETERS, allow_pickle=False) as found:
      return FittedMelRVQ(self, found["centroids_QVE"])

  def frames(self, wave_S: np.ndarray) -> np.ndarray:
    """Returns frames_TE of a wave at the working rate; distances between them are Euclidean."""
    filters_EM = spectrum.mel_filters(self.mels, self.low_hz, self.high_hz)
    mel_TM = spectrum.log_mel(spectrum.power(wave_S), filters_EM, self.floor_db)
    pitch_T, voicing_T = _steady_pitch(wave_S)
    log_pitch_T = np.log2(pitch_T)
    rest = -len(mel_TM) % self.stacked
    mel_TM = np.pad(mel_TM, ((0, rest), (0, 0)), mode="edge")
    columns = [mel_TM.reshape(-1, self.stacked * self.mels) * self._mel_weight]
    for values_T, weight in (
      (log_pitch_T, self.pitch_weight),
      (voicing_T, self.voicing_weight),
    ):
      padded_T = np.pad(values_T, (0, rest), mode="edge")
      columns.append(weight * padded_T.reshape(-1, self.stacked).mean(axis=1, keepdims=True))
    return np.concatenate(columns, axis=1).astype(np.float32)

  def parts(self, frames_TE: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (log_mel_TM, pitch_T in Hz, voicing_T), all of 10 ms: the inverse of `frames`."""
    mel_TM = frames_TE[:, :-2].reshape(-1, self.mels) / self._mel_weight
    pitch_T = 2.0 ** (frames_TE[:, -2] / self.pitch_weight)
    voicing_T = np.clip(frames_TE[:, -1] / self.voicing_weight, 0, 1)
    pitch_T = np.clip(pitch_T, vocoder.LOWEST_HZ, vocoder.HIGHEST_HZ)
    return mel_TM, _held(pitch_T, self.stacked), _held(voicing_T, self.stacked)

  @property
  def _mel_weight(self) -> np.float32:
    return np.float32((self.stacked * self.mels) ** -0.5)


@dataclasses.dataclass(frozen=True, eq=False)
class FittedMelRVQ:
  """Centroids of Q codebooks; a frame is the sum of one of each."""

  settings: MelRVQ
  centroids_QVE: np.ndarray
  voices: tuple[str, ...] = ()  # who speaks is in the codes

  @functools.cached_property
  def spec(self) -> StreamSpec:
    settings = self.settings
    fingerprint = base.fingerprint(settings, {"centroids_QVE": self.centroids_QVE})
    return dataclasses.replace(settings.largest, fingerprint=fingerprint)

  def encode(self, utterance: Utterance) -> np.ndarray:
    """Returns codes_TQ: one row each 1 / rate_hz seconds begun."""
    return self._quantized(self.settings.frames(base.wave_of(utterance, self.settings.stream)))

  def decode(
    self, ids: Sequence[Sequence[int]] | np.ndarray, *, voice: str | None = None
  ) -> np.ndarray:
    """Returns wave_S at 16 kHz, 1 / rate_hz seconds for each row of codes."""
    base.check_voice(voice, self.spec, self.voices)
    codes_TQ = base.check_codes(ids, self.spec)
    if not len(codes_TQ):
      return np.zeros(0, np.float32)
    return _sound(self.settings, *self.settings.parts(self._rebuilt(codes_TQ)))

  def save(self, folder: Path) -> None:
    base.write_settings(self.settings, Path(folder))
    np.savez(Path(folder) / PARAMETERS, centroids_QVE=self.centroids_QVE)

  def _quantized(self, frames_TE: np.ndarray) -> np.ndarray:
    codes = []
    for centroids_VE in self.centroids_QVE:
      ids_T, _ = kmeans.nearest(frames_TE, centroids_VE)
      frames_TE = frames_TE - centroids_VE[ids_T]
      codes.append(ids_T)
    return np.stack(codes, axis=1).astype(np.int32)

  def _rebuilt(self, codes_TQ: np.ndarray) -> np.ndarray:
    levels = codes_TQ.shape[1]
    return self.centroids_QVE[np.arange(levels), codes_TQ].sum(axis=1)


def _steady_pitch(wave_S: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns (pitch_T in Hz, voicing_T 0 or 1) of 10 ms frames, the pitch carried over what has
  none: a frame that is not voiced has a pitch only by chance."""
  pitch_T, periodicity_T = vocoder.pitch(wave_S)
  voicing_T = periodicity_T > vocoder.VOICED
  if not voicing_T.any():
    usual_hz = np.sqrt(vocoder.LOWEST_HZ * vocoder.HIGHEST_HZ)
    return np.full(len(pitch_T), usual_hz), voicing_T.astype(np.float32)
  voiced = np.flatnonzero(voicing_T)
  log_pitch_T = np.interp(np.arange(len(pitch_T)), voiced, np.log(pitch_T[voiced]))
  return np.exp(log_pitch_T), voicing_T.astype(np.float32)


def _held(values_T: np.ndarray, stacked: int) -> np.ndarray:
  """Returns the values of 10 ms frames: a line through the middles of longer ones."""
  middles = (np.arange(len(values_T)) + 0.5) * stacked
  return np.interp(np.arange(len(values_T) * stacked) + 0.5, middles, values_T)


def _sound(
  settings: MelRVQ, log_mel_TM: np.ndarray, pitch_T: np.ndarray, voicing_T: np.ndarray
) -> np.ndarray:
  """Returns wave_S with that spectrum: the vocoder's filters are moved by what its sound lacks."""
  band = {"low_hz": settings.low_hz, "high_hz": settings.high_hz}
  filters_EM = spectrum.mel_filters(settings.mels, **band)
  excitation_TE = vocoder.excitation(pitch_T, voicing_T)
  filter_TM = log_mel_TM
  for _ in range(CORRECTIONS):
    wave_S = vocoder.sound(filter_TM, excitation_TE, **band)
    lacking_TM = log_mel_TM - spectrum.log_mel(spectrum.power(wave_S), filters_EM)
    filter_TM = filter_TM + np.clip(lacking_TM, -LARGEST_CORRECTION, LARGEST_CORRECTION)
  wave_S = vocoder.sound(filter_TM, excitation_TE, **band)
  return wave_S / max(1.0, float(np.abs(wave_S).max()))
