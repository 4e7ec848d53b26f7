"""Generated speech as WAVs: decoded from ids, written, read back and measured. Needs no jax.

Decoding is the slow part of scoring speech, so `make` is a unit of work for `data.executors`.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from audiopalm.audio import waveform
from audiopalm.data import files
from audiopalm.errors import AudioError
from audiopalm.evaluation.listeners import WavFile
from audiopalm.metrics import speech
from audiopalm.tokenizers.base import Fitted
from audiopalm.types import Utterance


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Spoken(WavFile):
  """A WAV to be written: ids of `stream`, and the voice to decode them in.

  `heard_as` is the input stream of the run's own ASR, None if it has none for the language.
  """

  ids: np.ndarray
  stream: str
  voice: str | None
  heard_as: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Sound:
  """A WAV read back: its ids for the run's own ASR, and its distance in dB to the reference.

  `fault` is why the ids that the ASR needs are missing; `silent` is True if the WAV could not be
  read.
  """

  ids: np.ndarray | None
  mcd: float | None = None
  fault: str | None = None
  silent: bool = False


def make(tokenizers: Mapping[str, Fitted], spoken: Sequence[Spoken]) -> list[Sound]:
  """Writes each output as a WAV and returns its sound; `tokenizers` are by stream."""
  return [_sound(tokenizers, output) for output in spoken]


def _sound(tokenizers: Mapping[str, Fitted], output: Spoken) -> Sound:
  wave_S = tokenizers[output.stream].decode(output.ids, voice=output.voice)
  with files.replacing(output.path) as part:
    waveform.write(part, wave_S, waveform.RATE_HZ)
  try:
    wave_S = waveform.read(output.path)
  except AudioError as error:
    return Sound(None, fault=str(error), silent=True)
  mcd = None
  if output.reference is not None:
    mcd = speech.mel_cepstral_distance(waveform.read_flac(output.reference), wave_S)
  if output.heard_as is None:
    return Sound(None, mcd)
  utterance = Utterance(wave_S, waveform.RATE_HZ, "", output.language, "")
  ids = tokenizers[output.heard_as].encode(utterance)
  if not len(ids):
    return Sound(None, mcd, f"{output.path}: too short for a single id of {output.heard_as}.")
  return Sound(ids, mcd)
