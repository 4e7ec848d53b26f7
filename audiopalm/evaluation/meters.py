"""Meters of generated speech: predicted opinions, and likeness of voices. Needs no jax.

    mos          how good listeners would find it, 1 to 5, as a model predicts it
    similarity   how alike the voice is to that of the reference recording: at most 1

What they measure is the WAV that was written. A meter is a frozen value that worker processes take
along, so `measure` is a unit of work for `data.executors`.
"""

import dataclasses
import functools
import importlib.metadata
import importlib.util
import math
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from audiopalm.audio import waveform
from audiopalm.data.executors import Local
from audiopalm.errors import AudioError, ConfigError
from audiopalm.evaluation import programs

WAV, REFERENCE = "{wav}", "{reference}"

Score = Literal["mos", "similarity"]


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
  """A WAV to be measured, and as FLAC the recording it is compared with (None: there is none)."""

  path: Path
  reference: bytes | None


@dataclasses.dataclass(frozen=True)
class Reading:
  """What a meter shows of a recording: None where there is nothing to measure, or for a `fault`."""

  value: float | None
  fault: str | None = None


class Meter(Protocol):
  """Who measures: `Command`, `Dnsmos` or `Resemblyzer`; `score` is what its readings are."""

  score: Score

  @property
  def rule(self) -> str:
    """What the rules of a score say of its readings."""
    ...

  def check(self) -> None:
    """Raises ConfigError if it cannot be used."""
    ...

  def measure(self, recording: Recording) -> Reading:
    """Returns what it shows of a recording."""
    ...


@dataclasses.dataclass(frozen=True)
class Command:
  """A program that prints a number for the WAV whose path replaces {wav} in its command line.

  For a `similarity` the path of the reference recording, a WAV too, replaces {reference}.
  """

  score: Score
  line: str

  @property
  def rule(self) -> str:
    return f"the command {self.line!r}, from the written WAV"

  def check(self) -> None:
    self._program.check((WAV,) if self.score == "mos" else (WAV, REFERENCE))

  def measure(self, recording: Recording) -> Reading:
    with tempfile.TemporaryDirectory() as folder:
      places = {WAV: str(recording.path.resolve())}
      if self.score == "similarity":
        path = Path(folder) / "reference.wav"
        waveform.write(path, _reference(recording), waveform.RATE_HZ)
        places[REFERENCE] = str(path)
      printed = self._program.run(places)
    if printed.fault is not None:
      return _fault(recording, printed.fault)
    try:
      value = float(printed.text)
    except ValueError:
      return _fault(recording, f"expected a number to be printed, but it was {printed.text!r}")
    return Reading(value) if math.isfinite(value) else _fault(recording, f"{value} was printed")

  @property
  def _program(self) -> programs.Program:
    return programs.Program(self.line, f"--{self.score}-command")


@dataclasses.dataclass(frozen=True)
class Dnsmos:
  """DNSMOS, overall: trained on opinions of noise suppressors, so it hears noise before prosody.

  Source: Reddy et al. 2022, "DNSMOS P.835", arXiv:2110.01763, with the weights in `speechmos`.
  """

  score: Score = "mos"

  @property
  def rule(self) -> str:
    return f"DNSMOS P.835 overall, speechmos {_version('speechmos')}, from the written WAV"

  def check(self) -> None:
    _check_installed("--mos dnsmos", ("speechmos", "onnxruntime", "librosa", "requests"))

  def measure(self, recording: Recording) -> Reading:
    from speechmos import dnsmos

    try:
      wave_S = waveform.read(recording.path)
    except AudioError:
      return Reading(None)  # silence, of which `evaluation.sound` tells
    return Reading(float(dnsmos.run(np.clip(wave_S, -1, 1), waveform.RATE_HZ)["ovrl_mos"]))


@dataclasses.dataclass(frozen=True)
class Resemblyzer:
  """The cosine of two voices' embeddings by Resemblyzer: about 0.6 for two speakers, over 0.8 for
  one.

  Source: Wan et al. 2018, "Generalized end-to-end loss for speaker verification", arXiv:1710.10467.
  """

  score: Score = "similarity"

  @property
  def rule(self) -> str:
    version = _version("Resemblyzer")
    return f"cosine to the reference recording's voice, Resemblyzer {version}, of the written WAV"

  def check(self) -> None:
    _check_installed("--similarity resemblyzer", ("resemblyzer", "webrtcvad", "librosa", "torch"))

  def measure(self, recording: Recording) -> Reading:
    try:
      waves = (waveform.read(recording.path), _reference(recording))
    except AudioError:
      return Reading(None)  # silence, of which `evaluation.sound` tells
    voices = [_voice(wave_S) for wave_S in waves]
    return Reading(None if any(one is None for one in voices) else float(np.dot(*voices)))


NAMED = {"mos": {"dnsmos": Dnsmos()}, "similarity": {"resemblyzer": Resemblyzer()}}


def read(meter: Meter, recordings: Sequence[Recording], executor: Local) -> list[Reading]:
  """Returns the reading of each recording, by the workers of `executor`.

  DataError, with the first fault, where there is one for every recording.
  """
  done = f"measured by {meter.rule}"
  return list(programs.of_each(meter.measure, recordings, executor, done))


@functools.cache  # a process reads the weights once
def _encoder() -> Any:
  import resemblyzer

  return resemblyzer.VoiceEncoder("cpu", verbose=False)


def _voice(wave_S: np.ndarray) -> np.ndarray | None:
  """Returns the embedding, of length 1, of whoever speaks; None where nobody does."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of the names it imports
    import resemblyzer

  if not np.any(wave_S):
    return None  # its loudness has no logarithm
  spoken_S = resemblyzer.preprocess_wav(wave_S, waveform.RATE_HZ)
  return _encoder().embed_utterance(spoken_S) if len(spoken_S) else None


def _reference(recording: Recording) -> np.ndarray:
  assert recording.reference is not None, recording.path
  wave_S, rate_hz = waveform.from_flac(recording.reference)
  return waveform.resample(wave_S, rate_hz, waveform.RATE_HZ)


def _fault(recording: Recording, what: str) -> Reading:
  return Reading(None, f"{recording.path}: {what}")


def _version(package: str) -> str:
  return importlib.metadata.version(package)


def _check_installed(option: str, modules: Sequence[str]) -> None:
  missing = [name for name in modules if importlib.util.find_spec(name) is None]
  if missing:
    raise ConfigError(
      f"{option} needs {', '.join(missing)}, not installed here: pip install 'audiopalm[voices]'."
    )
