"""Semantic units: what is said, not who says it, as ids at a fixed rate; and back to sound."""

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from audiopalm.audio import silence, spectrum, waveform
from audiopalm.errors import ConfigError, DataError
from audiopalm.tokenizers import base, kmeans, mfcc, voices
from audiopalm.types import StreamSpec, Utterance

FRAMES_HZ = round(1 / spectrum.HOP_S)
ROUNDS = 3  # of warping each training utterance to the centroids, then centroids to the utterances
PARAMETERS = "units.npz"
CORRECTIONS, CORRECTION = 4, 1.2  # times decoded sound is corrected; above 1 gets there sooner
PEAK = 0.7  # of decoded sound


@dataclasses.dataclass(frozen=True)
class KMeansUnits:
  """k-means clusters of speaker-normalised MFCCs and their slopes: HuBERT's first iteration.

  `rate_hz` units a second, each the mean of its 10 ms frames, with `context_weight` of its two
  neighbours and `slope_weight` of the slopes (frame distances are Euclidean). `bins` mel bins from
  `low_hz` to `high_hz`, `floor_db` deep under the peaks of loud frames, give `coefficients` MFCCs.
  Silence is one unit, and no recording's statistics count it; units begin where speech does, so
  that its own do not depend on how long it was silent before. `warps` vocal tract lengths are tried
  for each utterance; 1 is off, better where utterances are single words or speakers few.
  `collapse` writes a run of one unit once: shorter, its durations lost.
  `fit_s` is the speech to fit on, at most; `voices` how many speakers `decode` can sound like.
  Source: HuBERT, arXiv:2106.07447, section 3; collapsing: GSLM, arXiv:2102.01192.
  """

  rule: ClassVar[int] = 3  # 2: silence, level and offset do not count; 3: units begin with speech

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
    if self.rate_hz <= 0 or FRAMES_HZ % self.rate_hz:
      raise ConfigError(
        f"Unit stream {self.stream!r} has rate_hz={self.rate_hz}, expected a rate that divides "
        f"{FRAMES_HZ} (the frames a second). Set rate_hz=25 or rate_hz=50."
      )
    if self.size < 2:
      raise ConfigError(
        f"Unit stream {self.stream!r} has size={self.size}, expected at least 2. Set size=256."
      )
    if self.warps < 1 or self.warps % 2 == 0:
      raise ConfigError(
        f"Unit stream {self.stream!r} has warps={self.warps}, expected an odd number, so that one "
        "of them leaves the voice as it is. Set warps=11, or warps=1 for none."
      )
    if not 1 < self.coefficients <= self.bins:
      raise ConfigError(
        f"Unit stream {self.stream!r} has coefficients={self.coefficients}, expected 2 to bins="
        f"{self.bins}. Set coefficients=10."
      )
    if not 0 <= self.low_hz < self.high_hz <= waveform.RATE_HZ / 2:
      raise ConfigError(
        f"Unit stream {self.stream!r} has low_hz={self.low_hz} and high_hz={self.high_hz}, "
        f"expected 0 <= low_hz < high_hz <= {waveform.RATE_HZ // 2}. "
        "Set low_hz=60 and high_hz=7600."
      )

  @functools.cached_property
  def analysis(self) -> mfcc.Analysis:
    shared = {
      field.name: getattr(self, field.name)
      for field in dataclasses.fields(mfcc.Analysis)
      if field.name != "frames_per_unit"
    }
    return mfcc.Analysis(frames_per_unit=round(FRAMES_HZ / self.rate_hz), **shared)

  @property
  def largest(self) -> StreamSpec:
    """Its spec, which fitting does not change."""
    rate_hz = None if self.collapse else self.rate_hz
    return StreamSpec(self.stream, "speech", (self.size,), rate_hz, "")

  def on_grid(self, wave_S: np.ndarray) -> np.ndarray:
    """Returns wave_S at 16 kHz with its speech at the beginning of a unit."""
    return silence.on_grid(wave_S, round(waveform.RATE_HZ / self.rate_hz), waveform.RATE_HZ)

  def check(self) -> None:
    """Returns nothing: utterances are all it needs."""

  def fit(self, utterances: Iterable[Utterance], seed: int) -> "FittedUnits":
    """Returns the tokenizer fitted on the first `fit_s` seconds of the utterances' speech."""
    heard = [(name, self.on_grid(wave_S)) for name, wave_S in base.heard(utterances, self.fit_s)]
    powers = [spectrum.power(wave_S, beyond=mfcc.BEYOND) for _, wave_S in heard]
    cepstra = [self.analysis.cepstra(power_TE) for power_TE in powers]
    plain = self.warps // 2
    variances = [np.square(one.deviation_WE[plain]) for one in cepstra]
    spread_E = np.sqrt(np.mean(variances, axis=0)) + 1e-3
    features = [self.analysis.features(one, spread_E) for one in cepstra]
    units = sum(f.shape[1] for f in features)
    if units < self.size:
      raise DataError(
        f"Expected at least {self.size} units of speech to fit the stream {self.stream!r} on, the "
        f"training split has {units} ({units / self.rate_hz:.1f} s). Give it more recordings, or "
        f"set tokenizers.{self.stream}.size={max(2, units // 10)}."
      )
    random = np.random.default_rng(seed)
    centroids_VE = None
    chosen = [f[plain] for f in features]
    clear_T = np.concatenate([self.analysis.clear(one) for one in cepstra])
    variance = 1.0
    for turn in range(ROUNDS if self.warps > 1 else 1):
      if turn:
        chosen = [
          f[self.analysis.choose(f, one, centroids_VE, variance)[0]]
          for f, one in zip(features, cepstra, strict=True)
        ]
      together_TE = np.concatenate(chosen)
      centroids_VE = kmeans.fit(together_TE, self.size, random, centroids_VE=centroids_VE)
      ids_T, distance_T = kmeans.nearest(together_TE, centroids_VE)
      variance = float(distance_T @ clear_T / max(float(clear_T.sum()), 1)) + 1e-6
    bare = FittedUnits(self, spread_E, centroids_VE, variance, np.ones(self.size), None)
    inner = slice(mfcc.BEYOND, -mfcc.BEYOND)
    examples = [
      voices.Example(
        name, wave_S, bare._ids(f, c), voices.log_mel(power_TE[inner]), c.speech.speech_T[inner]
      )
      for (name, wave_S), power_TE, c, f in zip(heard, powers, cepstra, features, strict=True)
    ]
    spoken = [
      one.ids_T[_span(self.analysis.clear(c))] for one, c in zip(examples, cepstra, strict=True)
    ]
    return dataclasses.replace(
      bare,
      durations_V=_durations(spoken, self.size),
      sounds=voices.learn(examples, self.size, self.analysis.frames_per_unit, self.voices),
    )

  def load(self, folder: Path) -> "FittedUnits":
    base.check_settings(self, folder)
    with np.load(Path(folder) / PARAMETERS, allow_pickle=False) as found:
      names = tuple(str(name) for name in found["names"])
      arrays = [found[name] for name in ("log_mel_NVPM", "log_pitch_NV", "voicing_NV")]
      sounds = voices.Voices(names, str(found["most_heard"]), *arrays)
      return FittedUnits(
        self, found["spread_E"], found["centroids_VE"], float(found["variance"][0]),
        found["durations_V"], sounds,
      )  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class FittedUnits:
  """Centroids, and how each voice says each of them."""

  settings: KMeansUnits
  spread_E: np.ndarray
  centroids_VE: np.ndarray
  variance: float
  durations_V: np.ndarray
  sounds: voices.Voices

  @property
  def voices(self) -> tuple[str, ...]:
    return self.sounds.names

  @property
  def default_voice(self) -> str:
    """The voice that the tokenizer heard most of."""
    return self.sounds.most_heard

  @functools.cached_property
  def spec(self) -> StreamSpec:
    settings = self.settings
    fingerprint = base.fingerprint(settings, self._parameters())
    return dataclasses.replace(settings.largest, fingerprint=fingerprint)

  def encode(self, utterance: Utterance) -> np.ndarray:
    """Returns ids_T: one each 1 / rate_hz seconds begun; collapsed, one each run."""
    ids_T = self._encode(utterance)
    return runs(ids_T)[0] if self.settings.collapse else ids_T

  def decode(self, ids: Sequence[int] | np.ndarray, *, voice: str | None = None) -> np.ndarray:
    """Returns wave_S at 16 kHz in one of `voices`; collapsed units last what they do on average."""
    ids_T = np.asarray(ids, np.int64).reshape(-1)
    if len(ids_T) and not (0 <= ids_T.min() and ids_T.max() < self.settings.size):
      raise DataError(
        f"Expected ids of the stream {self.settings.stream!r} from 0 to {self.settings.size - 1}, "
        f"got {ids_T.min()} to {ids_T.max()}. Give the ids of this stream alone, as `encode` does."
      )
    base.check_voice(voice, self.spec, self.voices)
    name = self.default_voice if voice is None else voice
    if self.settings.collapse and len(ids_T):
      ends_T = np.round(np.cumsum(self.durations_V[ids_T])).astype(int)
      ids_T = np.repeat(ids_T, np.maximum(np.diff(ends_T, prepend=0), 1))
    if not len(ids_T):
      return np.zeros(0, np.float32)
    wave_S = self._said(ids_T, self.voices.index(name))
    # Speech has a root mean square near 1 here; silence alone is not to become a roar.
    return PEAK * wave_S / max(float(np.abs(wave_S).max()), 1.0)

  def save(self, folder: Path) -> None:
    base.write_settings(self.settings, Path(folder))
    np.savez(Path(folder) / PARAMETERS, **self._parameters())

  def _encode(self, utterance: Utterance) -> np.ndarray:
    wave_S = self.settings.on_grid(base.wave_of(utterance, self.settings.stream))
    analysis = self.settings.analysis
    cepstra = analysis.cepstra(spectrum.power(wave_S, beyond=mfcc.BEYOND))
    return self._ids(analysis.features(cepstra, self.spread_E), cepstra)

  def _said(self, ids_T: np.ndarray, voice: int) -> np.ndarray:
    """Returns wave_S of units, corrected where it would not be heard as them.

    The mean sound of a unit need not lie nearest to its centroid: those of others may be around it,
    and the neighbours of the moment count too. So the tokenizer listens to itself, and moves the
    spectrum at each unit it mishears (and beside it, for slopes) towards the centroid.
    """
    analysis = self.settings.analysis
    plan = self.sounds.plan(ids_T, voice)
    best_S, fewest = np.zeros(0, np.float32), len(ids_T) + 1
    inner = slice(mfcc.BEYOND, -mfcc.BEYOND)
    for turn in range(CORRECTIONS + 1):
      wave_S = plan.sound()
      power_TE = spectrum.power(wave_S, beyond=mfcc.BEYOND)
      cepstra = analysis.cepstra(power_TE)
      features_WTE = analysis.features(cepstra, self.spread_E)
      warp, heard_T = analysis.choose(features_WTE, cepstra, self.centroids_VE, self.variance)
      missed_T = heard_T != ids_T
      if missed_T.sum() < fewest:
        best_S, fewest = wave_S, missed_T.sum()
      if not fewest:
        break
      if not turn:
        plan = plan.heard(power_TE[inner])
      near_T = np.convolve(np.pad(missed_T, 1), np.ones(3), "valid")[:, None] > 0
      lacking_TE = near_T * (self.centroids_VE[ids_T] - features_WTE[warp])
      change_TE = analysis.change(CORRECTION * lacking_TE, cepstra, warp, self.spread_E)
      plan = plan.changed(change_TE, analysis.centres_hz(warp))
    return best_S

  def _ids(self, features_WTE: np.ndarray, cepstra: mfcc.Cepstra) -> np.ndarray:
    analysis = self.settings.analysis
    _, ids_T = analysis.choose(features_WTE, cepstra, self.centroids_VE, self.variance)
    return ids_T.astype(np.int32)

  def _parameters(self) -> dict[str, np.ndarray]:
    sounds = self.sounds
    return {
      "spread_E": self.spread_E,
      "centroids_VE": self.centroids_VE,
      "variance": np.array([self.variance]),
      "durations_V": self.durations_V,
      "names": np.array(sounds.names),
      "most_heard": np.array(sounds.most_heard),
      "log_mel_NVPM": sounds.log_mel_NVPM,
      "log_pitch_NV": sounds.log_pitch_NV,
      "voicing_NV": sounds.voicing_NV,
    }


def runs(ids_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns each run's id and its length."""
  starts = np.flatnonzero(np.concatenate([[True], ids_T[1:] != ids_T[:-1]]))
  return ids_T[starts], np.diff(np.append(starts, len(ids_T))).astype(np.int32)


def _span(clear_T: np.ndarray) -> slice:
  """Returns from the first to the last unit of clear speech: how long somebody waited before and
  after says nothing of how long a pause lasts."""
  clear = np.flatnonzero(clear_T)
  return slice(clear[0], clear[-1] + 1) if len(clear) else slice(0, 0)


def _durations(utterances: Sequence[np.ndarray], size: int) -> np.ndarray:
  """Returns durations_V: how many units a run of each lasts on average, 1 for units never met."""
  units_V, runs_V = np.zeros(size), np.zeros(size)
  for ids_T in utterances:
    once_T, lengths_T = runs(ids_T)
    np.add.at(units_V, once_T, lengths_T)
    np.add.at(runs_V, once_T, 1)
  return (np.maximum(units_V, 1) / np.maximum(runs_V, 1)).astype(np.float32)
