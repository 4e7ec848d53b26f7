"""MP3s written here, then cut, joined and filled with what is no sound."""

import io
import struct

import numpy as np
import pytest
import soundfile

from audiopalm.audio import mpeg, waveform
from audiopalm.errors import AudioError

RATE_HZ = 16_000
FRAME_SAMPLES = 576
PICTURE = b"\xff\xfb\x90\x64" * 500  # bytes of a tag that begin like frames
TAG = b"ID3\3\0\0\0\0" + bytes((len(PICTURE) >> 7, len(PICTURE) & 127)) + PICTURE


def tone(hertz=440.0, seconds=1.0):
  return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)).astype(
    "f4"
  )


def mp3(wave_S, rate_hz=RATE_HZ, mode="CONSTANT", subtype="MPEG_LAYER_III"):
  file = io.BytesIO()
  soundfile.write(
    file, wave_S, rate_hz, format="MP3", subtype=subtype, bitrate_mode=mode, compression_level=0.5
  )
  return file.getvalue()


def frames(data):
  """Returns the frames of a clean MP3, the first of which is its Xing header."""
  return [data[at : at + frame.length] for frame, at in mpeg._frames(data)]


def load(data, **options):
  return waveform.load(io.BytesIO(data), name="a.mp3", **options)


def fault(data, **options):
  with pytest.raises(AudioError) as error:
    load(data, **options)
  return str(error.value)


@pytest.fixture(scope="module", params=["CONSTANT", "VARIABLE"])
def whole(request):
  """A second of tone as MP3, and the same read."""
  data = mp3(tone(), mode=request.param)
  return data, load(data).wave_S


def test_a_plain_file_is_read_as_libsndfile_reads_it(whole):
  data, wave_S = whole
  theirs, _ = soundfile.read(io.BytesIO(data), dtype="float32")
  np.testing.assert_allclose(wave_S, theirs, atol=1e-6)
  assert len(wave_S) == RATE_HZ


@pytest.mark.parametrize(
  ("before", "after"),
  [
    (TAG, b""),
    (TAG + bytes(1_000), b""),
    (bytes(4_096), b""),
    (b"", b"TAG" + bytes(125)),
    (b"", b"not of MP3 " * 200),
    (b"", bytes(5_000)),
  ],
  ids=["tag", "tag and zeros", "zeros", "tag behind", "words behind", "zeros behind"],
)
def test_bytes_between_frames_are_ignored(whole, before, after):
  data, wave_S = whole
  loaded = load(before + data + after)
  np.testing.assert_array_equal(loaded.wave_S, wave_S)
  assert loaded.notes == ()


def test_without_its_header_every_frame_is_read(whole):
  data, wave_S = whole
  header, *sound = frames(data)
  found_S = load(b"".join(sound)).wave_S
  # Nobody says now what the encoder put before and behind; mpg123 leaves out what it decodes late.
  assert len(found_S) == FRAME_SAMPLES * len(sound) - 529
  at = next(at for at in range(2_000) if np.abs(found_S[at:][:8_000] - wave_S[:8_000]).max() < 1e-3)
  np.testing.assert_allclose(found_S[at:][:RATE_HZ], wave_S, atol=1e-3)


def test_a_last_frame_that_was_cut_is_left_out(whole):
  data, wave_S = whole
  found_S = load(data[:-30]).wave_S
  assert RATE_HZ - 2 * FRAME_SAMPLES < len(found_S) <= RATE_HZ + FRAME_SAMPLES
  np.testing.assert_array_equal(found_S[:14_000], wave_S[:14_000])


def test_half_a_file_is_truncated_by_what_its_header_says(whole):
  data, _ = whole
  kept = frames(data)[: len(frames(data)) // 2]
  text = fault(b"".join(kept))
  assert "a.mp3: truncated: its header declares" in text
  promised, held = (int(word.strip(",.")) for word in text.split() if word.strip(",.").isdigit())
  assert promised == pytest.approx(RATE_HZ, abs=3 * FRAME_SAMPLES)
  assert held == pytest.approx(RATE_HZ / 2, abs=3 * FRAME_SAMPLES)


@pytest.mark.parametrize("between", [b"", TAG, b"TAG" + bytes(125), bytes(3_000)])
def test_joined_files_are_read_one_after_another(whole, between):
  data, wave_S = whole
  loaded = load(data + between + mp3(tone(880.0)))
  assert loaded.notes == ("joined: the file holds 2 recordings, read one after another",)
  assert len(loaded.wave_S) == 2 * RATE_HZ
  np.testing.assert_array_equal(loaded.wave_S[:RATE_HZ], wave_S)
  assert np.abs(np.fft.rfft(loaded.wave_S[RATE_HZ:])).argmax() == 880
  part_S = load(data + between + mp3(tone(880.0)), span_s=(1.25, 1.5)).wave_S
  assert np.abs(np.fft.rfft(part_S)).argmax() * 4 == 880


def test_frames_that_a_header_does_not_count_are_read_too(whole):
  data, wave_S = whole
  _, *sound = frames(data)
  found_S = load(data + b"".join(sound)).wave_S
  assert len(found_S) > 2 * RATE_HZ
  np.testing.assert_allclose(found_S[: RATE_HZ - 1_000], wave_S[:-1_000], atol=1e-3)


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_frames_of_every_version_are_counted(rate_hz, channels):
  wave_S = np.interp(np.arange(rate_hz) / rate_hz, np.arange(RATE_HZ) / RATE_HZ, tone())
  data = mp3(np.tile(wave_S[:, None], channels), rate_hz)
  ours = load(data).wave_S
  assert len(ours) == RATE_HZ
  _, *sound = frames(data)
  assert len(load(b"".join(sound)).wave_S) > RATE_HZ


def test_a_tag_alone_holds_no_audio():
  text = fault(TAG)
  assert "a.mp3: holds no audio: it is an ID3 tag (title, cover) that no MP3 frame follows." in text


def test_a_recording_that_is_too_long_is_counted_but_not_decoded(monkeypatch):
  data = b"".join(frames(mp3(tone()))[1:]) * 30
  monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("decoded"))
  assert "a.mp3: too long: 32." in fault(data, longest_s=20.0)


def test_a_header_with_an_unknown_bit_rate_is_no_frame():
  free = bytearray(frames(mp3(tone()))[1][:4])
  free[2] &= 0x0F
  assert mpeg._frame(bytes(free)) is None
  assert mpeg.streams(struct.pack(">I", 0xFFFFFFFF) * 99) == []
