"""The features of which units are clusters: speaker-normalized MFCCs and their slopes.

Features are normalized in three ways from the utterance alone, so no statistics of its speaker are
needed: the mean and the variance of every coefficient, and a warp of the frequency axis to the
average vocal tract of the training speakers (`warps` > 1), chosen to bring the features nearest to
the centroids. All are estimated on clear speech (`spectrum.voice_activity`), as silence and noise
do not depend on the speaker. Source: vocal tract length normalization, Lee and Rose, 1996.
"""

import dataclasses
import functools

import numpy as np

from audiopalm.audio import spectrum
from audiopalm.tokenizers import kmeans

LARGEST_WARP = 1.32
WARP_SPREAD = 0.15  # prior standard deviation of ln(warp)
BEYOND = 1  # frames before and after a wave that overlap it
PEAKS_DB = 12.5  # level of the highest bins of speech above that of loud frames
SILENT_AT = 3.0  # standard deviations of silence below the mean loudness of speech
WHITENING = 0.5  # 0 keeps the variances of coefficients (largest in the lowest), 1 equalizes them


@dataclasses.dataclass(frozen=True)
class Analysis:
  """Computes the features of a wave; the fields are those of `units.KMeansUnits`."""

  frames_per_unit: int
  bins: int
  coefficients: int
  low_hz: float
  high_hz: float
  floor_db: float
  slope_weight: float
  context_weight: float
  warps: int

  @functools.cached_property
  def warp_factors(self) -> np.ndarray:
    if self.warps == 1:
      return np.ones(1)
    return np.exp(np.linspace(-1, 1, self.warps) * np.log(LARGEST_WARP))

  @functools.cached_property
  def filters(self) -> np.ndarray:
    """filters_EM of all warps, concatenated."""
    return np.concatenate(
      [
        spectrum.mel_filters(self.bins, self.low_hz, self.high_hz, warp=float(warp))
        for warp in self.warp_factors
      ],
      axis=1,
    )

  def cepstra(self, power_TE: np.ndarray) -> "Cepstra":
    """Returns the cepstra for every warp of a power spectrum with BEYOND extra frames per end."""
    speech = spectrum.voice_activity(power_TE)
    log_mel_TM = spectrum.log_mel(power_TE, self.filters)
    floor = (speech.loud_db + PEAKS_DB - self.floor_db) * np.log(10) / 10
    log_mel_TM = np.maximum(log_mel_TM, np.float32(floor))
    log_mel_TWM = log_mel_TM.reshape(len(log_mel_TM), self.warps, self.bins)
    cepstra_TWE = spectrum.cosines(log_mel_TWM, self.coefficients)
    cepstra_TWE -= _mean(cepstra_TWE, speech.clear_T)
    squares_WE = _mean(np.square(cepstra_TWE), speech.clear_T)
    return Cepstra(cepstra_TWE, np.sqrt(squares_WE), speech)

  def features(self, cepstra: "Cepstra", spread_E: np.ndarray) -> np.ndarray:
    """Returns features_WTE at the unit rate: a unit's levels and slopes, then its neighbors'.

    `spread_E` is the standard deviation of the training cepstra. Silence, also before and after the
    wave, is a single point in feature space, so units do not depend on its duration.
    """
    frames, warps, coefficients = cepstra.values_TWE.shape
    silent_E = _silent(spread_E)
    level_TWE = cepstra.values_TWE * self._gain(cepstra, spread_E) - silent_E
    level_TE = level_TWE.reshape(frames, -1) * cepstra.speech.speech_T[:, None]
    # Pad one unit of silence on each side, for slopes and neighbors; BEYOND frames exist already.
    before = self.frames_per_unit - BEYOND
    after = before + -(frames - 2 * BEYOND) % self.frames_per_unit
    level_TE = np.pad(level_TE, ((before, after), (0, 0)))
    slope_TE = self.slope_weight * spectrum.slopes(level_TE)
    level_TWE, slope_TWE = (
      self._pooled(part_TE).reshape(-1, warps, coefficients) for part_TE in (level_TE, slope_TE)
    )
    own_TWE = np.concatenate([level_TWE + silent_E, slope_TWE], axis=2)
    near_TWE = np.float32(self.context_weight) * own_TWE
    features_TWE = np.concatenate([own_TWE[1:-1], near_TWE[:-2], near_TWE[2:]], axis=2)
    return np.ascontiguousarray(features_TWE.transpose(1, 0, 2), np.float32)

  def change(
    self, error_TE: np.ndarray, cepstra: "Cepstra", warp: int, spread_E: np.ndarray
  ) -> np.ndarray:
    """Returns change_TE to add to log-mel frames with warped centers, so that features change by
    `error_TE`. This inverts `features` for a known warp, with a straight line within each unit;
    neighbors are ignored."""
    gain_E = self._gain(cepstra, spread_E)[warp]
    level_TE = error_TE[:, : self.coefficients] / gain_E
    slope_TE = error_TE[:, self.coefficients : 2 * self.coefficients] / gain_E
    middle = (self.frames_per_unit - 1) / 2
    place_P = (np.arange(self.frames_per_unit) - middle)[:, None] / max(self.slope_weight, 1)
    change_TPE = level_TE[:, None] + place_P * slope_TE[:, None]
    change_TE = change_TPE.reshape(-1, self.coefficients)
    return change_TE @ spectrum.cosine_basis(self.bins, self.coefficients).T

  def centers_hz(self, warp: int) -> np.ndarray:
    """Returns the centers of the mel bins of a warp."""
    plain_hz = spectrum.centers_hz(self.bins, self.low_hz, self.high_hz)
    return spectrum.warped_hz(plain_hz, self.warp_factors[warp], self.high_hz)[1:-1]

  def choose(
    self,
    features_WTE: np.ndarray,
    cepstra: "Cepstra",
    centroids_VE: np.ndarray,
    variance: float,
  ) -> tuple[int, np.ndarray]:
    """Returns (warp, ids_T): the most likely warp, and each unit's nearest centroid under it.

    A unit is one dimension of evidence, weighted by how clear its speech is; the prior prefers
    warps near 1.
    """
    flat_TE = features_WTE.reshape(-1, features_WTE.shape[-1])
    ids_WT, distance_WT = (
      values.reshape(self.warps, -1) for values in kmeans.nearest(flat_TE, centroids_VE)
    )
    prior_W = np.square(np.log(self.warp_factors) / WARP_SPREAD)
    warp = int(np.argmin(distance_WT @ self.clear(cepstra) / variance + prior_W))
    return warp, ids_WT[warp]

  def clear(self, cepstra: "Cepstra") -> np.ndarray:
    """Returns the weight of clear speech in each unit: the mean over its frames."""
    clear_T = cepstra.speech.clear_T[BEYOND:-BEYOND]
    missing = -len(clear_T) % self.frames_per_unit
    return np.pad(clear_T, (0, missing)).reshape(-1, self.frames_per_unit).mean(axis=1)

  def _gain(self, cepstra: "Cepstra", spread_E: np.ndarray) -> np.ndarray:
    """Returns gain_WE, which scales an utterance's coefficients to the common deviation."""
    # The floor keeps an utterance without variation (a hum, one frame) from amplified noise.
    return spread_E ** (1 - WHITENING) / np.maximum(cepstra.deviation_WE, 0.1 * spread_E)

  def _pooled(self, values_TE: np.ndarray) -> np.ndarray:
    """Returns the mean of each unit's frames; the frames fill whole units."""
    return values_TE.reshape(-1, self.frames_per_unit, values_TE.shape[1]).mean(axis=1)


@dataclasses.dataclass(frozen=True, eq=False)
class Cepstra:
  """Cepstra of an utterance and BEYOND frames on each side. Over clear speech their mean is 0 and
  their standard deviation is `deviation_WE`."""

  values_TWE: np.ndarray
  deviation_WE: np.ndarray
  speech: spectrum.VoiceActivity


def _mean(values_TWE: np.ndarray, weights_T: np.ndarray) -> np.ndarray:
  """Returns the weighted mean over time, 0 if no frame has weight."""
  total = weights_T @ values_TWE.reshape(len(weights_T), -1)
  return (total / max(float(weights_T.sum()), 1e-3)).reshape(values_TWE.shape[1:])


def _silent(spread_E: np.ndarray) -> np.ndarray:
  """Returns the features of silence: a low loudness and the mean spectral shape of speech."""
  silent_E = np.zeros_like(spread_E)
  silent_E[0] = -SILENT_AT * spread_E[0] ** (1 - WHITENING)
  return silent_E
