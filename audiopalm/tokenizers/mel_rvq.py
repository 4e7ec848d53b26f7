"""Acoustic codes without a network: residual k-means over log-mel frames, and a vocoder."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from audiopalm.audio import spectrum, vocoder
from audiopalm.errors import ConfigError
from audiopalm.tokenizers import base, kmeans
from audiopalm.types import StreamSpec, Utterance

CORRECTIONS = 2  # iterations that correct the vocoder's filters by the spectrum of its output
LARGEST_CORRECTION = 2.0  # nepers of power per iteration


@dataclasses.dataclass(frozen=True)
class MelRVQ(base.ArraySettings):
  """`codebooks` codebooks of `size` centroids; each quantizes the residual of those before it.

  A frame of 1 / `rate_hz` seconds is the concatenation of its 10 ms log-mel spectra (`mels` bins
  from `low_hz` to `high_hz`, clipped at `floor_db` below the utterance's maximum), their mean pitch
  and their mean voicing. `pitch_weight` and `voicing_weight` are the distances of an octave and of
  voice from noise, relative to a root mean square error of 1 neper (4.3 dB) of the spectra. At most
  `fit_s` seconds of speech are used for fitting. Codes preserve speaker, pitch and loudness.
  Source: residual VQ, SoundStream, arXiv:2107.03312, section III-C, with k-means for training.
  """

  rule: ClassVar[int] = 2  # 2: a DC offset is ignored
  arrays_file: ClassVar[str] = "mel_rvq.npz"

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
    name = f"Code stream {self.stream!r}"
    base.check_spectra(name, self.rate_hz, self.size, self.low_hz, self.high_hz)
    base.check_sample(name, self.fit_s)
    for field, least, usual in (("codebooks", 1, 8), ("mels", 2, 40)):
      if getattr(self, field) < least:
        raise ConfigError(
          f"{name} has {field}={getattr(self, field)}, expected at least {least}. Set "
          f"{field}={usual}."
        )

  @property
  def stacked(self) -> int:
    """Log-mel spectra in a frame."""
    return round(base.FRAMES_HZ / self.rate_hz)

  @property
  def largest(self) -> StreamSpec:
    return StreamSpec(self.stream, "speech", (self.size,) * self.codebooks, self.rate_hz, "")

  def fit(self, utterances: Iterable[Utterance], seed: int) -> "FittedMelRVQ":
    """Returns the tokenizer fitted on the first `fit_s` seconds of the utterances' speech."""
    frames = [self.frames(wave_S) for _, wave_S in base.speech_waves(utterances, self.fit_s)]
    residual_TE = np.concatenate(frames) if frames else np.zeros((0, 1), np.float32)
    self.check_frames(len(residual_TE), "frames")
    random = np.random.default_rng(seed)
    codebooks = []
    for _ in range(self.codebooks):
      centroids_VE = kmeans.fit(residual_TE, self.size, random)
      ids_T, _ = kmeans.nearest(residual_TE, centroids_VE)
      residual_TE = residual_TE - centroids_VE[ids_T]
      codebooks.append(centroids_VE)
    return FittedMelRVQ(self, np.stack(codebooks))

  def fitted(self, parameters: Mapping[str, np.ndarray]) -> "FittedMelRVQ":
    return FittedMelRVQ(self, parameters["centroids_QVE"])

  def frames(self, wave_S: np.ndarray) -> np.ndarray:
    """Returns frames_TE of a wave at the working rate, compared by Euclidean distance."""
    filters_EM = spectrum.mel_filters(self.mels, self.low_hz, self.high_hz)
    mel_TM = spectrum.log_mel(spectrum.power(wave_S), filters_EM, self.floor_db)
    pitch_T, voicing_T = _steady_pitch(wave_S)
    rest = -len(mel_TM) % self.stacked
    mel_TM = np.pad(mel_TM, ((0, rest), (0, 0)), mode="edge")
    columns = [mel_TM.reshape(-1, self.stacked * self.mels) * self._mel_weight]
    pairs = (np.log2(pitch_T), self.pitch_weight), (voicing_T, self.voicing_weight)
    for values_T, weight in pairs:
      padded_T = np.pad(values_T, (0, rest), mode="edge")
      columns.append(weight * padded_T.reshape(-1, self.stacked).mean(axis=1, keepdims=True))
    return np.concatenate(columns, axis=1).astype(np.float32)

  def parts(self, frames_TE: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (log_mel_TM, pitch_T in Hz, voicing_T) of 10 ms frames. Inverse of `frames`."""
    mel_TM = frames_TE[:, :-2].reshape(-1, self.mels) / self._mel_weight
    pitch_T = 2.0 ** (frames_TE[:, -2] / self.pitch_weight)
    voicing_T = np.clip(frames_TE[:, -1] / self.voicing_weight, 0, 1)
    pitch_T = np.clip(pitch_T, vocoder.LOWEST_HZ, vocoder.HIGHEST_HZ)
    return mel_TM, _interpolated(pitch_T, self.stacked), _interpolated(voicing_T, self.stacked)

  @property
  def _mel_weight(self) -> np.float32:
    return np.float32((self.stacked * self.mels) ** -0.5)


@dataclasses.dataclass(frozen=True, eq=False)
class FittedMelRVQ(base.FittedArrays):
  """The centroids of Q codebooks; a frame is approximated by the sum of one centroid of each."""

  settings: MelRVQ
  centroids_QVE: np.ndarray
  voices: tuple[str, ...] = ()  # the codes determine the voice

  def parameters(self) -> dict[str, np.ndarray]:
    return {"centroids_QVE": self.centroids_QVE}

  @property
  def codebook_VE(self) -> np.ndarray:
    return self.centroids_QVE[0]

  def encode(self, utterance: Utterance) -> np.ndarray:
    """Returns codes_TQ: one row per 1 / rate_hz seconds, the last one padded."""
    return self.frames(utterance)[0].astype(np.int32)

  def frames(self, utterance: Utterance) -> tuple[np.ndarray, np.ndarray]:
    """Returns (codes_TQ, frames_TE)."""
    frames_TE = self.settings.frames(base.wave_of(utterance, self.settings.stream))
    return kmeans.residual_ids(frames_TE, self.centroids_QVE), frames_TE

  def decode(self, ids: npt.ArrayLike, *, voice: str | None = None) -> np.ndarray:
    """Returns wave_S at 16 kHz, 1 / rate_hz seconds for each row of codes."""
    base.check_voice(voice, self.spec, self.voices)
    codes_TQ = base.check_codes(ids, self.spec)
    if not len(codes_TQ):
      return np.zeros(0, np.float32)
    frames_TE = kmeans.residual_sum(codes_TQ, self.centroids_QVE)
    return _sound(self.settings, *self.settings.parts(frames_TE))


def _steady_pitch(wave_S: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns (pitch_T in Hz, voicing_T 0 or 1) of 10 ms frames; the pitch is interpolated over
  frames that are not voiced."""
  pitch_T, periodicity_T = vocoder.pitch(wave_S)
  voicing_T = periodicity_T > vocoder.VOICED
  if not voicing_T.any():
    usual_hz = np.sqrt(vocoder.LOWEST_HZ * vocoder.HIGHEST_HZ)
    return np.full(len(pitch_T), usual_hz), voicing_T.astype(np.float32)
  voiced = np.flatnonzero(voicing_T)
  log_pitch_T = np.interp(np.arange(len(pitch_T)), voiced, np.log(pitch_T[voiced]))
  return np.exp(log_pitch_T), voicing_T.astype(np.float32)


def _interpolated(values_T: np.ndarray, stacked: int) -> np.ndarray:
  """Returns values of 10 ms frames, interpolated between the centers of longer ones."""
  centers = (np.arange(len(values_T)) + 0.5) * stacked
  return np.interp(np.arange(len(values_T) * stacked) + 0.5, centers, values_T)


def _sound(
  settings: MelRVQ, log_mel_TM: np.ndarray, pitch_T: np.ndarray, voicing_T: np.ndarray
) -> np.ndarray:
  """Returns wave_S whose log-mel spectrum matches `log_mel_TM`, by iteratively correcting the
  vocoder filters."""
  band = {"low_hz": settings.low_hz, "high_hz": settings.high_hz}
  filters_EM = spectrum.mel_filters(settings.mels, **band)
  excitation_TE = vocoder.excitation(pitch_T, voicing_T)
  filter_TM = log_mel_TM
  for _ in range(CORRECTIONS):
    wave_S = vocoder.sound(filter_TM, excitation_TE, **band)
    error_TM = log_mel_TM - spectrum.log_mel(spectrum.power(wave_S), filters_EM)
    filter_TM = filter_TM + np.clip(error_TM, -LARGEST_CORRECTION, LARGEST_CORRECTION)
  wave_S = vocoder.sound(filter_TM, excitation_TE, **band)
  return wave_S / max(1.0, float(np.abs(wave_S).max()))
