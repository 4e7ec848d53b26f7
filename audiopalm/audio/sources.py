"""Recordings from any input: paths, pipes, bytes, open files, arrays, rows of datasets."""

import io
import numbers
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from audiopalm.audio import channels, waveform
from audiopalm.audio.waveform import Loaded
from audiopalm.errors import AudioError

STDIN = "-"
MOST_CHANNELS = 16  # a longer axis of an array is that of samples

# The inputs of `load`; also tensors of other libraries, and decoders of torchcodec.
Audio = str | os.PathLike | bytes | bytearray | memoryview | BinaryIO | npt.ArrayLike | Mapping


def is_recording(audio: Audio | Sequence[Audio]) -> bool:
  """Returns whether this is a single recording, such as an array of any shape, not a list."""
  if isinstance(audio, (str, os.PathLike, bytes, bytearray, memoryview, Mapping)):
    return True
  if any(hasattr(audio, name) for name in ("read", "ndim", "get_all_samples")):
    return True
  return _is_pair(audio) or _is_numbers(audio) or not hasattr(audio, "__iter__")


def load(audio: Audio, name: str) -> Loaded:
  """Returns a recording at `waveform.RATE_HZ`.

  "-" is standard input. A wave without a rate is at `waveform.RATE_HZ`: floats from -1 to 1, or
  int16, int32 or uint8 as in a WAV file. In an array with two axes the shorter one is channels. A
  mapping is a row of a Hugging Face dataset, decoded or not. Raises AudioError, with `name` in it,
  for anything that is not a recording.
  """
  if isinstance(audio, str) and audio == STDIN:
    audio = sys.stdin.buffer
  elif isinstance(audio, (str, os.PathLike)):
    if not pathlib.Path(audio).is_fifo():
      return waveform.load(audio, name=name)
    with open(audio, "rb") as file:  # a named pipe, such as a shell's <(...)
      return waveform.load(waveform.buffered(file, name), name=name)
  elif isinstance(audio, (bytes, bytearray, memoryview)):
    return waveform.load(io.BytesIO(audio), name=name)
  if hasattr(audio, "read"):
    if isinstance(audio.read(0), str):
      raise AudioError(f"{name}: is a file opened as text. Open it with open(path, 'rb').")
    return waveform.load(waveform.buffered(audio, name), name=name)
  if hasattr(audio, "get_all_samples"):  # a torchcodec decoder
    samples = audio.get_all_samples()
    return _from_array(samples.data, samples.sample_rate, name)
  if isinstance(audio, Mapping):
    return _from_row(audio, name)
  if _is_pair(audio):
    wave, rate_hz = audio if isinstance(audio[1], numbers.Real) else audio[::-1]
    return _from_array(wave, rate_hz, name)
  if hasattr(audio, "ndim") or _is_numbers(audio):
    return _from_array(audio, waveform.RATE_HZ, name)
  raise AudioError(
    f"{name}: is of type {type(audio).__name__}, expected a path, bytes, an open file, a wave, "
    "(wave, rate), or {'array': wave, 'sampling_rate': rate}."
  )


def _from_row(row: Mapping, name: str) -> Loaded:
  if row.get("array") is not None and row.get("sampling_rate") is not None:
    return _from_array(row["array"], row["sampling_rate"], name)
  source = row["bytes"] if row.get("bytes") is not None else row.get("path")
  if source is None:
    raise AudioError(
      f"{name}: is a mapping with {', '.join(map(repr, row)) or 'no keys'}, expected 'array' and "
      "'sampling_rate', or 'bytes', or 'path'."
    )
  return load(source, name)


def _from_array(array: npt.ArrayLike, rate_hz: float, name: str) -> Loaded:
  try:
    values = np.asarray(array)
  except (TypeError, ValueError, RuntimeError) as error:  # a tensor on a device, or with a gradient
    raise AudioError(
      f"{name}: numpy cannot convert this {type(array).__name__} ({error}). Pass "
      "wave.detach().cpu().numpy()."
    ) from error
  waveform.check_rate(rate_hz, name)
  wave_SC, notes = _with_channels(_scaled(values, name), name)
  wave_S, channel_notes = channels.mono(wave_SC, rate_hz)
  waveform.check(wave_S, rate_hz, name)
  return Loaded(waveform.resample(wave_S, rate_hz, waveform.RATE_HZ), (*notes, *channel_notes))


def _scaled(values: np.ndarray, name: str) -> np.ndarray:
  """Returns the samples as float32 from -1 to 1."""
  if values.dtype.kind == "f":
    return values.astype(np.float32, copy=False)
  if values.dtype in (np.int16, np.int32):
    return values.astype(np.float32) / -float(np.iinfo(values.dtype).min)
  if values.dtype == np.uint8:
    return (values.astype(np.float32) - 128) / 128
  raise AudioError(
    f"{name}: is an array of {values.dtype}, expected float32 from -1 to 1, or int16, int32 or "
    "uint8 as in a WAV file. Convert it."
  )


def _with_channels(values: np.ndarray, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
  """Returns (wave_SC, notes) of an array of samples, or of samples and channels in any order."""
  if values.ndim == 1:
    return values[:, None], ()
  shape = "x".join(map(str, values.shape)) or "()"
  if values.ndim != 2 or min(values.shape) > MOST_CHANNELS or len(set(values.shape)) == 1:
    raise AudioError(
      f"{name}: is an array of shape {shape}, expected samples only, or samples and at most "
      f"{MOST_CHANNELS} channels. Pass several recordings as a list of waves."
    )
  wave_SC = values if values.shape[0] > values.shape[1] else values.T
  count = wave_SC.shape[1]
  note = f"array with two axes: {shape} is read as one recording with {count} channels"
  return wave_SC, (note,) if count > 1 else ()


def _is_numbers(audio: object) -> bool:
  return isinstance(audio, (list, tuple)) and bool(audio) and isinstance(audio[0], numbers.Real)


def _is_pair(audio: object) -> bool:
  """Returns whether this is (wave, rate), or (rate, wave)."""
  if not isinstance(audio, (list, tuple)) or len(audio) != 2:
    return False
  rates = [isinstance(item, numbers.Real) for item in audio]
  other = audio[rates.index(False)] if sum(rates) == 1 else None
  return _is_numbers(other) or getattr(other, "ndim", 0) > 0
