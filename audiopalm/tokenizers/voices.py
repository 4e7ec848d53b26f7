"""How each voice says each unit: the inverse of a unit tokenizer, learnt by averaging."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from audiopalm.audio import spectrum, vocoder

BINS, LOW_HZ, HIGH_HZ = 40, 60.0, 7_600.0
LARGEST_CHANGE = 2.0  # nepers of power at a time: a correction is not to be heard as a click
PRIOR_FRAMES = 4.0  # a unit heard that often in a voice is trusted as much as the other voices
OCTAVE = np.log(2)
SILENCE_DB = 70.0  # under the speech of an utterance
PITCH_S = 40.0  # speech of a voice whose pitch is measured: the slow part


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
  """One utterance to learn from: its speaker, wave, units, log-mel spectrum (10 ms frames), and how
  far each frame is speech (0 to 1)."""

  speaker: str
  wave_S: np.ndarray
  ids_T: np.ndarray
  log_mel_TM: np.ndarray
  speech_T: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Voices:
  """Arrays over N voices and V units; P is the place of a 10 ms frame within its unit."""

  names: tuple[str, ...]
  most_heard: str
  log_mel_NVPM: np.ndarray
  log_pitch_NV: np.ndarray
  voicing_NV: np.ndarray

  def plan(self, ids_T: np.ndarray, voice: int) -> "Plan":
    """Returns how a voice says units of one length each."""
    places = self.log_mel_NVPM.shape[2]
    log_mel_TM = self.log_mel_NVPM[voice, ids_T].reshape(-1, BINS)
    log_pitch_T = np.repeat(self.log_pitch_NV[voice, ids_T], places)
    voicing_T = np.repeat(self.voicing_NV[voice, ids_T], places)
    pitch_T = np.exp(smooth(log_pitch_T[:, None], 5)[:, 0])
    excitation_TE = vocoder.excitation(pitch_T, smooth(voicing_T[:, None], 3)[:, 0])
    log_mel_TM = smooth(log_mel_TM, 3)
    return Plan(log_mel_TM, log_mel_TM, excitation_TE)


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
  """What to say (10 ms frames): a spectrum, the filters expected to give it, and their source."""

  wanted_TM: np.ndarray
  filter_TM: np.ndarray
  excitation_TE: np.ndarray

  def sound(self) -> np.ndarray:
    return vocoder.sound(self.filter_TM, self.excitation_TE, low_hz=LOW_HZ, high_hz=HIGH_HZ)

  def heard(self, power_TE: np.ndarray) -> "Plan":
    """Returns the plan with filters that make up for what its sound, of that power, lacks."""
    lacking_TM = np.clip(self.wanted_TM - log_mel(power_TE), -2, 2)
    return dataclasses.replace(self, filter_TM=self.filter_TM + lacking_TM)

  def changed(self, change_TE: np.ndarray, at_hz: np.ndarray) -> "Plan":
    """Returns the plan with its spectrum changed by `change_TE`, given at frequencies `at_hz`."""
    lines_EM = spectrum.between(at_hz, spectrum.centres_hz(BINS, LOW_HZ, HIGH_HZ)[1:-1])
    change_TM = np.clip(smooth(change_TE @ lines_EM, 3), -LARGEST_CHANGE, LARGEST_CHANGE)
    return Plan(self.wanted_TM + change_TM, self.filter_TM + change_TM, self.excitation_TE)


def learn(examples: Sequence[Example], size: int, places: int, limit: int) -> Voices:
  """Returns the `limit` voices with most speech, each unit's sound by their mean over its frames.

  A voice that says a unit seldom leans on all voices' mean, moved by how the voice differs from it.
  """
  frames = {}
  for one in examples:
    frames[one.speaker] = frames.get(one.speaker, 0) + float(one.speech_T.sum())
  most = sorted(frames, key=lambda name: (-frames[name], name))[:limit]
  names = tuple(sorted(most))
  tally = _Tally.empty(len(names), size, places)
  measured_s = dict.fromkeys(names, 0.0)
  for one in examples:
    if one.speaker in measured_s:
      voice = names.index(one.speaker)
      tally.hear(voice, one)
      if measured_s[one.speaker] < PITCH_S:
        tally.hear_pitch(voice, one)
        measured_s[one.speaker] += float(one.speech_T.sum()) * spectrum.HOP_S
  return Voices(names, most[0], tally.log_mel(), *tally.pitch())


@dataclasses.dataclass(frozen=True, eq=False)
class _Tally:
  """Sums over the frames heard so far, and how many there were."""

  log_mel_NVPM: np.ndarray
  heard_NVP: np.ndarray
  log_pitch_NV: np.ndarray
  trusted_NV: np.ndarray
  voiced_NV: np.ndarray
  measured_NV: np.ndarray

  @classmethod
  def empty(cls, voices: int, size: int, places: int) -> "_Tally":
    return cls(
      np.zeros((voices, size, places, BINS)),
      np.zeros((voices, size, places)),
      *(np.zeros((voices, size)) for _ in range(4)),
    )

  def hear(self, voice: int, one: Example) -> None:
    """Adds an utterance's spectrum, its speech at the loudness all utterances are brought to.

    What is far under it counts as SILENCE_DB under it: zeros are no other silence than a room's.
    """
    power_T = np.exp(one.log_mel_TM).mean(axis=1)
    level = np.log(one.speech_T @ power_T / max(float(one.speech_T.sum()), 1e-3) + spectrum.SILENCE)
    log_mel_TM = np.maximum(one.log_mel_TM - level, -SILENCE_DB * np.log(10) / 10)
    unit_T, place_T = self._where(one)
    np.add.at(self.log_mel_NVPM[voice], (unit_T, place_T), log_mel_TM)
    np.add.at(self.heard_NVP[voice], (unit_T, place_T), 1)

  def hear_pitch(self, voice: int, one: Example) -> None:
    unit_T, _ = self._where(one)
    pitch_T, periodicity_T = vocoder.pitch(one.wave_S)
    log_pitch_T = np.log(pitch_T)
    voiced_T = periodicity_T > vocoder.VOICED
    usual = np.median(log_pitch_T[voiced_T]) if voiced_T.any() else 0.0
    trusted_T = voiced_T & (np.abs(log_pitch_T - usual) < OCTAVE / 2)  # half or double: mistaken
    np.add.at(self.log_pitch_NV[voice], unit_T, np.where(trusted_T, log_pitch_T, 0))
    np.add.at(self.trusted_NV[voice], unit_T, trusted_T)
    np.add.at(self.voiced_NV[voice], unit_T, voiced_T)
    np.add.at(self.measured_NV[voice], unit_T, 1)

  def log_mel(self) -> np.ndarray:
    return _leaning(self.log_mel_NVPM, self.heard_NVP[..., None]).astype(np.float32)

  def pitch(self) -> tuple[np.ndarray, np.ndarray]:
    """Returns (log_pitch_NV, voicing_NV)."""
    log_pitch_NV = _leaning(self.log_pitch_NV, self.trusted_NV)
    voicing_NV = np.clip(_leaning(self.voiced_NV, self.measured_NV), 0, 1)
    return log_pitch_NV.astype(np.float32), voicing_NV.astype(np.float32)

  def _where(self, one: Example) -> tuple[np.ndarray, np.ndarray]:
    """Returns the unit of each 10 ms frame, and the frame's place in it."""
    places = self.heard_NVP.shape[2]
    unit_T = np.repeat(one.ids_T, places)[: len(one.log_mel_TM)]
    return unit_T, np.arange(len(one.log_mel_TM)) % places


def _leaning(total: np.ndarray, count: np.ndarray) -> np.ndarray:
  """Returns means per voice and unit (axes 0 and 1), drawn to all voices' where counts are small.

  Voices are compared over all their units and places; the last axis of a spectrum, its bins (1 in
  `count`), stays apart.
  """
  rest = tuple(range(1, 3 if count.ndim > 2 else 2))
  overall = total.sum(axis=(0, *rest), keepdims=True) / max(count.sum(), 1)
  unit = (total.sum(axis=0) + PRIOR_FRAMES * overall[0]) / (count.sum(axis=0) + PRIOR_FRAMES)
  heard = np.maximum(count.sum(axis=rest, keepdims=True), 1)
  shift = (total - count * unit).sum(axis=rest, keepdims=True) / heard
  return (total + PRIOR_FRAMES * (unit + shift)) / (count + PRIOR_FRAMES)


def smooth(values_TM: np.ndarray, width: int) -> np.ndarray:
  """Returns the mean over `width` frames with triangular weights, the ends held."""
  weights = np.bartlett(width + 2)[1:-1]
  weights = weights / weights.sum()
  reach = width // 2
  padded_TM = np.pad(values_TM, ((reach, reach), (0, 0)), mode="edge")
  shifted = (padded_TM[step : step + len(values_TM)] for step in range(width))
  return sum(
    weight * part_TM for weight, part_TM in zip(weights.astype(np.float32), shifted, strict=True)
  )


def log_mel(power_TE: np.ndarray) -> np.ndarray:
  """Returns log_mel_TM as voices learn it."""
  return spectrum.log_mel(power_TE, spectrum.mel_filters(BINS, LOW_HZ, HIGH_HZ))
