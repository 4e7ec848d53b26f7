"""Semantic units of a published speech encoder: k-means clusters of the states of one layer.

    folder/config.json, preprocessor_config.json, model.safetensors    any that
                                                   models/pytorch/encoders.py opens

A workdir gets a copy of what the states depend on, so the folder is needed only at the start.
"""

import dataclasses
import functools
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import numpy as np

from audiopalm.audio import spectrum, waveform
from audiopalm.errors import CheckpointError, ConfigError, RecordError, TokenSpaceError
from audiopalm.models.pytorch import encoders
from audiopalm.tokenizers import base, kmeans, units, voices
from audiopalm.types import StreamSpec, Utterance

ENCODER = "encoder"  # the folder of the copy


@dataclasses.dataclass(frozen=True)
class NeuralUnits(base.ArraySettings):
  """k-means clusters of the states that the encoder in `folder` has after `layer` layers.

  `layer` None is the last. A unit is the nearest centroid to the mean of the states of
  1 / `rate_hz` seconds, and there are as many as whole or begun groups of them. `window_s` shortens
  Whisper's window of 30 s, for single words: its states are then not quite those published.
  `collapse`, `fit_s` and `voices` are as in `KMeansUnits`. Ids and fingerprint do not depend on the
  folder, only on what the states depend on. Products are float32 everywhere, so that the same
  recording has the same units. Source: HuBERT, arXiv:2106.07447, section 3; GSLM,
  arXiv:2102.01192.
  """

  arrays_file: ClassVar[str] = "units.npz"

  stream: str = "units"
  folder: str = ""
  layer: int | None = None
  size: int = 256
  rate_hz: float = 50.0
  window_s: float | None = None
  collapse: bool = False
  fit_s: float = 3_600.0
  voices: int = 64

  def __post_init__(self):
    name = f"Unit stream {self.stream!r}"
    base.check_spectra(name, self.rate_hz, self.size, 0, waveform.RATE_HZ / 2)
    if not self.folder:
      raise ConfigError(
        f"{name} has no folder. Name that of a speech encoder as transformers saves it: "
        f"--set tokenizers.{self.stream}.folder=DIR."
      )

  @property
  def largest(self) -> StreamSpec:
    rate_hz = None if self.collapse else self.rate_hz
    return StreamSpec(self.stream, "speech", (self.size,), rate_hz, "")

  def check(self) -> None:
    """Raises ConfigError or CheckpointError for a folder without such an encoder or layer."""
    self.opened(Path(self.folder).expanduser())

  def source_digest(self) -> str:
    """Returns the fingerprint of the encoder that is in `folder` now."""
    return self.opened(Path(self.folder).expanduser()).fingerprint

  def opened(self, folder: Path, *, whole: bool = True) -> encoders.PretrainedEncoder:
    """Returns the encoder in a folder; `whole` is as in `encoders.open`."""
    encoder = encoders.open(folder, self.layer, self.window_s, whole=whole)
    if encoder.rate_hz % self.rate_hz:
      raise ConfigError(
        f"Unit stream {self.stream!r} has rate_hz={self.rate_hz}, expected a divisor of the "
        f"{encoder.rate_hz:g} states a second of the encoder in {folder}. Set rate_hz=25 or "
        "rate_hz=50."
      )
    return encoder

  def fit(self, utterances: Iterable[Utterance], seed: int) -> "FittedNeuralUnits":
    """Returns the tokenizer fitted on the first `fit_s` seconds of the utterances' speech."""
    folder = Path(self.folder).expanduser()
    encoder = self.opened(folder)
    speakers, waves, features = [], [], []
    for speaker, wave_S in base.speech_waves(utterances, self.fit_s):
      feature_TD = self.features(encoder, wave_S)
      if len(feature_TD):
        speakers.append(speaker)
        waves.append(wave_S)
        features.append(feature_TD)
    self.check_frames(sum(map(len, features)), "units")
    random = np.random.default_rng(seed)
    centroids_VD = kmeans.fit(np.concatenate(features), self.size, random)
    ids = [kmeans.nearest(feature_TD, centroids_VD)[0] for feature_TD in features]
    places = round(base.FRAMES_HZ / self.rate_hz)
    samples = [
      _sample(speaker, wave_S, ids_T, places)
      for speaker, wave_S, ids_T in zip(speakers, waves, ids, strict=True)
    ]
    sounds = voices.learn(samples, self.size, places, self.voices)
    durations_V = units.durations(ids, self.size)
    return FittedNeuralUnits(
      self, folder, True, encoder.fingerprint, centroids_VD, durations_V, sounds
    )

  def load(self, folder: Path) -> "FittedNeuralUnits":
    base.check_settings(self, folder)
    with np.load(Path(folder) / self.arrays_file, allow_pickle=False) as arrays:
      return FittedNeuralUnits(
        self, Path(folder) / ENCODER, False, str(arrays["encoder"]), arrays["centroids_VD"],
        arrays["durations_V"], voices.from_parameters(arrays),
      )  # fmt: skip

  def features(self, encoder: encoders.PretrainedEncoder, wave_S: np.ndarray) -> np.ndarray:
    """Returns feature_TD of a wave at 16 kHz: the mean of the states of each unit."""
    together = round(encoder.rate_hz / self.rate_hz)
    hidden_TD = encoder.encode(wave_S)
    if not np.isfinite(hidden_TD).all():
      raise CheckpointError(
        f"The encoder in {encoder.folder} gives states that are not finite, so its tensors or its "
        "config.json are damaged. Copy the folder again."
      )
    if together == 1 or not len(hidden_TD):
      return hidden_TD
    starts = np.arange(0, len(hidden_TD), together)
    counts = np.diff(np.append(starts, len(hidden_TD)))
    return np.add.reduceat(hidden_TD, starts) / counts[:, None].astype(np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class FittedNeuralUnits(units.VoicedUnits):
  """The centroids, the sound of each unit in each voice, and where the encoder lies.

  The encoder is opened, and compared with `encoder_print`, at the first wave.
  """

  settings: NeuralUnits
  folder: Path
  whole: bool
  encoder_print: str
  centroids_VD: np.ndarray
  durations_V: np.ndarray
  sounds: voices.Voices

  def __reduce__(self):  # without the opened encoder
    return type(self), tuple(getattr(self, field.name) for field in dataclasses.fields(self))

  @functools.cached_property
  def spec(self) -> StreamSpec:
    settings = dataclasses.replace(self.settings, folder=ENCODER)
    hashed = base.fingerprint(settings, self.parameters())
    return dataclasses.replace(settings.largest, fingerprint=hashed)

  @functools.cached_property
  def encoder(self) -> encoders.PretrainedEncoder:
    """The encoder; TokenSpaceError if it is another one than the units were fitted with, or if the
    copy in a workdir cannot be read."""
    try:
      encoder = self.settings.opened(self.folder, whole=self.whole)
    except (ConfigError, CheckpointError) as error:
      if self.whole:
        raise
      raise TokenSpaceError(
        f"The workdir's copy of the encoder of the stream {self.settings.stream!r} in "
        f"{self.folder} cannot be read. Restore its files, or prepare and train in a new workdir. "
        f"What is wrong: {error}"
      ) from error
    if encoder.fingerprint != self.encoder_print:
      raise TokenSpaceError(
        f"The encoder in {self.folder} is not the one that the stream {self.settings.stream!r} was "
        f"fitted with: expected the fingerprint {self.encoder_print[:12]}, found "
        f"{encoder.fingerprint[:12]}. Restore its files, or prepare and train in a new workdir."
      )
    return encoder

  @property
  def codebook_VE(self) -> np.ndarray:
    return self.centroids_VD

  def frames(self, utterance: Utterance) -> tuple[np.ndarray, np.ndarray]:
    """Returns (ids_T, feature_TD), the mean states of each unit."""
    wave_S = base.wave_of(utterance, self.settings.stream)
    feature_TD = self.settings.features(self.encoder, wave_S)
    if not len(feature_TD):
      raise RecordError(
        f"{len(wave_S) / waveform.RATE_HZ * 1_000:.0f} ms of {utterance.speaker!r} are shorter "
        f"than what a state of the encoder hears. Leave the recording out."
      )
    return kmeans.nearest(feature_TD, self.centroids_VD)[0], feature_TD

  def synthesized(self, ids_T: np.ndarray, voice: int) -> np.ndarray:
    """Returns wave_S of units: the mean sound of each in a voice."""
    return self.sounds.synthesis(ids_T, voice).sound()

  def save(self, folder: Path) -> None:
    """Writes settings, arrays, and a copy of what the states depend on, with its license."""
    super().save(folder)
    self.encoder.save(Path(folder) / ENCODER)

  def parameters(self) -> dict[str, np.ndarray]:
    return {
      "encoder": np.array(self.encoder_print),
      "centroids_VD": self.centroids_VD,
      "durations_V": self.durations_V,
      **self.sounds.parameters(),
    }


def _sample(speaker: str, wave_S: np.ndarray, ids_T: np.ndarray, places: int) -> voices.VoiceSample:
  """Returns what a voice learns from an utterance: the frames that units cover."""
  power_TE = spectrum.power(wave_S)[: len(ids_T) * places]
  speech_T = spectrum.voice_activity(power_TE).speech_T
  return voices.VoiceSample(speaker, wave_S, ids_T, voices.log_mel(power_TE), speech_T)
