"""Generated speech as sound: decoded, written as WAV, read back and measured. Needs no jax.

The slow part of scoring speech, so `make` is a unit of work for `data.executors`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audiopalm.audio import waveform
from audiopalm.data import files
from audiopalm.errors import AudioError
from audiopalm.metrics import speech, warping
from audiopalm.types import Utterance


@dataclasses.dataclass(frozen=True, eq=False)
class Spoken:
  """One speech output: ids of `stream`, who says them, where to write the WAV, what it should say.

  `reference` is the recording it is compared with, as FLAC; `heard_as` the stream that the
  run's own recognition reads, None where it has none.
  """

  ids: np.ndarray
  stream: str
  voice: str | None
  path: Path
  language: str
  text: str
  reference: bytes | None
  heard_as: str | None


@dataclasses.dataclass(frozen=True, eq=False)
class Sound:
  """A WAV read back: its ids for the recognizer, and its distance in dB to the reference.

  `fault` says why there are no ids where the run's own recognition waits for them, `silent` that
  nobody could read the WAV.
  """

  ids: np.ndarray | None
  mcd: float | None
  fault: str | None = None
  silent: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
  """A unit of work: outputs to make, and the fitted tokenizers for it by stream."""

  tokenizers: Mapping[str, Any]
  spoken: Sequence[Spoken]


def make(job: Job) -> list[Sound]:
  """Returns the sound of every output of a job, in order, after writing each."""
  made = [_sound(job.tokenizers, one) for one in job.spoken]
  distances = iter(warping.mean_costs([cost_TT for _, cost_TT in made if cost_TT is not None]))
  return [
    sound if cost_TT is None else dataclasses.replace(sound, mcd=next(distances))
    for sound, cost_TT in made
  ]


def _sound(tokenizers: Mapping[str, Any], one: Spoken) -> tuple[Sound, np.ndarray | None]:
  """Returns one output, written and read back, and each frame's distance to the reference's."""
  wave_S = tokenizers[one.stream].decode(one.ids, voice=one.voice)
  with files.replacing(one.path) as part:
    waveform.write(part, wave_S, waveform.RATE_HZ)
  try:
    wave_S = waveform.read(one.path)
  except AudioError as error:
    return Sound(None, None, str(error), silent=True), None
  cost_TT = None if one.reference is None else _costs(one.reference, wave_S)
  if one.heard_as is None:
    return Sound(None, None), cost_TT
  utterance = Utterance(wave_S, waveform.RATE_HZ, "", one.language, "")
  ids = tokenizers[one.heard_as].encode(utterance)
  if not len(ids):
    fault = f"{one.path}: too short to give a single id of {one.heard_as}."
    return Sound(None, None, fault), cost_TT
  return Sound(ids, None), cost_TT


def _costs(reference: bytes, wave_S: np.ndarray) -> np.ndarray:
  reference_S, rate_hz = waveform.from_flac(reference)
  reference_S = waveform.resample(reference_S, rate_hz, waveform.RATE_HZ)
  return speech.distances_db(
    speech.mel_cepstra(reference_S, waveform.RATE_HZ), speech.mel_cepstra(wave_S, waveform.RATE_HZ)
  )
