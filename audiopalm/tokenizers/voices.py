"""The sound of each unit in each voice, learned by averaging: the decoder of a unit tokenizer."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from audiopalm.audio import spectrum, vocoder

BINS, LOW_HZ, HIGH_HZ = 40, 60.0, 7_600.0
LARGEST_CHANGE = 2.0  # nepers of power per correction: a larger one would click
PRIOR_FRAMES = 4.0  # weight of the mean over voices, in frames of a unit in one voice
OCTAVE = np.log(2)
SILENCE_DB = 70.0  # level of silence below the speech of an utterance
ARRAYS = ("log_mel_NVPM", "log_pitch_NV", "voicing_NV")
PITCH_S = 40.0  # seconds of speech per voice whose pitch is measured, as that is slow


@dataclasses.dataclass(frozen=True, eq=False)
class VoiceSample:
  """An utterance to learn from: its units, and its 10 ms frames with the share of speech in each,
  `speech_T` (0 to 1)."""

  speaker: str
  wave_S: np.ndarray
  ids_T: np.ndarray
  log_mel_TM: np.ndarray
  speech_T: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Voices:
  """Arrays over N voices and V units; P is the index of a 10 ms frame within its unit."""

  names: tuple[str, ...]
  most_heard: str
  log_mel_NVPM: np.ndarray
  log_pitch_NV: np.ndarray
  voicing_NV: np.ndarray

  def synthesis(self, ids_T: np.ndarray, voice: int) -> "Synthesis":
    """Returns the synthesis of units in a voice, each with the length of a unit."""
    places = self.log_mel_NVPM.shape[2]
    log_mel_TM = self.log_mel_NVPM[voice, ids_T].reshape(-1, BINS)
    log_pitch_T = np.repeat(self.log_pitch_NV[voice, ids_T], places)
    voicing_T = np.repeat(self.voicing_NV[voice, ids_T], places)
    pitch_T = np.exp(smooth(log_pitch_T[:, None], 5)[:, 0])
    excitation_TE = vocoder.excitation(pitch_T, smooth(voicing_T[:, None], 3)[:, 0])
    log_mel_TM = smooth(log_mel_TM, 3)
    return Synthesis(log_mel_TM, log_mel_TM, excitation_TE)

  def parameters(self) -> dict[str, np.ndarray]:
    """Returns arrays by name. Inverse: `from_parameters`."""
    about = {"names": np.array(self.names), "most_heard": np.array(self.most_heard)}
    return about | {name: getattr(self, name) for name in ARRAYS}


def from_parameters(parameters: Mapping[str, np.ndarray]) -> Voices:
  """Returns the voices among the parameters of a tokenizer."""
  names = tuple(str(name) for name in parameters["names"])
  return Voices(names, str(parameters["most_heard"]), *(parameters[name] for name in ARRAYS))


@dataclasses.dataclass(frozen=True, eq=False)
class Synthesis:
  """A target spectrum (10 ms frames), the filters that should produce it, and their excitation."""

  target_TM: np.ndarray
  filter_TM: np.ndarray
  excitation_TE: np.ndarray

  def sound(self) -> np.ndarray:
    return vocoder.sound(self.filter_TM, self.excitation_TE, low_hz=LOW_HZ, high_hz=HIGH_HZ)

  def corrected(self, power_TE: np.ndarray) -> "Synthesis":
    """Returns a copy whose filters are corrected by the error of its sound; `power_TE` is the power
    spectrum of that sound."""
    error_TM = np.clip(self.target_TM - log_mel(power_TE), -2, 2)
    return dataclasses.replace(self, filter_TM=self.filter_TM + error_TM)

  def changed(self, change_TE: np.ndarray, at_hz: np.ndarray) -> "Synthesis":
    """Returns a copy with `change_TE`, whose columns are at frequencies `at_hz`, added to target
    and filters."""
    weights_EM = spectrum.interpolation(at_hz, spectrum.centers_hz(BINS, LOW_HZ, HIGH_HZ)[1:-1])
    change_TM = np.clip(smooth(change_TE @ weights_EM, 3), -LARGEST_CHANGE, LARGEST_CHANGE)
    return Synthesis(self.target_TM + change_TM, self.filter_TM + change_TM, self.excitation_TE)


def learn(samples: Sequence[VoiceSample], size: int, places: int, limit: int) -> Voices:
  """Returns the mean sound of each unit in each of the `limit` voices with the most speech. A unit
  that is rare in a voice gets the mean over voices, shifted by how the voice differs from that."""
  frames = {}
  for sample in samples:
    frames[sample.speaker] = frames.get(sample.speaker, 0) + float(sample.speech_T.sum())
  most = sorted(frames, key=lambda name: (-frames[name], name))[:limit]
  names = tuple(sorted(most))
  shape = len(names), size, places
  sums = _Sums(np.zeros((*shape, BINS)), np.zeros(shape), *np.zeros((4, *shape[:2])))
  measured_s = dict.fromkeys(names, 0.0)
  for sample in samples:
    if sample.speaker in measured_s:
      voice = names.index(sample.speaker)
      sums.add(voice, sample)
      if measured_s[sample.speaker] < PITCH_S:
        sums.add_pitch(voice, sample)
        measured_s[sample.speaker] += float(sample.speech_T.sum()) * spectrum.HOP_S
  log_mel_NVPM = _smoothed_means(sums.log_mel_NVPM, sums.frames_NVP[..., None])
  log_pitch_NV = _smoothed_means(sums.log_pitch_NV, sums.trusted_NV)
  voicing_NV = np.clip(_smoothed_means(sums.voiced_NV, sums.measured_NV), 0, 1)
  arrays = (array.astype(np.float32) for array in (log_mel_NVPM, log_pitch_NV, voicing_NV))
  return Voices(names, most[0], *arrays)


@dataclasses.dataclass(frozen=True, eq=False)
class _Sums:
  """Sums over frames, and the numbers of frames in them."""

  log_mel_NVPM: np.ndarray
  frames_NVP: np.ndarray
  log_pitch_NV: np.ndarray
  trusted_NV: np.ndarray
  voiced_NV: np.ndarray
  measured_NV: np.ndarray

  def add(self, voice: int, sample: VoiceSample) -> None:
    """Adds the spectrum of an utterance, scaled to a common loudness of its speech and clipped at
    SILENCE_DB below that, so that digital silence equals that of a room."""
    power_T, speech_T = np.exp(sample.log_mel_TM).mean(axis=1), sample.speech_T
    level = np.log(speech_T @ power_T / max(float(speech_T.sum()), 1e-3) + spectrum.SILENCE)
    log_mel_TM = np.maximum(sample.log_mel_TM - level, -SILENCE_DB * np.log(10) / 10)
    unit_T, place_T = self._places(sample)
    np.add.at(self.log_mel_NVPM[voice], (unit_T, place_T), log_mel_TM)
    np.add.at(self.frames_NVP[voice], (unit_T, place_T), 1)

  def add_pitch(self, voice: int, sample: VoiceSample) -> None:
    unit_T, _ = self._places(sample)
    pitch_T, periodicity_T = vocoder.pitch(sample.wave_S)
    log_pitch_T = np.log(pitch_T)
    voiced_T = periodicity_T > vocoder.VOICED
    median = np.median(log_pitch_T[voiced_T]) if voiced_T.any() else 0.0
    # A pitch far from the median is most likely half or twice the actual one.
    trusted_T = voiced_T & (np.abs(log_pitch_T - median) < OCTAVE / 2)
    # Units of an encoder may end before the wave does.
    log_pitch_T, trusted_T, voiced_T = (
      array_T[: len(unit_T)] for array_T in (log_pitch_T, trusted_T, voiced_T)
    )
    np.add.at(self.log_pitch_NV[voice], unit_T, np.where(trusted_T, log_pitch_T, 0))
    np.add.at(self.trusted_NV[voice], unit_T, trusted_T)
    np.add.at(self.voiced_NV[voice], unit_T, voiced_T)
    np.add.at(self.measured_NV[voice], unit_T, 1)

  def _places(self, sample: VoiceSample) -> tuple[np.ndarray, np.ndarray]:
    """Returns the unit of each 10 ms frame, and the index of the frame in it."""
    places = self.frames_NVP.shape[2]
    unit_T = np.repeat(sample.ids_T, places)[: len(sample.log_mel_TM)]
    return unit_T, np.arange(len(sample.log_mel_TM)) % places


def _smoothed_means(total: np.ndarray, count: np.ndarray) -> np.ndarray:
  """Returns means per voice and unit (axes 0 and 1), smoothed to the mean over voices.

  The difference of a voice from that mean is the same in all units and places, but another in each
  bin of a spectrum (the last axis, 1 in `count`).
  """
  rest = tuple(range(1, 3 if count.ndim > 2 else 2))
  overall = total.sum(axis=(0, *rest), keepdims=True) / max(count.sum(), 1)
  unit = (total.sum(axis=0) + PRIOR_FRAMES * overall[0]) / (count.sum(axis=0) + PRIOR_FRAMES)
  frames = np.maximum(count.sum(axis=rest, keepdims=True), 1)
  shift = (total - count * unit).sum(axis=rest, keepdims=True) / frames
  return (total + PRIOR_FRAMES * (unit + shift)) / (count + PRIOR_FRAMES)


def smooth(values_TM: np.ndarray, width: int) -> np.ndarray:
  """Returns the mean over `width` frames with triangular weights; end frames are repeated."""
  weights = np.bartlett(width + 2)[1:-1]
  weights = weights / weights.sum()
  reach = width // 2
  padded_TM = np.pad(values_TM, ((reach, reach), (0, 0)), mode="edge")
  shifted = (padded_TM[step : step + len(values_TM)] for step in range(width))
  return sum(
    weight * part_TM for weight, part_TM in zip(weights.astype(np.float32), shifted, strict=True)
  )


def log_mel(power_TE: np.ndarray) -> np.ndarray:
  """Returns log_mel_TM with the bins of voices."""
  return spectrum.log_mel(power_TE, spectrum.mel_filters(BINS, LOW_HZ, HIGH_HZ))
