"""The frames of MP3 and its relatives: counted, joined streams told apart, all else left out.

libsndfile takes the length from the header of the first stream, or guesses it by the bit rate of
its first frame, and reads no further. Here every stream gets a header that counts what there is.
Sources: ISO/IEC 11172-3 and 13818-3; the Xing header as mpg123 and LAME read and write it.
"""

import dataclasses
import functools
import struct
from collections.abc import Iterator

# kbit/s by index 1 to 14, of MPEG 1 in its layers, then of MPEG 2 and 2.5.
BIT_RATES = {
  (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
  (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
  (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
  (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
  (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
  (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES_HZ = (44_100, 48_000, 32_000)  # of MPEG 1; half of it in 2, a quarter in 2.5
HAS_FRAMES, HAS_BYTES = 1, 2  # flags of a Xing header
BEHIND_FRAMES = ((HAS_BYTES, 4), (4, 100), (8, 4))  # flags, and how long is what each announces
MISSED_FRAMES = 2  # at most 0.14 s: recorders that are switched off lose them
LAME_BYTES = 24  # of LAME's words behind them, up to those about padding


@dataclasses.dataclass(frozen=True)
class Frames:
  """A stream of them as a file of its own: `frames` of sound behind a header that says so.

  `promised` is how many its own header said there are, `frames` where it had none or missed it by
  `MISSED_FRAMES`.
  """

  data: bytes
  frames: int
  promised: int


@dataclasses.dataclass(frozen=True)
class _Frame:
  """What the four bytes before a frame say."""

  kind: tuple[int, int, int, bool]  # version, layer, rate, mono: alike in all frames of a stream
  length: int
  side_bytes: int  # between these four and the sound, where a Xing header begins


def may_begin(magic: bytes) -> bool:
  """Returns whether a file that begins so may be MP3: a frame, a tag, or zeros before them."""
  return magic[:3] == b"ID3" or not any(magic) or _frame(magic[:4]) is not None


def streams(data: bytes) -> list[Frames]:
  """Returns the streams of MP3 in a file, in order; tags and what is no frame are left out."""
  found: list[Frames] = []
  header, pieces, kind = b"", [], None
  for frame, place in _frames(data):
    body = data[place : place + frame.length]
    info = _is_info(body, frame)
    if pieces and (info or frame.kind != kind):
      found.append(_stream(header, pieces))
      header, pieces = b"", []
    kind = frame.kind
    if info:
      header = body
    else:
      pieces.append(body)
  return [*found, _stream(header, pieces)] if pieces else found


def _frames(data: bytes) -> Iterator[tuple[_Frame, int]]:
  """Yields whole frames and where they lie.

  The first after a gap counts if another of its kind, a tag or the end follows: the two bytes that
  begin a frame occur in anything.
  """
  place, kind = 0, None
  while place < len(data):
    if tag := tag_bytes(data, place):
      place, kind = place + tag, None
      continue
    frame = _frame(data[place : place + 4])
    if frame is not None and (frame.kind == kind or _confirmed(data, place, frame)):
      if place + frame.length > len(data):
        return
      yield frame, place
      place, kind = place + frame.length, frame.kind
    else:
      places = [data.find(sign, place + 1) for sign in (b"\xff", b"ID3")]
      place, kind = min((at for at in places if at >= 0), default=len(data)), None


def _confirmed(data: bytes, place: int, frame: _Frame) -> bool:
  behind = place + frame.length
  following = _frame(data[behind : behind + 4])
  alike = following is not None and following.kind == frame.kind
  return alike or behind == len(data) or (behind < len(data) and tag_bytes(data, behind) > 0)


def tag_bytes(data: bytes, place: int) -> int:
  """Returns how long the tag is that begins here (ID3, APE), 0 where none does."""
  head = data[place : place + 32]
  if head[:3] == b"ID3" and len(head) >= 10 and all(one < 128 for one in head[6:10]):
    size = functools.reduce(lambda all_, one: all_ << 7 | one, head[6:10], 0)
    return 10 + size + 10 * bool(head[5] & 0x10)
  if head[:3] == b"TAG":
    return 128
  if head[:8] == b"APETAGEX" and len(head) == 32:
    return struct.unpack_from("<I", head, 12)[0] + 32 * bool(head[23] & 0x20)
  return 0


@functools.lru_cache(maxsize=4_096)
def _frame(head: bytes) -> _Frame | None:
  """Returns what a frame's four bytes say, None where they are none or leave the length open."""
  if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
    return None
  version, layer = {3: 1, 2: 2, 0: 4}.get(head[1] >> 3 & 3), 4 - (head[1] >> 1 & 3)
  index, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
  if version is None or layer == 4 or index in (0, 15) or rate == 3 or head[3] & 3 == 2:
    return None
  rate_hz = RATES_HZ[rate] // version
  bits = 1_000 * BIT_RATES[min(version, 2), layer][index - 1]
  if layer == 1:
    length = (12 * bits // rate_hz + padding) * 4
  else:
    length = (72 if layer == 3 and version > 1 else 144) * bits // rate_hz + padding
  mono = head[3] >> 6 == 3
  side_bytes = (17 if mono else 32) if version == 1 else (9 if mono else 17)
  checked = not head[1] & 1  # two bytes of checksum
  return _Frame((version, layer, rate_hz, mono), length, side_bytes + 2 * checked)


def _is_info(body: bytes, frame: _Frame) -> bool:
  """Returns whether a frame holds a header of its stream (Xing, Info, VBRI) instead of sound."""
  at = 4 + frame.side_bytes
  return body[at : at + 4] in (b"Xing", b"Info") or body[36:40] == b"VBRI"


def _stream(header: bytes, pieces: list[bytes]) -> Frames:
  """Returns a stream with a header that counts its frames; layers 1 and 2 have none."""
  sound, frames = b"".join(pieces), len(pieces)
  if _frame(pieces[0][:4]).kind[1] != 3:
    return Frames(sound, frames, frames)
  at = 4 + _frame(header[:4]).side_bytes if header else 0
  xing = header[at : at + 4] in (b"Xing", b"Info")
  flags = struct.unpack_from(">I", header, at + 4)[0] if xing else 0
  if flags & HAS_FRAMES:
    promised = struct.unpack_from(">I", header, at + 8)[0]
    header = _counting(header, at, flags, frames, len(sound))
  else:
    vbri = header[36:40] == b"VBRI"
    promised = struct.unpack_from(">I", header, 50)[0] if vbri else frames
    header = _info(pieces[0], frames)
  return Frames(header + sound, frames, promised if promised - frames > MISSED_FRAMES else frames)


def _counting(header: bytes, at: int, flags: int, frames: int, sound_bytes: int) -> bytes:
  """Returns a frame with a Xing header at `at`, with the right count of what follows it."""
  right = bytearray(header)
  if struct.unpack_from(">I", header, at + 8)[0] != frames:
    struct.pack_into(">I", right, at + 8, frames)
    # Cut, or joined to what follows: the samples at the end are not the padding of an encoder.
    lame = at + 12 + sum(size for flag, size in BEHIND_FRAMES if flags & flag)
    if len(right) >= lame + LAME_BYTES:
      right[lame + 22] &= 0xF0
      right[lame + 23] = 0
  if flags & HAS_BYTES:
    struct.pack_into(">I", right, at + 12, len(header) + sound_bytes)
  return bytes(right)


def _info(piece: bytes, frames: int) -> bytes:
  """Returns a frame without sound that says how many follow."""
  # The highest bit rate, without a checksum: the count has room in it.
  head = bytes((piece[0], piece[1] | 1, 14 << 4 | piece[2] & 0x0C, piece[3]))
  frame = _frame(head)
  words = head + bytes(frame.side_bytes) + b"Info" + struct.pack(">II", HAS_FRAMES, frames)
  return words + bytes(frame.length - len(words))
