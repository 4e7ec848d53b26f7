"""Generated speech as sound: decoded, written as WAV, read back and measured. Needs no jax.

The slow part of scoring speech, so `make` is a unit of work for `data.executors`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from audiopalm.audio import waveform
from audiopalm.data import files
from audiopalm.errors import AudioError
from audiopalm.metrics import speech, warping
from audiopalm.tokenizers.base import Fitted
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

  `fault` says why there are no ids though the run's own recognition needs them; `silent` is True
  where the WAV could not be read.
  """

  ids: np.ndarray | None
  mcd: float | None
  fault: str | None = None
  silent: bool = False


def make(tokenizers: Mapping[str, Fitted], spoken: Sequence[Spoken]) -> list[Sound]:
  """Returns the sound of every output, in order, after writing each; tokenizers go by stream."""
  sounds = [_sound(tokenizers, output) for output in spoken]
  distances = iter(warping.mean_costs([cost_TT for _, cost_TT in sounds if cost_TT is not None]))
  return [
    sound if cost_TT is None else dataclasses.replace(sound, mcd=next(distances))
    for sound, cost_TT in sounds
  ]


def _sound(tokenizers: Mapping[str, Fitted], output: Spoken) -> tuple[Sound, np.ndarray | None]:
  """Returns an output, written and read back, and each frame's distance to the reference's."""
  wave_S = tokenizers[output.stream].decode(output.ids, voice=output.voice)
  with files.replacing(output.path) as part:
    waveform.write(part, wave_S, waveform.RATE_HZ)
  try:
    wave_S = waveform.read(output.path)
  except AudioError as error:
    return Sound(None, None, str(error), silent=True), None
  cost_TT = None if output.reference is None else _costs(output.reference, wave_S)
  if output.heard_as is None:
    return Sound(None, None), cost_TT
  utterance = Utterance(wave_S, waveform.RATE_HZ, "", output.language, "")
  ids = tokenizers[output.heard_as].encode(utterance)
  if not len(ids):
    fault = f"{output.path}: too short to give a single id of {output.heard_as}."
    return Sound(None, None, fault), cost_TT
  return Sound(ids, None), cost_TT


def _costs(reference: bytes, wave_S: np.ndarray) -> np.ndarray:
  reference_S = waveform.read_flac(reference)
  return speech.distances_db(
    speech.mel_cepstra(reference_S, waveform.RATE_HZ), speech.mel_cepstra(wave_S, waveform.RATE_HZ)
  )
