"""The audio streams of a file, with the declared and the actual length of each.

libsndfile reads a truncated WAV silently, may read nothing of a WAV that was written to a pipe, and
reads only the first of several files joined into one.
"""

import dataclasses
import io
import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

from audiopalm.audio import mpeg
from audiopalm.errors import AudioError

# Programs write an unknown length as 0, or as about 2^31, 2^32, 2^63 or 2^64: ffmpeg 0xffffffff,
# sox and espeak 0x7ffff000, GStreamer 0x7fff0000, arecord 2^31.
PLACEHOLDERS = tuple(range(2**bits - 2**16, 2**bits + 2**16 + 1) for bits in (31, 32, 63, 64))
SLOPPY_BYTES = 64  # by which writers miscount their output: a header or two, 2 ms of audio
WAVES = (b"RIFF", b"RIFX", b"RF64", b"BW64")
TAGGED = (b"fLaC", b"OggS", *WAVES)  # formats before which some programs write an ID3 tag
LONGEST_FMT = 4_096  # bytes; a longer chunk does not describe a wave
LONGEST_FILE = 2**43  # bytes; damaged sizes lead to offsets beyond it, which no system can seek to
BEGINS, ENDS = 0x02, 0x04  # flags of the first and of the last page of an Ogg stream


@dataclasses.dataclass(frozen=True, eq=False)
class Contained:
  """A stream as a file of its own, without a name, so that soundfile goes by its content.

  Its header declares a length of `declared`, of which the file has `present`, in bytes or MP3
  frames. `ended` is False for an Ogg stream whose last page is not marked as the last.
  """

  file: BinaryIO
  declared: int = 1
  present: int = 1
  ended: bool = True


def parts(file: BinaryIO, name: str) -> list[Contained]:
  """Returns the streams of a file in order: one, or several if files were joined.

  A declared length that is unknown, or wrong by a few bytes, is replaced by the length present; ID3
  tags before a format other than MP3 are skipped. Raises AudioError for an empty file, for a WAV
  whose header declares less audio than its total size, and for an ID3 tag without audio.
  """
  end = file.seek(0, os.SEEK_END)
  if not end:
    raise AudioError(f"{name}: empty: it holds no bytes. Record it again, or leave it out.")
  magic, tags_end = _at(file, 0, 16), 0
  while tag_bytes := mpeg.tag_bytes(_at(file, tags_end, 32), 0):
    tags_end += tag_bytes
  if tags_end and _at(file, tags_end, 4) in TAGGED:
    return parts(Window(b"", file, tags_end, end), name)
  streams = []
  if magic[:4] in WAVES and magic[8:12] == b"WAVE":
    streams = list(_waves(file, end, name))
  elif magic[:4] == b"OggS":
    streams = _ogg_links(file, end)
  elif mpeg.may_begin(magic):
    streams = _mpeg_parts(_at(file, 0, end), name)
  return streams or [Contained(Window(b"", file, 0, end), *_other_sizes(file, magic, end))]


class Window(io.RawIOBase):
  """A file with the content `head`, then bytes `start` to `stop` of another file."""

  def __init__(self, head: bytes, file: BinaryIO, start: int, stop: int):
    self._head, self._file, self._start = head, file, start - len(head)
    self._length = len(head) + stop - start
    self._position = 0

  def readable(self) -> bool:
    return True

  def seekable(self) -> bool:
    return True

  def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
    base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
    self._position = min(max(0, base + offset), LONGEST_FILE)
    return self._position

  def tell(self) -> int:
    return self._position

  def readinto(self, buffer: memoryview) -> int:
    stop = min(self._position + len(buffer), self._length)
    data = self._head[self._position : stop]
    after_head = self._position + len(data)
    if after_head < stop:
      data += _at(self._file, self._start + after_head, stop - after_head)
    buffer[: len(data)] = data
    self._position += len(data)
    return len(data)


@dataclasses.dataclass(frozen=True)
class _Wave:
  """One RIFF container: its format chunk, the offset of its audio, and its declared sizes."""

  magic: bytes
  fmt: bytes
  data: int
  data_bytes: int
  riff_stop: int | None  # None if unknown to the writer
  padded: bool  # chunks of odd size are padded, as the format requires and libsndfile expects


def _waves(file: BinaryIO, end: int, name: str) -> Iterator[Contained]:
  """Yields the WAVs that follow one another in a file."""
  start: int | None = 0
  while start is not None and (wave := _wave(file, start)) is not None:
    declared, present = _audio_bytes(file, wave, start, end, name)
    following = _following(file, wave, present)
    plain = wave.padded and wave.magic != b"BW64" and not _unknown(wave.data_bytes, 63)
    if start == 0 and following is None and plain and (wave.data_bytes or not present):
      yield Contained(Window(b"", file, 0, end), declared, present)
    else:
      yield Contained(_with_header(file, wave, present), declared, present)
    start = following


def _wave(file: BinaryIO, start: int) -> _Wave | None:
  """Returns the WAV at offset `start`, None if it lacks a format chunk or audio."""
  magic = _at(file, start, 4)
  order = _order(magic)
  (riff_bytes,) = struct.unpack(f"{order}I", _at(file, start + 4, 4))
  fmt, long_sizes, padded, offset = b"", None, True, start + 12
  while _is_chunk(head := _at(file, offset, 8)):
    kind, size = struct.unpack(f"{order}4sI", head)
    if kind == b"data" and len(fmt) >= 16:
      if magic in (b"RF64", b"BW64") and long_sizes and size == 2**32 - 1:
        riff_bytes, size = long_sizes
      known = riff_bytes and not _unknown(riff_bytes)
      stop = start + 8 + riff_bytes if known else None
      return _Wave(magic, fmt, offset + 8, size, stop, padded)
    if kind == b"fmt ":
      fmt = _at(file, offset + 8, min(size, LONGEST_FMT))
    elif kind == b"ds64" and size >= 16:
      long_sizes = struct.unpack("<QQ", _at(file, offset + 8, 16))
    offset += 8 + size
    if size % 2 and not _is_chunk(_at(file, offset, 8)):
      offset += 1
    elif size % 2:
      padded = False
  return None


def _audio_bytes(file: BinaryIO, wave: _Wave, start: int, end: int, name: str) -> tuple[int, int]:
  """Returns (declared, present) bytes of audio of a WAV."""
  rest = end - wave.data
  complete = wave.riff_stop is not None and wave.data < wave.riff_stop <= end
  if wave.data_bytes == 0 and rest and not complete:
    return rest, rest
  audio_stop = wave.data + wave.data_bytes
  missed = wave.riff_stop - audio_stop if complete else 0
  if missed > SLOPPY_BYTES and not any(
    _is_chunk(_at(file, offset, 8)) for offset in (audio_stop, audio_stop + 1)
  ):
    raise AudioError(
      f"{name}: contradictory header: it declares {wave.data_bytes} bytes of audio, but {missed} "
      "bytes follow that its total size counts and that are no other chunk. Convert the original "
      "again, or leave it out."
    )
  (block_bytes,) = struct.unpack_from(f"{_order(wave.magic)}H", wave.fmt, 12)
  return _lengths(wave.data_bytes, rest, (end - start, end - start - 8), block_bytes)


def _lengths(
  size: int, rest: int, totals: tuple[int, ...], block_bytes: int = 1
) -> tuple[int, int]:
  """Returns (declared, present) bytes of audio, for a declared `size` that `rest` bytes follow.

  Both are `rest` if the writer did not know the size, wrote that of the whole file (one of
  `totals`), or was wrong by a block or a few bytes.
  """
  sloppy = size - rest <= max(SLOPPY_BYTES, block_bytes - 1) or size in totals
  if _unknown(size) or (size > rest and sloppy):
    return rest, rest
  return size, min(size, rest)


def _following(file: BinaryIO, wave: _Wave, present: int) -> int | None:
  """Returns the offset of the next WAV in the file, None if there is none."""
  stops = {wave.data + present, wave.riff_stop or 0}
  for offset in sorted(stops | {stop + 1 for stop in stops}):
    magic = _at(file, offset, 12)
    if offset >= wave.data and magic[:4] in WAVES and magic[8:] == b"WAVE":
      return offset
  return None


def _with_header(file: BinaryIO, wave: _Wave, present: int) -> Window:
  """Returns a WAV with the same audio and a correct header."""
  magic = b"RIFX" if wave.magic == b"RIFX" else b"RIFF"
  fmt = wave.fmt + bytes(len(wave.fmt) % 2)
  sizes = [min(size, 2**32 - 1) for size in (20 + len(fmt) + present, len(wave.fmt), present)]
  riff, fmt_size, data = (struct.pack(f"{_order(magic)}I", size) for size in sizes)
  head = magic + riff + b"WAVEfmt " + fmt_size + fmt + b"data" + data
  return Window(head, file, wave.data, wave.data + present)


def _other_sizes(file: BinaryIO, magic: bytes, end: int) -> tuple[int, int]:
  """Returns (declared, present) of a Wave64, AIFF or AU file; (1, 1) for others."""
  if magic[:4] == b".snd":
    start, size = struct.unpack(">II", magic[4:12])
    return _lengths(size or 2**32 - 1, end - start, (end,))
  wide = magic == bytes.fromhex("726966662e91cf11a5d628db04c10000")
  if not wide and (magic[:4] != b"FORM" or magic[8:12] not in (b"AIFF", b"AIFC")):
    return 1, 1
  offset = 40 if wide else 12
  while len(head := _at(file, offset, 24 if wide else 8)) >= 8:
    # The size of a Wave64 chunk includes its header of 24 bytes; chunks start at multiples of 8.
    size = struct.unpack("<Q", head[16:24])[0] - 24 if wide else struct.unpack(">I", head[4:])[0]
    body = offset + len(head)
    if head[:4] in (b"data", b"SSND"):
      alignment = 0 if wide else 8  # bytes before the audio of an AIFF
      unknown = size <= alignment or _unknown(size + 24, 63)
      size = 2**32 - 1 if unknown else size - alignment
      return _lengths(size, end - body - alignment, (end, end - 8))
    offset = body + max(size, 0) + (-size % 8 if wide else size % 2)
  return 1, 1


def _ogg_links(file: BinaryIO, end: int) -> list[Contained]:
  """Returns the links of an Ogg file: consecutive streams, each with its own header."""
  starts, ended, offset, in_headers = [0], [False], 0, True
  while len(head := _at(file, offset, 27)) == 27 and head[:4] == b"OggS":
    if head[5] & BEGINS and not in_headers:
      starts.append(offset)
      ended.append(False)
    in_headers = bool(head[5] & BEGINS)
    offset += 27 + head[26] + sum(_at(file, offset + 27, head[26]))
    ended[-1] = bool(head[5] & ENDS) and offset <= end  # of the last page of the link
  links = zip(starts, [*starts[1:], end], ended, strict=True)
  return [Contained(Window(b"", file, start, stop), ended=whole) for start, stop, whole in links]


def _mpeg_parts(data: bytes, name: str) -> list[Contained]:
  streams = mpeg.streams(data)
  if not streams and data[:3] == b"ID3":
    raise AudioError(
      f"{name}: holds no audio: it is an ID3 tag (title, cover) that no MP3 frame follows. Copy it "
      "again, or leave it out."
    )
  return [Contained(io.BytesIO(stream), declared, frames) for stream, declared, frames in streams]


def _order(magic: bytes) -> str:
  return ">" if magic == b"RIFX" else "<"


def _unknown(size: int, lowest_bits: int = 31) -> bool:
  """Returns whether a size is a placeholder for an unknown one, of `lowest_bits` bits or more."""
  return any(size in values for values in PLACEHOLDERS if values[-1] >= 2**lowest_bits)


def _is_chunk(head: bytes) -> bool:
  """Returns whether eight bytes can be a chunk header, which starts with four ASCII characters."""
  return len(head) == 8 and all(0x20 <= letter < 0x7F for letter in head[:4])


def _at(file: BinaryIO, offset: int, count: int) -> bytes:
  """Returns up to `count` bytes of a file from `offset` on."""
  if offset >= LONGEST_FILE:
    return b""
  file.seek(offset)
  return file.read(count)
