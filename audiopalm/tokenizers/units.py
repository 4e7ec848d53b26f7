"""Semantic units, ids at a fixed rate for the content of speech and not its speaker, and their
synthesis."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from audiopalm.audio import silence, spectrum, waveform
from audiopalm.errors import ConfigError
from audiopalm.tokenizers import base, kmeans, mfcc, voices
from audiopalm.types import StreamSpec, Utterance

ROUNDS = 3  # rounds of choosing warps by the centroids and fitting centroids to warped utterances
CORRECTIONS, CORRECTION = 4, 1.2  # iterations that correct decoded sound, and their step size
PEAK = 0.7  # largest amplitude of decoded sound
INNER = slice(mfcc.BEYOND, -mfcc.BEYOND)  # the frames of the wave itself


@dataclasses.dataclass(frozen=True)
class KMeansUnits(base.ArraySettings):
  """k-means clusters of speaker-normalized MFCCs and their slopes: HuBERT's first iteration.

  A unit lasts 1 / `rate_hz` seconds. Its features are the mean of its 10 ms frames, their slopes
  times `slope_weight`, and those of both neighbors times `context_weight`, compared by Euclidean
  distance. `coefficients` MFCCs are computed from `bins` mel bins between `low_hz` and `high_hz`,
  clipped at `floor_db` below the peaks of loud frames. Silence is one unit and is left out of the
  normalization. Units are aligned with the onset of speech, so silence before it does not change
  them. `warps` vocal tract lengths are tried for each utterance; 1 turns this off, which is better
  for single words or few speakers. `collapse` merges repeated units, which loses durations. At
  most `fit_s` seconds of speech are used for fitting; `decode` can imitate up to `voices` speakers.
  Source: HuBERT, arXiv:2106.07447, section 3; collapsing: GSLM, arXiv:2102.01192.
  """

  rule: ClassVar[int] = 3  # 2: silence, level and offset are ignored; 3: units start with speech
  arrays_file: ClassVar[str] = "units.npz"

  stream: str = "units"
  size: int = 256
  rate_hz: float = 25.0
  collapse: bool = False
  bins: int = 24
  coefficients: int = 10
  low_hz: float = 60.0
  high_hz: float = 7_600.0
  floor_db: float = 60.0
  slope_weight: float = 2.5
  context_weight: float = 0.5
  warps: int = 11
  fit_s: float = 3_600.0
  voices: int = 64

  def __post_init__(self):
    name = f"Unit stream {self.stream!r}"
    base.check_spectra(name, self.rate_hz, self.size, self.low_hz, self.high_hz)
    base.check_sample(name, self.fit_s, self.voices)
    if self.warps < 1 or self.warps % 2 == 0:
      raise ConfigError(
        f"{name} has warps={self.warps}, expected an odd number, so that one of them is no warp. "
        "Set warps=11, or warps=1 for none."
      )
    if not 1 < self.coefficients <= self.bins:
      raise ConfigError(
        f"{name} has coefficients={self.coefficients}, expected 2 to bins={self.bins}. Set "
        "coefficients=10."
      )

  @functools.cached_property
  def analysis(self) -> mfcc.Analysis:
    fields = {field.name for field in dataclasses.fields(mfcc.Analysis)} - {"frames_per_unit"}
    options = {name: getattr(self, name) for name in fields}
    return mfcc.Analysis(frames_per_unit=round(base.FRAMES_HZ / self.rate_hz), **options)

  @property
  def largest(self) -> StreamSpec:
    rate_hz = None if self.collapse else self.rate_hz
    return StreamSpec(self.stream, "speech", (self.size,), rate_hz, "")

  def align_onset(self, wave_S: np.ndarray) -> np.ndarray:
    """Returns wave_S at 16 kHz, shifted so that its speech starts at the start of a unit."""
    return silence.align_onset(wave_S, round(waveform.RATE_HZ / self.rate_hz), waveform.RATE_HZ)

  def fit(self, utterances: Iterable[Utterance], seed: int) -> "FittedUnits":
    """Returns the tokenizer fitted on the first `fit_s` seconds of the utterances' speech."""
    analysis = self.analysis
    speakers, waves = [], []
    for speaker, wave_S in base.speech_waves(utterances, self.fit_s):
      speakers.append(speaker)
      waves.append(self.align_onset(wave_S))
    powers = [spectrum.power(wave_S, beyond=mfcc.BEYOND) for wave_S in waves]
    cepstra = [analysis.cepstra(power_TE) for power_TE in powers]
    variances = [np.square(c.deviation_WE[self.warps // 2]) for c in cepstra]
    spread_E = np.sqrt(np.mean(variances, axis=0)) + 1e-3
    features = [analysis.features(c, spread_E) for c in cepstra]
    self.check_frames(sum(features_WTE.shape[1] for features_WTE in features), "units")
    centroids_VE, variance = self._cluster(features, cepstra, np.random.default_rng(seed))
    samples, speech_ids = [], []
    for speaker, wave_S, power_TE, c, f in zip(
      speakers, waves, powers, cepstra, features, strict=True
    ):
      _, ids_T = analysis.choose(f, c, centroids_VE, variance)
      heard = voices.log_mel(power_TE[INNER]), c.speech.speech_T[INNER]
      samples.append(voices.VoiceSample(speaker, wave_S, ids_T, *heard))
      speech_ids.append(ids_T[_span(analysis.clear(c))])
    sounds = voices.learn(samples, self.size, analysis.frames_per_unit, self.voices)
    durations_V = durations(speech_ids, self.size)
    return FittedUnits(self, spread_E, centroids_VE, variance, durations_V, sounds)

  def fitted(self, parameters: Mapping[str, np.ndarray]) -> "FittedUnits":
    return FittedUnits(
      self, parameters["spread_E"], parameters["centroids_VE"], float(parameters["variance"][0]),
      parameters["durations_V"], voices.from_parameters(parameters),
    )  # fmt: skip

  def _cluster(
    self,
    features: Sequence[np.ndarray],
    cepstra: Sequence[mfcc.Cepstra],
    random: np.random.Generator,
  ) -> tuple[np.ndarray, float]:
    """Returns (centroids_VE, variance around them in clear speech), fitted alternately with the
    warps."""
    centroids_VE, variance = None, 1.0
    clear_T = np.concatenate([self.analysis.clear(c) for c in cepstra])
    warps = [self.warps // 2] * len(features)
    for turn in range(ROUNDS if self.warps > 1 else 1):
      if turn:
        warps = [
          self.analysis.choose(f, c, centroids_VE, variance)[0]
          for f, c in zip(features, cepstra, strict=True)
        ]
      warped_TE = np.concatenate([f[warp] for f, warp in zip(features, warps, strict=True)])
      centroids_VE = kmeans.fit(warped_TE, self.size, random, centroids_VE=centroids_VE)
      _, distance_T = kmeans.nearest(warped_TE, centroids_VE)
      variance = float(distance_T @ clear_T / max(float(clear_T.sum()), 1)) + 1e-6
    return centroids_VE, variance


class VoicedUnits(base.FittedArrays):
  """Base class of fitted units that decode to learned voices: decoding, and collapsing of runs.

  `sounds` are the voices, `durations_V` the mean run length of each unit, and `synthesized(ids_T,
  index of the voice)` returns the wave of units; `frames` is that of `base.Framed`.
  """

  sounds: voices.Voices
  durations_V: np.ndarray
  synthesized: Callable[[np.ndarray, int], np.ndarray]
  frames: Callable[[Utterance], tuple[np.ndarray, np.ndarray]]

  def encode(self, utterance: Utterance) -> np.ndarray:
    """Returns ids_T: one per 1 / rate_hz seconds, or one per run if collapsed."""
    ids_T, _ = self.frames(utterance)
    return (runs(ids_T)[0] if self.settings.collapse else ids_T).astype(np.int32)

  @property
  def voices(self) -> tuple[str, ...]:
    return self.sounds.names

  @property
  def default_voice(self) -> str:
    return self.sounds.most_heard

  def decode(self, ids: npt.ArrayLike, *, voice: str | None = None) -> np.ndarray:
    """Returns wave_S at 16 kHz in one of `voices`; collapsed units have their mean duration."""
    ids_T = self.heard(ids)
    base.check_voice(voice, self.spec, self.voices)
    if not len(ids_T):
      return np.float32([])
    if self.settings.collapse:
      ends_T = np.round(np.cumsum(self.durations_V[ids_T])).astype(int)
      ids_T = np.repeat(ids_T, np.maximum(np.diff(ends_T, prepend=0), 1))
    name = self.default_voice if voice is None else voice
    wave_S = self.synthesized(ids_T, self.voices.index(name))
    # Speech has a root mean square near 1 here; the limit of 1 keeps silence from being amplified.
    return PEAK * wave_S / max(float(np.abs(wave_S).max(initial=0)), 1.0)

  def heard(self, ids: npt.ArrayLike) -> np.ndarray:
    """Returns the units that are decoded to sound: all of them."""
    return base.check_ids(ids, self.spec)


@dataclasses.dataclass(frozen=True, eq=False)
class FittedUnits(VoicedUnits):
  """The centroids, and the sound of each unit in each voice."""

  settings: KMeansUnits
  spread_E: np.ndarray
  centroids_VE: np.ndarray
  variance: float
  durations_V: np.ndarray
  sounds: voices.Voices

  @property
  def codebook_VE(self) -> np.ndarray:
    return self.centroids_VE

  def frames(self, utterance: Utterance) -> tuple[np.ndarray, np.ndarray]:
    """Returns (ids_T, features_TE) for the most likely warp."""
    wave_S = self.settings.align_onset(base.wave_of(utterance, self.settings.stream))
    analysis = self.settings.analysis
    cepstra = analysis.cepstra(spectrum.power(wave_S, beyond=mfcc.BEYOND))
    features_WTE = analysis.features(cepstra, self.spread_E)
    warp, ids_T = analysis.choose(features_WTE, cepstra, self.centroids_VE, self.variance)
    return ids_T, features_WTE[warp]

  def synthesized(self, ids_T: np.ndarray, voice: int) -> np.ndarray:
    """Returns wave_S of units, corrected until it encodes to the same units as far as possible.

    The mean sound of a unit is not always nearest to its own centroid, because features depend on
    the neighbors. So the sound is encoded again, and the spectrum of every unit that differs (and
    of its neighbors, for the slopes) is moved towards the centroid.
    """
    analysis = self.settings.analysis
    synthesis = self.sounds.synthesis(ids_T, voice)
    best_S, fewest = np.zeros(0, np.float32), len(ids_T) + 1
    for turn in range(CORRECTIONS + 1):
      wave_S = synthesis.sound()
      power_TE = spectrum.power(wave_S, beyond=mfcc.BEYOND)
      cepstra = analysis.cepstra(power_TE)
      features_WTE = analysis.features(cepstra, self.spread_E)
      warp, encoded_T = analysis.choose(features_WTE, cepstra, self.centroids_VE, self.variance)
      wrong_T = encoded_T != ids_T
      if wrong_T.sum() < fewest:
        best_S, fewest = wave_S, wrong_T.sum()
      if not fewest:
        break
      if not turn:
        synthesis = synthesis.corrected(power_TE[INNER])
      near_T = np.convolve(np.pad(wrong_T, 1), np.ones(3), "valid")[:, None] > 0
      error_TE = near_T * (self.centroids_VE[ids_T] - features_WTE[warp])
      change_TE = analysis.change(CORRECTION * error_TE, cepstra, warp, self.spread_E)
      synthesis = synthesis.changed(change_TE, analysis.centers_hz(warp))
    return best_S

  def parameters(self) -> dict[str, np.ndarray]:
    return {
      "spread_E": self.spread_E,
      "centroids_VE": self.centroids_VE,
      "variance": np.array([self.variance]),
      "durations_V": self.durations_V,
      **self.sounds.parameters(),
    }


def runs(ids_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns (ids, lengths) of the runs of equal ids."""
  starts = np.flatnonzero(np.concatenate([[True], ids_T[1:] != ids_T[:-1]]))
  return ids_T[starts], np.diff(np.append(starts, len(ids_T))).astype(np.int32)


def _span(clear_T: np.ndarray) -> slice:
  """Returns the slice from the first to the last clear unit: outer silence is no pause."""
  clear = np.flatnonzero(clear_T)
  return slice(clear[0], clear[-1] + 1) if len(clear) else slice(0, 0)


def durations(utterances: Sequence[np.ndarray], size: int) -> np.ndarray:
  """Returns durations_V: the mean run length of each unit, 1 for units that do not occur."""
  units_V, runs_V = np.zeros(size), np.zeros(size)
  for ids_T in utterances:
    run_ids, lengths = runs(ids_T)
    np.add.at(units_V, run_ids, lengths)
    np.add.at(runs_V, run_ids, 1)
  return (np.maximum(units_V, 1) / np.maximum(runs_V, 1)).astype(np.float32)
