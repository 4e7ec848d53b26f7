"""The streams of sound in an audio file: what its headers say, held against the bytes it has.

libsndfile believes the size of a WAV instead of its header, so that it reads a truncated one
without a word; where a program wrote into a pipe it may read nothing, of joined files the first.
"""

import dataclasses
import io
import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

from audiopalm.audio import mpeg
from audiopalm.errors import AudioError

# What programs write for a length that they do not know is 0 or lies at the most that 31, 32, 63 or
# 64 bits hold: ffmpeg 0xffffffff, sox and espeak 0x7ffff000, GStreamer 0x7fff0000, arecord 2^31.
PLACEHOLDERS = tuple(range(2**bits - 2**16, 2**bits + 2**16 + 1) for bits in (31, 32, 63, 64))
SLOPPY_BYTES = 64  # by which writers miscount their own: a header or two, 2 ms of sound
WAVES = (b"RIFF", b"RIFX", b"RF64", b"BW64")
TAGGED = (b"fLaC", b"OggS", *WAVES)  # formats before which some programs write a tag of MP3's
LONGEST_FMT = 4_096  # bytes: more describes no wave
LONGEST_FILE = 2**43  # bytes: places beyond it, which damaged sizes name, no system may seek
BEGINS, ENDS = 0x02, 0x04  # flags of the Ogg pages with which a stream begins and ends


@dataclasses.dataclass(frozen=True, eq=False)
class Contained:
  """One stream, as a file of its own without a name, which soundfile would judge it by.

  Its header promises `promised` where the file holds `there`: bytes, or frames of MP3. `ended` is
  False for an Ogg stream whose last page does not say that it is the last.
  """

  file: BinaryIO
  promised: int = 1
  there: int = 1
  ended: bool = True


def parts(file: BinaryIO, name: str) -> list[Contained]:
  """Returns the streams of a file in order: one, or several where files were joined.

  A length that a header leaves open, or misses by a few bytes, is what there is; tags of ID3 before
  another format than MP3 are left out. AudioError, naming `name`, for a WAV that calls itself
  complete with less sound than it is long, for an ID3 tag without sound, and for a file without a
  byte.
  """
  end = file.seek(0, os.SEEK_END)
  if not end:
    raise AudioError(f"{name}: empty: it holds no bytes. Record it again, or leave it out.")
  magic, tags_end = _at(file, 0, 16), 0
  while tag_bytes := mpeg.tag_bytes(_at(file, tags_end, 32), 0):
    tags_end += tag_bytes
  if tags_end and _at(file, tags_end, 4) in TAGGED:
    return parts(Window(b"", file, tags_end, end), name)
  whole, found = Window(b"", file, 0, end), []
  if magic[:4] in WAVES and magic[8:12] == b"WAVE":
    found = list(_waves(file, end, name))
  elif magic[:4] == b"OggS":
    found = _ogg_links(file, end)
  elif mpeg.may_begin(magic):
    found = _mpeg_parts(_at(file, 0, end), name)
  elif magic[:4] != b"fLaC":
    found = [Contained(whole, *_other_sizes(file, magic, end))]
  return found or [Contained(whole)]


class Window(io.RawIOBase):
  """A file that is `head`, then the bytes from `start` to `stop` of another file."""

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

  def readinto(self, buffer) -> int:
    stop = min(self._position + len(buffer), self._length)
    data = self._head[self._position : stop]
    if self._position + len(data) < stop:
      data += _at(
        self._file, self._start + self._position + len(data), stop - self._position - len(data)
      )
    buffer[: len(data)] = data
    self._position += len(data)
    return len(data)


@dataclasses.dataclass(frozen=True)
class _Wave:
  """One RIFF of a file: its description, where its sound begins, and what its sizes say."""

  magic: bytes
  fmt: bytes
  data: int
  data_bytes: int
  riff_stop: int | None  # None where its writer did not know
  padded: bool  # as the format asks: libsndfile finds no sound behind a chunk that is not

  @property
  def order(self) -> str:
    return _order(self.magic)

  @property
  def block_bytes(self) -> int:
    return struct.unpack_from(f"{self.order}H", self.fmt, 12)[0]


def _waves(file: BinaryIO, end: int, name: str) -> Iterator[Contained]:
  """Yields a part for each of the WAVs that lie one behind another in a file."""
  at: int | None = 0
  while at is not None and (wave := _wave(file, at)) is not None:
    promised, there = _sound_bytes(file, wave, at, end, name)
    following = _following(file, wave, there)
    plain = wave.padded and wave.magic != b"BW64" and not _unknown(wave.data_bytes, 63)
    if at == 0 and following is None and plain and (wave.data_bytes or not there):
      yield Contained(Window(b"", file, 0, end), promised, there)
    else:
      yield Contained(_with_header(file, wave, there), promised, there)
    at = following


def _wave(file: BinaryIO, at: int) -> _Wave | None:
  """Returns the WAV that begins at `at`, None where its description or its sound is missing."""
  magic = _at(file, at, 4)
  order = _order(magic)
  (riff_bytes,) = struct.unpack(f"{order}I", _at(file, at + 4, 4))
  fmt, long_sizes, padded, place = b"", None, True, at + 12
  while _names_chunk(head := _at(file, place, 8)):
    kind, size = struct.unpack(f"{order}4sI", head)
    if kind == b"data" and len(fmt) >= 16:
      if magic in (b"RF64", b"BW64") and long_sizes and size == 2**32 - 1:
        riff_bytes, size = long_sizes
      known = riff_bytes and not _unknown(riff_bytes)
      stop = at + 8 + riff_bytes if known else None
      return _Wave(magic, fmt, place + 8, size, stop, padded)
    if kind == b"fmt ":
      fmt = _at(file, place + 8, min(size, LONGEST_FMT))
    elif kind == b"ds64" and size >= 16:
      long_sizes = struct.unpack("<QQ", _at(file, place + 8, 16))
    place += 8 + size
    if size % 2 and not _names_chunk(_at(file, place, 8)):
      place += 1
    elif size % 2:
      padded = False
  return None


def _sound_bytes(file: BinaryIO, wave: _Wave, at: int, end: int, name: str) -> tuple[int, int]:
  """Returns how many bytes of sound the header of a WAV promises, and how many there are."""
  rest = end - wave.data
  complete = wave.riff_stop is not None and wave.data < wave.riff_stop <= end
  if wave.data_bytes == 0 and rest and not complete:
    return rest, rest
  behind = wave.data + wave.data_bytes
  missed = wave.riff_stop - behind if complete else 0
  if missed > SLOPPY_BYTES and not any(
    _names_chunk(_at(file, place, 8)) for place in (behind, behind + 1)
  ):
    raise AudioError(
      f"{name}: its header contradicts itself: it promises {wave.data_bytes} bytes of sound in a "
      f"whole that counts the {missed} bytes which follow, and they are no other chunk. Convert "
      "what it was made from again, or leave it out."
    )
  return _promise(wave.data_bytes, rest, (end - at, end - at - 8), wave.block_bytes)


def _promise(
  size: int, rest: int, totals: tuple[int, ...], block_bytes: int = 1
) -> tuple[int, int]:
  """Returns (promised, there) for sound of `size` bytes by its header where `rest` follow it.

  Both are what is there where the writer did not know the size, gave that of the whole file, one of
  `totals`, or missed it by a block or a few bytes.
  """
  sloppy = size - rest <= max(SLOPPY_BYTES, block_bytes - 1) or size in totals
  if _unknown(size) or (size > rest and sloppy):
    return rest, rest
  return size, min(size, rest)


def _following(file: BinaryIO, wave: _Wave, there: int) -> int | None:
  """Returns where another WAV begins behind this one, None where none does."""
  stops = {wave.data + there, wave.riff_stop or 0}
  for place in sorted(stops | {stop + 1 for stop in stops}):
    magic = _at(file, place, 12)
    if place >= wave.data and magic[:4] in WAVES and magic[8:] == b"WAVE":
      return place
  return None


def _with_header(file: BinaryIO, wave: _Wave, there: int) -> Window:
  """Returns a WAV of the same sound with a header that is right."""
  magic = b"RIFX" if wave.order == ">" else b"RIFF"
  fmt = wave.fmt + bytes(len(wave.fmt) % 2)
  sizes = [min(size, 2**32 - 1) for size in (20 + len(fmt) + there, len(wave.fmt), there)]
  riff, fmt_size, data = (struct.pack(f"{wave.order}I", size) for size in sizes)
  head = magic + riff + b"WAVEfmt " + fmt_size + fmt + b"data" + data
  return Window(head, file, wave.data, wave.data + there)


def _other_sizes(file: BinaryIO, magic: bytes, end: int) -> tuple[int, int]:
  """Returns what a header of Wave64, AIFF or AU promises and what is there; (1, 1) for others."""
  if magic[:4] == b".snd":
    start, size = struct.unpack(">II", magic[4:12])
    return _promise(size or 2**32 - 1, end - start, (end,))
  wide = magic == bytes.fromhex("726966662e91cf11a5d628db04c10000")
  if not wide and (magic[:4] != b"FORM" or magic[8:12] not in (b"AIFF", b"AIFC")):
    return 1, 1
  place = 40 if wide else 12
  while len(head := _at(file, place, 24 if wide else 8)) >= 8:
    # A chunk of Wave64 counts its 24 bytes of header and begins at a multiple of 8.
    size = struct.unpack("<Q", head[16:24])[0] - 24 if wide else struct.unpack(">I", head[4:])[0]
    body = place + len(head)
    if head[:4] in (b"data", b"SSND"):
      about = 0 if wide else 8  # bytes about alignment before the sound of an AIFF
      unknown = size <= about or _unknown(size + 24, 63)
      size = 2**32 - 1 if unknown else size - about
      return _promise(size, end - body - about, (end, end - 8))
    place = body + max(size, 0) + (-size % 8 if wide else size % 2)
  return 1, 1


def _ogg_links(file: BinaryIO, end: int) -> list[Contained]:
  """Returns the links of an Ogg file: streams that follow one another, each with its own header."""
  starts, ended, place, beginning = [0], [False], 0, True
  while len(head := _at(file, place, 27)) == 27 and head[:4] == b"OggS":
    if head[5] & BEGINS and not beginning:
      starts.append(place)
      ended.append(False)
    beginning = bool(head[5] & BEGINS)
    place += 27 + head[26] + sum(_at(file, place + 27, head[26]))
    ended[-1] = bool(head[5] & ENDS) and place <= end  # of the last page of the link
  stops = [*starts[1:], end]
  return [
    Contained(Window(b"", file, start, stop), ended=whole)
    for start, stop, whole in zip(starts, stops, ended, strict=True)
  ]


def _mpeg_parts(data: bytes, name: str) -> list[Contained]:
  found = mpeg.streams(data)
  if not found and data[:3] == b"ID3":
    raise AudioError(
      f"{name}: holds no sound: an ID3 tag (title, cover) and no frame of MP3 behind it. Copy it "
      "again, or leave it out."
    )
  return [Contained(io.BytesIO(one.data), one.promised, one.frames) for one in found]


def _order(magic: bytes) -> str:
  return ">" if magic == b"RIFX" else "<"


def _unknown(size: int, lowest_bits: int = 31) -> bool:
  """Returns whether a size is what stands for none, of `lowest_bits` or more."""
  return any(size in known for known in PLACEHOLDERS if known[-1] >= 2**lowest_bits)


def _names_chunk(head: bytes) -> bool:
  """Returns whether eight bytes begin with the name of a chunk, which is four letters."""
  return len(head) == 8 and all(0x20 <= letter < 0x7F for letter in head[:4])


def _at(file: BinaryIO, place: int, count: int) -> bytes:
  """Returns up to `count` bytes of a file from `place` on."""
  if place >= LONGEST_FILE:
    return b""
  file.seek(place)
  return file.read(count)
