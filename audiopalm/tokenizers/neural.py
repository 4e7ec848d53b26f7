"""Semantic units of a speech encoder: k-means clusters of the states of one layer.

    folder/config.json, preprocessor_config.json, model.safetensors    an encoder that
                                                   models/pytorch/encoders.py supports
    folder/config.json, checkpoints                the workdir of a run that trained one

A run copies everything that the states depend on, so it needs the folder only at its start.
"""

import dataclasses
import functools
import itertools
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from audiopalm.audio import spectrum, waveform
from audiopalm.errors import CheckpointError, ConfigError, RecordError, TokenSpaceError
from audiopalm.models import trained_encoders
from audiopalm.models.frozen_encoder import FrozenEncoder
from audiopalm.models.pytorch import encoders
from audiopalm.tokenizers import base, device_kmeans, kmeans, units, voices
from audiopalm.types import StreamSpec, Utterance

ENCODER = "encoder"  # the folder of the copy
TOGETHER = 64  # recordings that `fit` encodes at a time


@dataclasses.dataclass(frozen=True)
class NeuralUnits(base.ArraySettings):
  """k-means clusters of the states that the encoder in `folder` has after `layer` layers.

  `layer` None is the last. A unit is the centroid nearest to the mean of the states of 1 /
  `rate_hz` seconds; the last group of states may be shorter. `window_s` shortens Whisper's window
  of 30 s, for single words: its states then differ slightly from the published ones. `collapse`,
  `fit_s` and `voices` are as in `KMeansUnits`, but `fit_s` may be hours. `further` are the sizes of
  more clusterings of the same states, as more codebooks: an ensemble of targets (HuBERT, section
  2.5). `decode` uses only the first codebook. Ids and fingerprint do not depend on the folder, only
  on what the states depend on. Matrix products are float32 on every device, so that the same
  recording has the same units. Source: HuBERT, arXiv:2106.07447, section 3; GSLM, arXiv:2102.01192.
  """

  arrays_file: ClassVar[str] = "units.npz"

  stream: str = "units"
  folder: str = ""
  layer: int | None = None
  size: int = 256
  rate_hz: float = 50.0
  window_s: float | None = None
  collapse: bool = False
  fit_s: float = 1_200.0
  voices: int = 64
  further: tuple[int, ...] = ()

  def __post_init__(self):
    name = f"Unit stream {self.stream!r}"
    base.check_spectra(name, self.rate_hz, self.size, 0, waveform.RATE_HZ / 2)
    base.check_sample(name, self.fit_s, self.voices)
    if min(self.further, default=2) < 2 or self.further and self.collapse:
      raise ConfigError(
        f"{name} has further={self.further} and collapse={self.collapse}, expected sizes of at "
        "least 2, and collapse=False with several clusterings, because their runs differ. Set "
        "further=() or collapse=False."
      )
    if not self.folder:
      raise ConfigError(
        f"{name} has no folder. Give that of a speech encoder as transformers saves it, or the "
        f"workdir of a run that trained one: --set tokenizers.{self.stream}.folder=DIR."
      )

  @property
  def largest(self) -> StreamSpec:
    rate_hz = None if self.collapse else self.rate_hz
    return StreamSpec(self.stream, "speech", (self.size, *self.further), rate_hz, "")

  @property
  def sample_s(self) -> float:
    """Seconds of speech that `fit` reads."""
    return self.fit_s

  def check(self) -> None:
    """Raises ConfigError or CheckpointError for a folder without such an encoder or layer."""
    self.opened(Path(self.folder).expanduser())

  def source_digest(self) -> str:
    """Returns the fingerprint of the encoder that is in `folder` now."""
    return self.opened(Path(self.folder).expanduser()).fingerprint

  def opened(self, folder: Path, *, whole: bool = True) -> FrozenEncoder:
    """Returns the encoder in a folder, ConfigError if `rate_hz` or `window_s` does not fit it;
    `whole` is as in `encoders.open`."""
    if trained_encoders.holds(folder):
      if self.window_s is not None:
        raise ConfigError(
          f"window_s is {self.window_s}, but {folder} has an encoder of a run, which takes waves "
          "of any length: only Whisper has a window. Leave out window_s."
        )
      encoder = trained_encoders.open(folder, self.layer)
    else:
      encoder = encoders.open(folder, self.layer, self.window_s, whole=whole)
    if encoder.rate_hz % self.rate_hz:
      raise ConfigError(
        f"Unit stream {self.stream!r} has rate_hz={self.rate_hz}, expected a divisor of the "
        f"{encoder.rate_hz:g} states per second of the encoder in {folder}. Set "
        f"rate_hz={encoder.rate_hz:g}, or a divisor of it."
      )
    return encoder

  def fit(self, utterances: Iterable[Utterance], seed: int) -> "FittedNeuralUnits":
    """Returns the tokenizer fitted on the first `fit_s` seconds of the utterances' speech."""
    folder = Path(self.folder).expanduser()
    encoder = self.opened(folder)
    speakers, waves, ends = [], [], [0]
    with tempfile.TemporaryFile() as file:  # an hour of states takes half a gigabyte
      spoken = base.speech_waves(utterances, self.fit_s)
      for start in range(0, len(spoken), TOGETHER):
        some = spoken[start : start + TOGETHER]
        features = self.features(encoder, [wave_S for _, wave_S in some])
        for (speaker, wave_S), feature_TD in zip(some, features, strict=True):
          if len(feature_TD):
            speakers.append(speaker)
            waves.append(wave_S)
            ends.append(ends[-1] + len(feature_TD))
            file.write(feature_TD.tobytes())
      self.check_frames(ends[-1], "units")
      file.flush()
      features_TD = np.memmap(file, np.float32, "r", shape=(ends[-1], encoder.width))
      random, assign = np.random.default_rng(seed), device_kmeans.on_devices()
      # One generator for all, so that clusterings of equal size have different seeds.
      clusterings = tuple(
        kmeans.fit(features_TD, size, random, assign=assign) for size in (self.size, *self.further)
      )
      ids = [
        kmeans.nearest(features_TD[start:end], clusterings[0])[0]
        for start, end in itertools.pairwise(ends)
      ]
    places = round(base.FRAMES_HZ / self.rate_hz)
    samples = [
      _sample(speaker, wave_S, ids_T, places)
      for speaker, wave_S, ids_T in zip(speakers, waves, ids, strict=True)
    ]
    sounds = voices.learn(samples, self.size, places, self.voices)
    durations_V = units.durations(ids, self.size)
    return FittedNeuralUnits(
      self, folder, True, encoder.fingerprint, clusterings, durations_V, sounds
    )

  def load(self, folder: Path) -> "FittedNeuralUnits":
    base.check_settings(self, folder)
    with np.load(Path(folder) / self.arrays_file, allow_pickle=False) as arrays:
      clusterings = tuple(arrays[name] for name in _names(self))
      return FittedNeuralUnits(
        self, Path(folder) / ENCODER, False, str(arrays["encoder"]), clusterings,
        arrays["durations_V"], voices.from_parameters(arrays),
      )  # fmt: skip

  def features(self, encoder: FrozenEncoder, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns feature_TD of each wave at 16 kHz: the mean of the states of each unit."""
    together = round(encoder.rate_hz / self.rate_hz)
    states = encoder.encode_batch(waves)
    if not all(np.isfinite(hidden_TD).all() for hidden_TD in states):
      raise CheckpointError(
        f"The encoder in {encoder.folder} computes states that are not finite, so its tensors or "
        "its config.json are damaged. Copy the folder again."
      )
    return [_means(hidden_TD, together) for hidden_TD in states]


@dataclasses.dataclass(frozen=True, eq=False)
class FittedNeuralUnits(units.VoicedUnits):
  """The centroids_VD of each clustering, the sound of each unit of the first in each voice, and the
  folder of the encoder.

  The encoder is opened at the first wave; its fingerprint must be `encoder_print`. `whole` is True
  for the source folder and False for the copy in a workdir.
  """

  settings: NeuralUnits
  folder: Path
  whole: bool
  encoder_print: str
  clusterings: tuple[np.ndarray, ...]
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
  def encoder(self) -> FrozenEncoder:
    """The encoder; TokenSpaceError if it is not the one the units were fitted with, or if the copy
    in a workdir cannot be read."""
    try:
      encoder = self.settings.opened(self.folder, whole=self.whole)
      actual = encoder.fingerprint
    except (ConfigError, CheckpointError) as error:
      if self.whole:
        raise
      raise TokenSpaceError(
        f"The workdir's copy of the encoder of the stream {self.settings.stream!r} in "
        f"{self.folder} cannot be read. Restore its files, or prepare and train in a new workdir. "
        f"The error: {error}"
      ) from error
    if actual != self.encoder_print:
      raise TokenSpaceError(
        f"The encoder in {self.folder} is not the one that the stream {self.settings.stream!r} was "
        f"fitted with: expected the fingerprint {self.encoder_print[:12]}, found "
        f"{actual[:12]}. Restore its files, or prepare and train in a new workdir."
      )
    return encoder

  def encode(self, utterance: Utterance) -> np.ndarray:
    """Returns ids_T: one per 1 / rate_hz seconds, or one per run if collapsed; ids_TQ of Q
    clusterings."""
    (ids,) = self.encode_batch([utterance])
    return base.result(ids)

  def encode_batch(self, utterances: Sequence[Utterance]) -> list[np.ndarray | RecordError]:
    """Returns what `encode` returns or raises for each; recordings of similar length are computed
    together."""
    features = self._features(utterances)
    return [item if isinstance(item, RecordError) else self._ids(item) for item in features]

  def _ids(self, feature_TD: np.ndarray) -> np.ndarray:
    ids = [kmeans.nearest(feature_TD, centroids_VD)[0] for centroids_VD in self.clusterings]
    ids = np.stack(ids, axis=1) if len(ids) > 1 else ids[0]
    return (units.runs(ids)[0] if self.settings.collapse else ids).astype(np.int32)

  def _features(self, utterances: Sequence[Utterance]) -> list[np.ndarray | RecordError]:
    """Returns feature_TD of each utterance, or why it has none."""
    results, waves = [None] * len(utterances), {}
    for number, utterance in enumerate(utterances):
      try:
        waves[number] = base.wave_of(utterance, self.settings.stream)
      except RecordError as error:
        results[number] = error
    features = self.settings.features(self.encoder, list(waves.values()))
    for (number, wave_S), feature_TD in zip(waves.items(), features, strict=True):
      results[number] = feature_TD if len(feature_TD) else _too_short(wave_S, utterances[number])
    return results

  def heard(self, ids: npt.ArrayLike) -> np.ndarray:
    """Returns the units of the first clustering."""
    return base.check_codes(ids, self.spec)[:, 0] if self.settings.further else super().heard(ids)

  @property
  def codebook_VE(self) -> np.ndarray:
    return self.clusterings[0]

  def frames(self, utterance: Utterance) -> tuple[np.ndarray, np.ndarray]:
    """Returns (ids_T, feature_TD), the mean states of each unit of the first clustering."""
    (framed,) = self.frames_batch([utterance])
    return base.result(framed)

  def frames_batch(
    self, utterances: Sequence[Utterance]
  ) -> list[tuple[np.ndarray, np.ndarray] | RecordError]:
    """Returns what `frames` returns or raises for each, as `encode_batch` computes them."""
    centroids_VD = self.clusterings[0]
    return [
      item if isinstance(item, RecordError) else (kmeans.nearest(item, centroids_VD)[0], item)
      for item in self._features(utterances)
    ]

  def synthesized(self, ids_T: np.ndarray, voice: int) -> np.ndarray:
    """Returns wave_S of units: the mean sound of each in a voice."""
    return self.sounds.synthesis(ids_T, voice).sound()

  def save(self, folder: Path) -> None:
    """Writes settings, arrays, and a copy of the encoder with its license."""
    super().save(folder)
    self.encoder.save(Path(folder) / ENCODER)

  def parameters(self) -> dict[str, np.ndarray]:
    return {
      "encoder": np.array(self.encoder_print),
      **dict(zip(_names(self.settings), self.clusterings, strict=True)),
      "durations_V": self.durations_V,
      **self.sounds.parameters(),
    }


def _names(settings: NeuralUnits) -> list[str]:
  """Returns the array names of the centroids of each clustering."""
  further = range(1, len(settings.further) + 1)
  return ["centroids_VD", *(f"centroids_{number}_VD" for number in further)]


def _means(hidden_TD: np.ndarray, together: int) -> np.ndarray:
  """Returns the means of groups of `together` states; the last group may be smaller."""
  if together == 1 or not len(hidden_TD):
    return hidden_TD
  starts = np.arange(0, len(hidden_TD), together)
  counts = np.diff(np.append(starts, len(hidden_TD)))
  return np.add.reduceat(hidden_TD, starts) / counts[:, None].astype(np.float32)


def _too_short(wave_S: np.ndarray, utterance: Utterance) -> RecordError:
  return RecordError(
    f"{len(wave_S) / waveform.RATE_HZ * 1_000:.0f} ms of {utterance.speaker!r} are too short for "
    "one state of the encoder. Leave the recording out."
  )


def _sample(speaker: str, wave_S: np.ndarray, ids_T: np.ndarray, places: int) -> voices.VoiceSample:
  """Returns an utterance for `voices.learn`, cut to the frames that units cover."""
  power_TE = spectrum.power(wave_S)[: len(ids_T) * places]
  speech_T = spectrum.voice_activity(power_TE).speech_T
  return voices.VoiceSample(speaker, wave_S, ids_T, voices.log_mel(power_TE), speech_T)
