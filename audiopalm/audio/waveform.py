"""Recordings as arrays: read, check, write, resample, change speed."""

import io
import math
import os
import struct
from pathlib import Path

import numpy as np
import soundfile
import soxr

from audiopalm import system
from audiopalm.errors import AudioError

RATE_HZ = 16_000  # what every part after reading expects
SHORTEST_S = 0.05
LONGEST_S = 600.0  # of a record of a corpus: beyond it, most likely nobody meant one example
SLACK_S = 0.1  # by which a span may reach past the end of its file: manifests round
QUIETEST_PEAK = 1e-4
LOWEST_HZ = 1_000  # rates below it cannot carry speech: most likely the header is wrong
# What `write` writes: format and subtype of libsndfile by the ending of a name.
ENDINGS = {
  ".wav": ("WAV", "PCM_16"),
  ".flac": ("FLAC", "PCM_16"),
  ".ogg": ("OGG", "VORBIS"),
  ".opus": ("OGG", "OPUS"),
  ".mp3": ("MP3", "MPEG_LAYER_III"),
}
UNKNOWN_FRAMES = 2**63 - 1  # what libsndfile says where a FLAC does not know its length
UNKNOWN_BYTES = (0, 0xFFFFFFFF)  # what programs that write WAV into a pipe put as the length


def read(
  path: str | os.PathLike,
  rate_hz: int = RATE_HZ,
  *,
  span_s: tuple[float, float] | None = None,
  longest_s: float = math.inf,
  name: str | None = None,
) -> np.ndarray:
  """Returns wave_S: the recording in a file (WAV FLAC OGG MP3 ...) as mono float32 at `rate_hz`.

  Channels are averaged. `span_s` (start, end) reads that part of the file; an infinite end is that
  of the file. AudioError, naming the file or `name`, if it is missing, not audio, truncated,
  without that part, of no or an impossible rate or length, or if `check` refuses it; what is longer
  than `longest_s` is not decoded. OSError where not the file is to blame but what holds it.
  """
  path = Path(path)
  name = name or str(path)
  try:
    return _read(path, rate_hz, span_s, longest_s, name)
  except AudioError:
    _check_device(path)
    raise


def _read(
  path: Path, rate_hz: int, span_s: tuple[float, float] | None, longest_s: float, name: str
) -> np.ndarray:
  _check_name(path, name)
  try:
    if not path.is_file():
      raise AudioError(
        f"{name}: no such file. Give the path of an audio file (WAV, FLAC, OGG or MP3)."
      )
    with soundfile.SoundFile(path) as file:
      found_hz = file.samplerate
      _check_header(file.frames, found_hz, name)
      promised = max(file.frames, _riff_frames(path))
      first, last = _span(span_s, promised, found_hz, name)
      _check_length((last - first) / found_hz, longest_s, name)
      if first:
        file.seek(min(first, file.frames))
      wave_SC = file.read(last - first, dtype="float32", always_2d=True)
  except (soundfile.LibsndfileError, TypeError) as error:
    # TypeError: a file without a header (.raw), whose rate soundfile would have to be told.
    said = getattr(error, "error_string", str(error))
    raise AudioError(
      f"{name}: not audio, or damaged: expected WAV, FLAC, OGG or MP3, and the decoder says "
      f"{said!r}. Convert it, copy it again, or leave it out."
    ) from error
  except OSError as error:
    if not system.is_of_path(error):
      raise
    raise AudioError(
      f"{name}: cannot be read: {error.strerror}. Correct its path, copy it again, or leave it out."
    ) from error
  if first + len(wave_SC) < last:
    raise AudioError(
      f"{name}: truncated: its header promises {promised} samples, the file holds "
      f"{first + len(wave_SC)}. Copy it again, or cut it to what is there with an audio editor."
    )
  wave_S = wave_SC.mean(axis=1, dtype=np.float32)
  check(wave_S, found_hz, name)
  return resample(wave_S, found_hz, rate_hz)


def check(wave_S: np.ndarray, rate_hz: int, name: str, longest_s: float = math.inf) -> None:
  """Returns nothing; raises AudioError, naming `name`, for a wave nothing can be learnt from.

  That is: no samples, a value that is not finite, less than SHORTEST_S or more than `longest_s`
  seconds, or a peak below QUIETEST_PEAK.
  """
  if len(wave_S) == 0:
    raise AudioError(f"{name}: empty: it holds no samples. Record it again, or leave it out.")
  bad = int(np.count_nonzero(~np.isfinite(wave_S)))
  if bad:
    raise AudioError(
      f"{name}: {bad} of {len(wave_S)} samples are NaN or infinite, expected numbers from -1 to 1. "
      "Write the file again, or leave it out."
    )
  seconds = len(wave_S) / rate_hz
  if seconds < SHORTEST_S:
    raise AudioError(
      f"{name}: too short: {seconds:.4f} s, expected at least {SHORTEST_S} s. Leave it out."
    )
  _check_length(seconds, longest_s, name)
  peak = float(np.abs(wave_S).max())
  if peak < QUIETEST_PEAK:
    raise AudioError(
      f"{name}: silent: its largest sample is {peak:.2g}, expected at least {QUIETEST_PEAK:g} "
      "(full scale is 1). Record it again, or leave it out."
    )


def write(
  path: str | os.PathLike, wave_S: np.ndarray, rate_hz: int = RATE_HZ, ending: str = ".wav"
) -> None:
  """Writes a recording as one of the ENDINGS says, whatever the path is called.

  A wave that leaves [-1, 1] is divided by its peak.
  """
  # Through memory: libsndfile does not say why a device took no bytes.
  Path(path).write_bytes(_encoded(wave_S, rate_hz, *ENDINGS[ending]))


def to_flac(wave_S: np.ndarray, rate_hz: int = RATE_HZ) -> bytes:
  """Returns 16-bit FLAC bytes. A wave that leaves [-1, 1] is divided by its peak."""
  return _encoded(wave_S, rate_hz, "FLAC", "PCM_16")


def from_flac(data: bytes) -> tuple[np.ndarray, int]:
  """Returns (wave_S, rate_hz) of `to_flac` bytes: the wave rounded to 16 bits."""
  wave_S, rate_hz = soundfile.read(io.BytesIO(data), dtype="float32")
  return wave_S, rate_hz


def resample(wave_S: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
  """Returns wave_S at another rate (soxr, high quality); the same array if the rates are equal."""
  if from_hz == to_hz:
    return wave_S
  return soxr.resample(np.ascontiguousarray(wave_S, np.float32), from_hz, to_hz)


def change_speed(wave_S: np.ndarray, factor: float) -> np.ndarray:
  """Returns wave_S played `factor` times as fast, pitch and formants with it, 1/factor as long.

  Source: speed perturbation, Ko et al., Interspeech 2015.
  """
  return resample(wave_S, RATE_HZ * factor, RATE_HZ)


def _check_device(path: Path) -> None:
  """Raises the OSError of a device that does not give the bytes of a file.

  libsndfile takes it for a damaged file, or for the file's end.
  """
  try:
    if path.is_file():
      with open(path, "rb") as file:
        while file.read(2**20):
          pass
  except OSError as error:
    if not system.is_of_path(error):
      raise


def _check_name(path: Path, name: str) -> None:
  try:
    os.fspath(path).encode()
  except UnicodeEncodeError as error:
    raise AudioError(
      f"{name}: its name is not UTF-8, and can stand in no answer and no manifest. "
      "Rename the file, as convmv does for whole folders."
    ) from error


def _check_header(frames: int, rate_hz: int, name: str) -> None:
  if frames == UNKNOWN_FRAMES:
    raise AudioError(
      f"{name}: of no length: its header does not say how many samples there are, as where a "
      "program wrote FLAC into a pipe. Convert it, file to file."
    )
  if rate_hz < LOWEST_HZ:
    raise AudioError(
      f"{name}: of an impossible rate: {rate_hz} Hz, expected at least {LOWEST_HZ}. Write it again "
      "with the right rate in its header, or leave it out."
    )


def _check_length(seconds: float, longest_s: float, name: str) -> None:
  if seconds > longest_s:
    raise AudioError(
      f"{name}: too long: {seconds:.1f} s, expected at most {longest_s:g} s. Cut it where the "
      "speaker pauses, or leave it out."
    )


def _span(
  span_s: tuple[float, float] | None, frames: int, rate_hz: int, name: str
) -> tuple[int, int]:
  """Returns the first sample of a span, and the one after its last."""
  if span_s is None:
    return 0, frames
  start_s, end_s = span_s
  lasts_s = frames / rate_hz
  past_end = math.isfinite(end_s) and end_s > lasts_s + SLACK_S
  if start_s >= lasts_s or past_end:
    asked = f"{start_s:g} s to {end_s:g} s" if math.isfinite(end_s) else f"{start_s:g} s on"
    raise AudioError(
      f"{name}: outside its file: {asked} is asked for, the file lasts {lasts_s:.2f} s. Correct "
      "offset and duration, or leave it out."
    )
  return round(start_s * rate_hz), min(frames, round(min(end_s, lasts_s) * rate_hz))


def _encoded(wave_S: np.ndarray, rate_hz: int, form: str, subtype: str) -> bytes:
  buffer = io.BytesIO()
  soundfile.write(buffer, _fit(wave_S), rate_hz, format=form, subtype=subtype)
  return buffer.getvalue()


def _fit(wave_S: np.ndarray) -> np.ndarray:
  peak = np.abs(wave_S).max(initial=0.0)
  return wave_S / peak if peak > 1 else wave_S


def _riff_frames(path: Path) -> int:
  """Returns the samples per channel a WAV header promises, 0 if unknown or another format.

  libsndfile believes the file's size instead of the header, so it reads a truncated WAV without a
  word.
  """
  with open(path, "rb") as file:
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
      return 0
    frame_bytes = 0
    while len(chunk := file.read(8)) == 8:
      name, size = struct.unpack("<4sI", chunk)
      if name == b"data":
        return 0 if size in UNKNOWN_BYTES or not frame_bytes else size // frame_bytes
      body = file.read(min(size, 16)) if name == b"fmt " else b""
      if len(body) == 16:
        frame_bytes = struct.unpack("<H", body[12:14])[0]
      file.seek(size + size % 2 - len(body), os.SEEK_CUR)
  return 0
