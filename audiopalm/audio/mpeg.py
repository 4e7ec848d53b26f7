"""MPEG audio (MP3, MP2, MP1): counts frames, separates joined streams, drops everything else.

libsndfile takes the length from the first stream's header, or guesses it from the bit rate of the
first frame, and stops there. Here every stream gets a header with its actual frame count.
Sources: ISO/IEC 11172-3 and 13818-3; the Xing header as mpg123 and LAME read and write it.
"""

import dataclasses
import functools
import struct
from collections.abc import Iterator

# By (version, layer): kbit/s for the indices 1 to 14; version 2 stands for 2.5 too.
BIT_RATES = {
  (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
  (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
  (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
  (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
  (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
  (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES_HZ = (44_100, 48_000, 32_000)  # of MPEG 1; half of that in 2, a quarter in 2.5
HAS_FRAMES, HAS_BYTES = 1, 2  # flags of a Xing header
AFTER_FRAMES = ((HAS_BYTES, 4), (4, 100), (8, 4))  # (flag, bytes) of the fields after the frames
MISSED_FRAMES = 2  # at most 0.14 s, which recorders lose when they are switched off
LAME_BYTES = 24  # of the LAME fields after those, up to the encoder padding


@dataclasses.dataclass(frozen=True)
class _Frame:
  """The header of a frame, its first four bytes."""

  kind: tuple[int, int, int, bool]  # version, layer, rate, mono: the same in a whole stream
  length: int
  side_bytes: int  # between the header and the audio, where a Xing header starts


def may_begin(magic: bytes) -> bool:
  """Returns whether an MP3 file may start with these bytes: a frame, a tag or zeros."""
  return magic[:3] == b"ID3" or not any(magic) or _frame(magic[:4]) is not None


def streams(data: bytes) -> list[tuple[bytes, int, int]]:
  """Returns [(data, declared, frames), ...] of the MP3 streams of a file in order.

  The data of each are a file of its own, without tags and anything else between frames: `frames`
  frames of audio, after a header that counts them. `declared` is the count in the original header,
  `frames` if there was none or if it was wrong by at most MISSED_FRAMES.
  """
  complete, header, bodies, kind = [], b"", [], None
  for frame, offset in _frames(data):
    body = data[offset : offset + frame.length]
    info = _is_info(body, frame)
    if bodies and (info or frame.kind != kind):
      complete.append(_stream(header, bodies))
      header, bodies = b"", []
    kind = frame.kind
    if info:
      header = body
    else:
      bodies.append(body)
  return [*complete, _stream(header, bodies)] if bodies else complete


def _frames(data: bytes) -> Iterator[tuple[_Frame, int]]:
  """Yields whole frames and their offsets. The two sync bytes of a frame occur in any data, so the
  first frame after a gap counts only if another of its kind, a tag or the end follows it."""
  offset, kind = 0, None
  while offset < len(data):
    if tag := tag_bytes(data, offset):
      offset, kind = offset + tag, None
      continue
    frame = _frame(data[offset : offset + 4])
    if frame is not None and (frame.kind == kind or _is_confirmed(data, offset, frame)):
      if offset + frame.length > len(data):
        return
      yield frame, offset
      offset, kind = offset + frame.length, frame.kind
    else:
      offsets = [data.find(sign, offset + 1) for sign in (b"\xff", b"ID3")]
      offset, kind = min((at for at in offsets if at >= 0), default=len(data)), None


def _is_confirmed(data: bytes, offset: int, frame: _Frame) -> bool:
  """Returns whether a frame of the same kind, a tag or the end follows a frame."""
  stop = offset + frame.length
  following = _frame(data[stop : stop + 4])
  alike = following is not None and following.kind == frame.kind
  return alike or stop == len(data) or (stop < len(data) and tag_bytes(data, stop) > 0)


def tag_bytes(data: bytes, offset: int) -> int:
  """Returns the length of the ID3 or APE tag at an offset, 0 if there is none."""
  head = data[offset : offset + 32]
  if head[:3] == b"ID3" and len(head) >= 10 and all(byte < 128 for byte in head[6:10]):
    size = functools.reduce(lambda high, byte: high << 7 | byte, head[6:10], 0)
    return 10 + size + 10 * bool(head[5] & 0x10)
  if head[:3] == b"TAG":
    return 128
  if head[:8] == b"APETAGEX" and len(head) == 32:
    return struct.unpack_from("<I", head, 12)[0] + 32 * bool(head[23] & 0x20)
  return 0


@functools.lru_cache(maxsize=4_096)
def _frame(head: bytes) -> _Frame | None:
  """Returns a frame header, None if these bytes are not one or do not give the length."""
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
  has_checksum = not head[1] & 1  # of two bytes
  return _Frame((version, layer, rate_hz, mono), length, side_bytes + 2 * has_checksum)


def _is_info(body: bytes, frame: _Frame) -> bool:
  """Returns whether a frame has a header of its stream (Xing, Info, VBRI) instead of audio."""
  at = 4 + frame.side_bytes
  return body[at : at + 4] in (b"Xing", b"Info") or body[36:40] == b"VBRI"


def _stream(header: bytes, bodies: list[bytes]) -> tuple[bytes, int, int]:
  """Returns (data, declared, frames) of a stream; layers 1 and 2 have no header."""
  audio, frames = b"".join(bodies), len(bodies)
  if _frame(bodies[0][:4]).kind[1] != 3:
    return audio, frames, frames
  at = 4 + _frame(header[:4]).side_bytes if header else 0
  xing = header[at : at + 4] in (b"Xing", b"Info")
  flags = struct.unpack_from(">I", header, at + 4)[0] if xing else 0
  if flags & HAS_FRAMES:
    declared = struct.unpack_from(">I", header, at + 8)[0]
    header = _corrected(header, at, flags, frames, len(audio))
  else:
    vbri = header[36:40] == b"VBRI"
    declared = struct.unpack_from(">I", header, 50)[0] if vbri else frames
    header = _info(bodies[0], frames)
  return header + audio, declared if declared - frames > MISSED_FRAMES else frames, frames


def _corrected(header: bytes, at: int, flags: int, frames: int, audio_bytes: int) -> bytes:
  """Returns a frame with a Xing header at offset `at`, with the counts set."""
  corrected = bytearray(header)
  if struct.unpack_from(">I", header, at + 8)[0] != frames:
    struct.pack_into(">I", corrected, at + 8, frames)
    # The stream was cut or joined to another, so its last samples are not encoder padding.
    lame = at + 12 + sum(size for flag, size in AFTER_FRAMES if flags & flag)
    if len(corrected) >= lame + LAME_BYTES:
      corrected[lame + 22] &= 0xF0
      corrected[lame + 23] = 0
  if flags & HAS_BYTES:
    struct.pack_into(">I", corrected, at + 12, len(header) + audio_bytes)
  return bytes(corrected)


def _info(body: bytes, frames: int) -> bytes:
  """Returns a frame without audio whose Info header counts the frames that follow."""
  # At the highest bit rate and without a checksum, a frame has room for the count.
  head = bytes((body[0], body[1] | 1, 14 << 4 | body[2] & 0x0C, body[3]))
  frame = _frame(head)
  info = head + bytes(frame.side_bytes) + b"Info" + struct.pack(">II", HAS_FRAMES, frames)
  return info + bytes(frame.length - len(info))
