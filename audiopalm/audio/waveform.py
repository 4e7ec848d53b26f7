"""Waves as arrays: reading and writing files, checks, resampling, speed perturbation."""

import contextlib
import dataclasses
import io
import itertools
import math
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from audiopalm import system
from audiopalm.audio import channels, containers
from audiopalm.errors import AudioError

RATE_HZ = 16_000  # the working rate: everything that follows reading expects it
SHORTEST_S = 0.05
LONGEST_S = 600.0  # of a record in a corpus: a longer one is most likely a mistake
SLACK_S = 0.1  # by which a span may exceed the end of its file, as manifests round
QUIETEST_PEAK = 1e-4
LOUDEST_PEAK = 2.0**31  # of integers written as floats; spectra of larger values overflow
LOWEST_HZ = 1_000  # a lower rate cannot carry speech; most likely the header is wrong
# Format and subtype that `write` passes to libsndfile, by file extension.
ENDINGS = {
  ".wav": ("WAV", "PCM_16"),
  ".flac": ("FLAC", "PCM_16"),
  ".ogg": ("OGG", "VORBIS"),
  ".opus": ("OGG", "OPUS"),
  ".mp3": ("MP3", "MPEG_LAYER_III"),
}
UNKNOWN_FRAMES = 2**63 - 1  # libsndfile's length of a FLAC whose header has none
READ_SAMPLES = 2**20  # decoded at a time
LONGEST_PIPE_BYTES = 2**30


@dataclasses.dataclass(frozen=True, eq=False)
class Loaded:
  """A recording as one wave, with notes on how it was read, such as channels left out. `joins` are
  the first samples of the second and later recordings of a joined file."""

  wave_S: np.ndarray
  notes: tuple[str, ...] = ()
  joins: tuple[int, ...] = ()


def read(source: str | os.PathLike | BinaryIO, name: str | None = None) -> np.ndarray:
  """Returns wave_S of `load`, without its notes."""
  return load(source, name=name).wave_S


def load(
  source: str | os.PathLike | BinaryIO,
  *,
  span_s: tuple[float, float] | None = None,
  longest_s: float = math.inf,
  name: str | None = None,
) -> Loaded:
  """Returns the recording in a file (WAV, FLAC, OGG, MP3, ...) as mono float32 at `RATE_HZ`.

  `source` is a path or a seekable file. Channels are mixed by `channels.mono`; files joined into
  one are read one after another. `span_s` (start, end) selects a part, to the end of the file if
  `end` is infinite. Raises AudioError, naming the file or `name`, if the file is missing, not
  audio, truncated, shorter than the span, has an impossible rate, or fails `check`; a recording
  longer than `longest_s` is not decoded. Raises OSError if the device or file system fails.
  """
  name = name or str(source)
  with _explained(source, name), _opened(source, name) as file, contextlib.ExitStack() as opened:
    streams = [
      _stream(opened.enter_context(_Sound(part.file)), part, span_s, longest_s)
      for part in containers.parts(file, name)
    ]
    file_hz = streams[0].rate_hz
    check_rate(min(stream.rate_hz for stream in streams), name)
    cuts = _cut(streams, span_s, name)
    _check_length(
      sum((last - first) / stream.rate_hz for stream, first, last in cuts), longest_s, name
    )
    loaded = _decoded(cuts, file_hz, name)
    check(loaded.wave_S, file_hz, name)
  joins = tuple(round(sample * RATE_HZ / file_hz) for sample in loaded.joins)
  return Loaded(resample(loaded.wave_S, file_hz, RATE_HZ), loaded.notes, joins)


@contextlib.contextmanager
def _explained(source: str | os.PathLike | BinaryIO, name: str) -> Iterator[None]:
  """Turns errors of libsndfile and the system into AudioErrors that name the file."""
  try:
    yield
  except AudioError:
    _check_device(source)
    raise
  except (soundfile.LibsndfileError, OSError) as error:
    if isinstance(error, OSError) and not system.is_of_path(error):
      raise
    _check_device(source)
    if isinstance(error, OSError):
      raise AudioError(
        f"{name}: cannot be read: {error.strerror}. Correct its path, copy it again, or leave it "
        "out."
      ) from error
    raise AudioError(
      f"{name}: not audio, or damaged: expected WAV, FLAC, OGG or MP3, and the decoder reports "
      f"{error.error_string!r}. Convert it, copy it again, or leave it out."
    ) from error


def _check_device(source: str | os.PathLike | BinaryIO) -> None:
  """Raises the OSError of a device that cannot read a file, which libsndfile reports as damage."""
  try:
    if isinstance(source, (str, os.PathLike)) and Path(source).is_file():
      with open(source, "rb") as file:
        while file.read(2**20):
          pass
  except OSError as error:
    if not system.is_of_path(error):
      raise


def check(wave_S: np.ndarray, rate_hz: int, name: str, longest_s: float = math.inf) -> None:
  """Raises AudioError, naming `name`, for a wave that cannot be used: it has no samples, values
  that are not finite or above LOUDEST_PEAK, less than SHORTEST_S or more than `longest_s` seconds,
  or a `peak` below QUIETEST_PEAK."""
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
  loudest = float(np.abs(wave_S).max())
  if loudest > LOUDEST_PEAK:
    raise AudioError(
      f"{name}: too loud: its largest sample is {loudest:.2g}, expected numbers from -1 to 1, or "
      "integers of at most 32 bits. Write the file again, or leave it out."
    )
  largest = peak(wave_S)
  if largest < QUIETEST_PEAK:
    offset = f" beside an offset of {wave_S.mean():.2g}" if largest < loudest else ""
    raise AudioError(
      f"{name}: silent: its largest sample is {largest:.2g}{offset}, expected at least "
      f"{QUIETEST_PEAK:g} (full scale is 1). Record it again, or leave it out."
    )


def peak(wave_S: np.ndarray) -> float:
  """Returns the peak of a wave, or its range if that is smaller, as a DC offset is no sound."""
  if not len(wave_S):
    return 0.0
  high, low = float(wave_S.max()), float(wave_S.min())
  return abs(min(max(high, -low), high - low))  # of -0.0 too


def write(
  path: str | os.PathLike, wave_S: np.ndarray, rate_hz: int = RATE_HZ, ending: str = ".wav"
) -> None:
  """Writes a recording in the format of `ending`, one of ENDINGS, even if the path ends otherwise;
  a wave that exceeds [-1, 1] is divided by its peak."""
  # Encoded in memory: libsndfile does not report why writing to a device failed.
  Path(path).write_bytes(_encoded(wave_S, rate_hz, *ENDINGS[ending]))


def to_flac(wave_S: np.ndarray, rate_hz: int = RATE_HZ) -> bytes:
  """Returns 16-bit FLAC bytes. A wave that exceeds [-1, 1] is divided by its peak."""
  return _encoded(wave_S, rate_hz, *ENDINGS[".flac"])


def from_flac(data: bytes) -> tuple[np.ndarray, int]:
  """Returns (wave_S, rate_hz) of `to_flac` bytes: the wave rounded to 16 bits."""
  return soundfile.read(io.BytesIO(data), dtype="float32")


def read_flac(data: bytes) -> np.ndarray:
  """Returns wave_S at `RATE_HZ` from FLAC bytes of any rate."""
  return resample(*from_flac(data), RATE_HZ)


def resample(wave_S: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
  """Returns wave_S resampled (soxr, high quality); the same array if the rates are equal."""
  if from_hz == to_hz:
    return wave_S
  return soxr.resample(np.ascontiguousarray(wave_S, np.float32), from_hz, to_hz)


def change_speed(wave_S: np.ndarray, factor: float) -> np.ndarray:
  """Returns wave_S played `factor` times as fast; pitch and formants are scaled too. Source: speed
  perturbation, Ko et al., Interspeech 2015."""
  return resample(wave_S, RATE_HZ * factor, RATE_HZ)


def check_rate(rate_hz: float, name: str) -> None:
  """Raises AudioError, naming `name`, for a rate below LOWEST_HZ."""
  if rate_hz < LOWEST_HZ:
    raise AudioError(
      f"{name}: impossible sample rate: {rate_hz:g} Hz, expected at least {LOWEST_HZ}. Write it "
      "again with the right rate in its header, or leave it out."
    )


def _check_length(seconds: float, longest_s: float, name: str) -> None:
  if seconds > longest_s:
    raise AudioError(
      f"{name}: too long: {seconds:.1f} s, expected at most {longest_s:g} s. Cut it where the "
      "speaker pauses, or leave it out."
    )


class _Sound(soundfile.SoundFile):
  """A file that reports that it cannot seek: soundfile would seek after every read, which fails at
  the end of a FLAC of unknown length."""

  def seekable(self) -> bool:
    return False


@dataclasses.dataclass(frozen=True, eq=False)
class _Timed:
  """One stream of a file, the samples per channel that its header declares, and whether it is
  `ended` as in `containers.Contained`."""

  sound: _Sound
  frames: int
  ended: bool

  @property
  def rate_hz(self) -> int:
    return self.sound.samplerate

  @property
  def seconds(self) -> float:
    return self.frames / self.rate_hz


@contextlib.contextmanager
def _opened(source: str | os.PathLike | BinaryIO, name: str) -> Iterator[BinaryIO]:
  """Yields a seekable file."""
  if not isinstance(source, (str, os.PathLike)):
    yield source
    return
  path = Path(source)
  try:
    os.fspath(path).encode()
    mode = path.stat().st_mode
  except UnicodeEncodeError as error:
    raise AudioError(
      f"{name}: its name is not UTF-8, so it cannot be written to answers or manifests. Rename the "
      "file; convmv renames whole folders."
    ) from error
  except (FileNotFoundError, ValueError) as error:  # ValueError: a NUL in the path
    raise AudioError(
      f"{name}: no such file. Give the path of an audio file (WAV, FLAC, OGG or MP3)."
    ) from error
  if stat.S_ISDIR(mode):
    raise AudioError(
      f"{name}: is a folder. Name the files in it, such as {path / '*.wav'}; a shell lists them."
    )
  if not stat.S_ISREG(mode):
    raise AudioError(
      f"{name}: is a pipe or a device, not a file. `generate --audio` reads pipes; elsewhere save "
      "its content as a file."
    )
  with open(path, "rb") as file:
    yield file


def buffered(file: BinaryIO, name: str) -> BinaryIO:
  """Returns a seekable file with the content of one that cannot seek; raises AudioError if it has
  more than LONGEST_PIPE_BYTES."""
  data = file.read(LONGEST_PIPE_BYTES + 1)
  if len(data) > LONGEST_PIPE_BYTES:
    raise AudioError(
      f"{name}: a pipe gave over {LONGEST_PIPE_BYTES / 2**30:g} GiB and did not end. Write it to a "
      "file, and cut that where the speaker pauses."
    )
  return io.BytesIO(data)


def _stream(
  sound: _Sound, part: containers.Contained, span_s: tuple[float, float] | None, longest_s: float
) -> _Timed:
  """Returns a stream with its length, which is counted, up to the limit, if no header has it."""
  frames = sound.frames
  if frames == UNKNOWN_FRAMES:
    most, frames = (longest_s if span_s is None else span_s[1]) * sound.samplerate, 0
    while frames <= most and (more := len(sound.read(READ_SAMPLES, dtype="float32"))):
      frames += more
    sound.seek(0)
  frames = frames * part.declared // part.present if part.present else 0
  return _Timed(sound, frames, part.ended)


def _cut(
  streams: Sequence[_Timed], span_s: tuple[float, float] | None, name: str
) -> list[tuple[_Timed, int, int]]:
  """Returns [(stream, first sample, stop sample), ...] of the consecutive streams in a span."""
  total_s = sum(stream.seconds for stream in streams)
  start_s, end_s = span_s or (0.0, math.inf)
  past_end = math.isfinite(end_s) and end_s > total_s + SLACK_S
  if span_s and (start_s >= total_s or past_end):
    span = f"{start_s:g} s to {end_s:g} s" if math.isfinite(end_s) else f"{start_s:g} s to the end"
    raise AudioError(
      f"{name}: outside its file: {span} requested, the file lasts {total_s:.2f} s. Correct "
      "offset and duration, or leave it out."
    )
  cuts, offset_s = [], 0.0
  for stream in streams:
    first = max(0, round((start_s - offset_s) * stream.rate_hz))
    last = min(stream.frames, round((min(end_s, total_s) - offset_s) * stream.rate_hz))
    if first < last:
      cuts.append((stream, first, last))
    offset_s += stream.seconds
  return cuts


def _decoded(cuts: Sequence[tuple[_Timed, int, int]], rate_hz: int, name: str) -> Loaded:
  """Returns parts of streams as one wave at `rate_hz`, concatenated."""
  waves, notes = [], []
  for stream, first, last in cuts:
    if first:
      stream.sound.seek(min(first, stream.sound.frames))
    wave_SC = _samples(stream.sound, last - first)
    if first + len(wave_SC) < last:
      raise AudioError(
        f"{name}: truncated: its header declares {stream.frames} samples, the file holds "
        f"{first + len(wave_SC)}. Copy it again, or repair it with an audio editor."
      )
    wave_S, channel_notes = channels.mono(wave_SC, stream.rate_hz)
    waves.append(resample(wave_S, stream.rate_hz, rate_hz))
    notes += channel_notes
    if last == stream.frames and not stream.ended:
      notes.append("without an end: its last page is not marked as such, so more may be missing")
  if len(cuts) > 1:
    notes.insert(0, f"joined: the file holds {len(cuts)} recordings, read one after another")
  wave_S = np.concatenate(waves) if waves else np.zeros(0, np.float32)
  joins = itertools.accumulate(map(len, waves[:-1]))
  return Loaded(wave_S, tuple(dict.fromkeys(notes)), tuple(joins))


def _samples(sound: _Sound, count: int) -> np.ndarray:
  """Returns wave_SC of up to `count` samples; needs memory for those in the file only."""
  blocks = []
  while count:
    blocks.append(sound.read(min(count, READ_SAMPLES), dtype="float32", always_2d=True))
    count = count - len(blocks[-1]) if len(blocks[-1]) == READ_SAMPLES else 0
  return np.concatenate(blocks)


def _encoded(wave_S: np.ndarray, rate_hz: int, form: str, subtype: str) -> bytes:
  loudest = float(np.abs(wave_S).max(initial=0.0))
  buffer = io.BytesIO()
  fitting_S = wave_S / loudest if loudest > 1 else wave_S
  soundfile.write(buffer, fitting_S, rate_hz, format=form, subtype=subtype)
  return buffer.getvalue()
