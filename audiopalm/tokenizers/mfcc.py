"""What units are clusters of: MFCCs with their slopes, the speaker taken out of them.

Three things take the speaker out, each from the utterance alone, so that an unknown speaker needs
no statistics: the mean and variance of every coefficient, and a warp of the frequency axis that
makes the vocal tract the training speakers' average (`warps` > 1), chosen where the features lie
nearest to the centroids. Source: vocal tract length normalisation, Lee and Rose, 1996.
"""

import dataclasses
import functools

import numpy as np

from audiopalm.audio import spectrum
from audiopalm.tokenizers import kmeans

LARGEST_WARP = 1.32
WARP_SPREAD = 0.15  # standard deviation of ln(warp) expected before anything is heard
WHITENING = 0.5  # 0 leaves coefficients their variance (mostly the lowest ones'), 1 makes all equal


@dataclasses.dataclass(frozen=True)
class Analysis:
  """How a wave becomes features; fields as in `units.KMeansUnits`."""

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
    """filters_EM of every warp, side by side."""
    return np.concatenate(
      [
        spectrum.mel_filters(self.bins, self.low_hz, self.high_hz, warp=float(warp))
        for warp in self.warp_factors
      ],
      axis=1,
    )

  def cepstra(self, power_TE: np.ndarray) -> np.ndarray:
    """Returns cepstra_WTE with a mean of 0 over the utterance: one version per warp."""
    log_mel_TM = spectrum.log_mel(power_TE, self.filters)
    log_mel_TWM = log_mel_TM.reshape(len(log_mel_TM), self.warps, self.bins)
    floor_W = log_mel_TWM.max(axis=(0, 2)) - np.float32(self.floor_db * np.log(10) / 10)
    log_mel_TWM = np.maximum(log_mel_TWM, floor_W[:, None])
    cepstra_TWE = spectrum.cosines(log_mel_TWM, self.coefficients)
    return (cepstra_TWE - cepstra_TWE.mean(axis=0)).transpose(1, 0, 2)

  def features(self, cepstra_WTE: np.ndarray, spread_E: np.ndarray) -> np.ndarray:
    """Returns features_WTE at the unit rate: a unit's levels and slopes, then its neighbours'.

    `spread_E` is the training cepstra's standard deviation.
    """
    warps, frames, coefficients = cepstra_WTE.shape
    level_WTE = cepstra_WTE * self._gain(cepstra_WTE, spread_E)[:, None]
    level_TE = level_WTE.transpose(1, 0, 2).reshape(frames, -1)
    slope_TE = self.slope_weight * spectrum.slopes(level_TE)
    own_TWE = np.concatenate(
      [self._pooled(part_TE).reshape(-1, warps, coefficients) for part_TE in (level_TE, slope_TE)],
      axis=2,
    )
    padded_TWE = self.context_weight * np.pad(own_TWE, ((1, 1), (0, 0), (0, 0)), mode="edge")
    features_TWE = np.concatenate([own_TWE, padded_TWE[:-2], padded_TWE[2:]], axis=2)
    return np.ascontiguousarray(features_TWE.transpose(1, 0, 2), np.float32)

  def change(
    self, lacking_TE: np.ndarray, cepstra_TE: np.ndarray, spread_E: np.ndarray
  ) -> np.ndarray:
    """Returns change_TE of the log-mel frames at `bins` warped centres that adds `lacking_TE`.

    The inverse of `features` for an utterance whose warp is known, as far as a straight line within
    each unit goes: its level and its slope; neighbours are left to their own.
    """
    gain_E = self._gain(cepstra_TE[None], spread_E)[0]
    level_TE = lacking_TE[:, : self.coefficients] / gain_E
    slope_TE = lacking_TE[:, self.coefficients : 2 * self.coefficients] / gain_E
    middle = (self.frames_per_unit - 1) / 2
    place_P = (np.arange(self.frames_per_unit) - middle)[:, None] / max(self.slope_weight, 1)
    change_TPE = level_TE[:, None] + place_P * slope_TE[:, None]
    change_TE = change_TPE.reshape(-1, self.coefficients)
    return change_TE @ spectrum.cosine_basis(self.bins, self.coefficients).T

  def centres_hz(self, warp: int) -> np.ndarray:
    """Returns where the bins of a warp lie."""
    plain_hz = spectrum.centres_hz(self.bins, self.low_hz, self.high_hz)
    return spectrum.warped_hz(plain_hz, self.warp_factors[warp], self.high_hz)[1:-1]

  def choose(self, features_WTE: np.ndarray, centroids_VE: np.ndarray, variance: float) -> int:
    """Returns the warp whose features are likeliest under the centroids.

    Each frame counts as one dimension's worth of evidence against the expectation that the warp is
    near 1, so that a word or two leave it there.
    """
    if self.warps == 1:
      return 0
    flat_TE = features_WTE.reshape(-1, features_WTE.shape[-1])
    distance_WT = kmeans.nearest(flat_TE, centroids_VE)[1].reshape(self.warps, -1)
    surprise_W = np.square(np.log(self.warp_factors) / WARP_SPREAD)
    return int(np.argmin(distance_WT.sum(axis=1) / variance + surprise_W))

  def _gain(self, cepstra_WTE: np.ndarray, spread_E: np.ndarray) -> np.ndarray:
    """Returns gain_WE, by which an utterance's coefficients get the deviation all are to have."""
    # A flat utterance (a hum, one frame) keeps small values instead of noise blown up.
    deviation_WE = np.maximum(cepstra_WTE.std(axis=1), 0.1 * spread_E)
    return spread_E ** (1 - WHITENING) / deviation_WE

  def _pooled(self, values_TE: np.ndarray) -> np.ndarray:
    """Returns the mean of each unit's frames; the last unit's go on as its last one."""
    missing = -len(values_TE) % self.frames_per_unit
    padded_TE = np.pad(values_TE, ((0, missing), (0, 0)), mode="edge")
    return padded_TE.reshape(-1, self.frames_per_unit, values_TE.shape[1]).mean(axis=1)
