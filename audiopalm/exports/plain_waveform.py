"""16-bit WAV files at 16 kHz by the standard library.

It is `audio/waveform.py` of an exported folder, which so needs neither libsndfile nor soxr: the
functions that other exported files and users call have the same names here.
"""

import os
import wave

import numpy as np

RATE_HZ = 16_000
SLOPPY_BYTES = 64  # by which some writers miscount the size in the header
PLACEHOLDER = 2**31 - 2**16  # sizes from here on mean unknown


def read(path: str | os.PathLike) -> np.ndarray:
  """Returns wave_S of a 16-bit WAV at 16 kHz, the mean of its channels; ValueError if they cancel,
  or if the file is truncated. If a pipe left the length in the header open, reads to the end."""
  with wave.open(str(path)) as file:
    if (file.getframerate(), file.getsampwidth()) != (RATE_HZ, 2):
      raise ValueError(
        f"{path} has {file.getframerate()} Hz and {8 * file.getsampwidth()} bits, expected "
        f"{RATE_HZ} Hz and 16 bits. Convert it: sox IN.wav -r {RATE_HZ} -b 16 OUT.wav"
      )
    promised, channels = file.getnframes(), file.getnchannels()
    data = file.readframes(promised)
  samples_SC = np.frombuffer(data, "<i2").reshape(-1, channels).astype(np.float32) / 32768
  missing = 2 * channels * promised - len(data)
  if not len(data) or (missing > SLOPPY_BYTES and 2 * channels * promised < PLACEHOLDER):
    raise ValueError(
      f"{path} has {len(samples_SC)} of the {promised} samples that its header states. Copy it "
      "again, or convert it."
    )
  wave_S = samples_SC.mean(axis=1, dtype=np.float32)
  if channels * np.var(wave_S) < np.var(samples_SC, axis=0).mean() / 4:
    raise ValueError(f"The {channels} channels of {path} cancel: sox IN.wav OUT.wav remix 1")
  return wave_S


def write(path: str | os.PathLike, wave_S: np.ndarray) -> None:
  """Writes wave_S as a 16-bit WAV at 16 kHz, clipped to [-1, 1]."""
  with wave.open(str(path), "wb") as file:
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(RATE_HZ)
    file.writeframes((np.clip(wave_S, -1, 1) * 32767).astype("<i2").tobytes())


def resample(wave_S: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
  """Returns wave_S unchanged; ValueError if the rates differ."""
  if from_hz != to_hz:
    raise ValueError(f"Expected a wave at {to_hz} Hz, got {from_hz} Hz. Resample it first.")
  return wave_S
