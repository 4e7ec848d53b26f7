"""Headers of WAV and its relatives, made here byte by byte, and what is read behind them."""

import io
import struct
import time

import numpy as np
import pytest
import soundfile

from audiopalm.audio import waveform
from audiopalm.errors import AudioError

RATE_HZ = 16_000
SAMPLES = 8_000
EXTENSIBLE = struct.pack("<HHI", 22, 16, 4) + bytes.fromhex("0100000000001000800000aa00389b71")


def tone(hertz=440.0, samples=SAMPLES):
  return (0.5 * np.sin(2 * np.pi * hertz * np.arange(samples) / RATE_HZ)).astype(np.float32)


def pcm(wave_S, order="<"):
  return (wave_S * 2**15).round().astype(f"{order}i2").tobytes()


def chunk(kind, body, size=None, order="<"):
  size = len(body) if size is None else size
  return kind + struct.pack(f"{order}I", size) + body


def wav(data=None, riff=None, *, before=b"", after=b"", kind=1, magic=b"RIFF", sound=None):
  """Returns a WAV of a tone whose data and RIFF sizes say what is given, by default the truth."""
  order = ">" if magic == b"RIFX" else "<"
  sound = pcm(tone(), order) if sound is None else sound
  fmt = struct.pack(f"{order}HHIIHH", kind, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
  fmt += EXTENSIBLE if kind == 0xFFFE else b""
  rest = b"WAVE" + before + chunk(b"fmt ", fmt, order=order) + chunk(b"data", sound, data, order)
  rest += after
  return magic + struct.pack(f"{order}I", len(rest) if riff is None else riff) + rest


def long_wav(data, magic=b"RF64", riff=None):
  """Returns a WAV with sizes of 64 bits."""
  sizes = struct.pack("<QQQI", data + 72 if riff is None else riff, data, data // 2, 0)
  made = wav(2**32 - 1, 2**32 - 1, before=chunk(b"ds64", sizes))
  return magic + made[4:]


def load(data, **options):
  return waveform.load(io.BytesIO(data), name="a.wav", **options)


def fault(data, **options):
  with pytest.raises(AudioError) as error:
    load(data, **options)
  return str(error.value)


LIST = chunk(b"LIST", b"INFOISFT\4\0\0\0Lavf")
STREAMED = (0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x7FFFF024, 0x7FFF0000, 0x80000000, 0xFFFFFFDB, 0)
READ_WHOLE = {
  **{f"data and riff {size:#x}": wav(size, size) for size in STREAMED},
  "data 0, riff 36, as a recorder writes that is killed": wav(0, 36),
  "data 0, riff beyond the file": wav(0, 0x7FFFFFFF),
  "right data, riff 0": wav(None, 0),
  "16 bytes too many": wav(2 * SAMPLES + 16),
  "the size of the file": wav(2 * SAMPLES + 44),
  "the size of the RIFF": wav(2 * SAMPLES + 36, before=LIST),
  "the size of a file with a long header": wav(
    2 * SAMPLES + 44 + 4_008, before=chunk(b"JUNK", bytes(4_000))
  ),
  "data behind a LIST of odd size, padded": wav(before=chunk(b"LIST", b"INFOabc") + b"\0"),
  "the same without its byte of padding": wav(before=chunk(b"LIST", b"INFOabc")),
  "LIST behind the data": wav(after=LIST),
  "extensible": wav(kind=0xFFFE),
  "extensible, streamed": wav(0xFFFFFFFF, 0xFFFFFFFF, kind=0xFFFE),
  "big-endian": wav(magic=b"RIFX"),
  "big-endian, streamed": wav(0, 0, magic=b"RIFX"),
  "RF64": long_wav(2 * SAMPLES),
  "BW64": long_wav(2 * SAMPLES, b"BW64"),
  "RF64 without its sizes": long_wav(0, riff=0),
  "RF64 of 2^64 - 1 bytes": long_wav(2**64 - 1, riff=2**64 - 1),
  "BW64 of 2^63 - 1 bytes": long_wav(2**63 - 1, b"BW64", riff=2**63 - 1),
}


@pytest.mark.parametrize("data", READ_WHOLE.values(), ids=READ_WHOLE.keys())
def test_all_audio_is_read_if_the_header_misses_its_length(data):
  loaded = load(data)
  np.testing.assert_allclose(loaded.wave_S, tone(), atol=2**-15)
  assert loaded.notes == ()
  part_S = load(data, span_s=(0.25, 0.4)).wave_S
  np.testing.assert_array_equal(part_S, loaded.wave_S[4_000:6_400])


CUT = {
  "twice as much": wav(4 * SAMPLES),
  "twice as much, riff too": wav(4 * SAMPLES, 4 * SAMPLES + 36),
  "extensible": wav(4 * SAMPLES, kind=0xFFFE),
  "behind a LIST": wav(4 * SAMPLES, before=LIST),
  "RF64": long_wav(4 * SAMPLES),
  "BW64": long_wav(4 * SAMPLES, b"BW64"),
}


@pytest.mark.parametrize("data", CUT.values(), ids=CUT.keys())
def test_a_cut_file_says_what_its_header_declares_and_what_it_holds(data):
  assert "a.wav: truncated: its header declares 16000 samples, the file holds 8000." in fault(data)
  np.testing.assert_allclose(load(data, span_s=(0.0, 0.5)).wave_S, tone(), atol=2**-15)
  assert "lasts 1.00 s" in fault(data, span_s=(1.5, 2.0))


@pytest.mark.parametrize("form", ["W64", "RF64", "AIFF", "AU"])
def test_formats_like_wav_are_read_whole_or_not_at_all(form):
  file = io.BytesIO()
  soundfile.write(file, tone(), RATE_HZ, format=form)
  np.testing.assert_allclose(load(file.getvalue()).wave_S, tone(), atol=2**-15)
  half = file.getvalue()[:-SAMPLES]
  assert "truncated: its header declares 8000 samples, the file holds 4000." in fault(half)


def test_an_au_without_its_length_is_read():
  file = io.BytesIO()
  soundfile.write(file, tone(), RATE_HZ, format="AU")
  data = file.getvalue()[:8] + b"\xff" * 4 + file.getvalue()[12:]
  np.testing.assert_allclose(load(data).wave_S, tone(), atol=2**-15)


def test_a_header_that_declares_no_audio_but_counts_some_is_contradictory():
  text = fault(wav(0))
  assert "a.wav: contradictory header: it declares 0 bytes of audio, but" in text
  assert "16000 bytes follow that its total size counts" in text
  assert "a.wav: empty: it holds no samples" in fault(wav(0, after=LIST, sound=b""))


@pytest.mark.parametrize("behind", [b"", b"\0"])
def test_a_header_that_counts_a_part_of_its_audio_is_contradictory(behind):
  whole = 2 * SAMPLES + 36 + len(behind)
  text = fault(wav(1_000, whole, after=behind))
  assert "a.wav: contradictory header: it declares 1000 bytes of audio, but" in text
  assert f"{15_000 + len(behind)} bytes follow that its total size counts" in text
  # After the end of the whole anything may follow.
  assert len(load(wav(16_000 - 64, 16_000 + 36 - 64)).wave_S) == SAMPLES - 32
  assert len(load(wav(after=bytes(5_000), riff=2 * SAMPLES + 36)).wave_S) == SAMPLES


def test_a_stream_without_audio_is_empty():
  assert "a.wav: empty: it holds no samples" in fault(wav(0xFFFFFFFF, 0xFFFFFFFF, sound=b""))


@pytest.mark.parametrize("size", [0, 8, 2**42, 2**63 + 5, 2**64 - 9])
@pytest.mark.parametrize("form", ["W64", "RF64"])
def test_impossible_sizes_give_audio_or_an_error_and_never_a_loop(form, size, capfd):
  file = io.BytesIO()
  soundfile.write(file, tone(), RATE_HZ, format=form)
  data = file.getvalue()
  for at in range(16, 60, 4):
    damaged = data[:at] + struct.pack("<Q", size) + data[at + 8 :]
    try:
      assert load(damaged).wave_S.dtype == np.float32
    except AudioError as error:
      assert str(error).startswith("a.wav: ")
  assert "Traceback" not in capfd.readouterr().err


def test_a_header_followed_by_zeros_is_read_once():
  zeros = b"RIFF\0\0\0\0WAVE" + bytes(2**25)
  begun_s = time.perf_counter()
  assert "a.wav: " in fault(zeros)
  assert time.perf_counter() - begun_s < 2


def joined(form, rate_hz=RATE_HZ):
  if form == "WAV" and rate_hz == RATE_HZ:
    return wav() + wav(sound=pcm(tone(880.0)))
  files = [io.BytesIO(), io.BytesIO()]
  for file, hertz in zip(files, (440.0, 880.0), strict=True):
    soundfile.write(file, tone(hertz), rate_hz, format=form)
  return b"".join(file.getvalue() for file in files)


@pytest.mark.parametrize("form", ["WAV", "OGG"])
def test_files_that_were_joined_are_read_one_after_another(form):
  loaded = load(joined(form))
  assert len(loaded.wave_S) == 2 * SAMPLES
  assert loaded.notes == ("joined: the file holds 2 recordings, read one after another",)
  for at, hertz in ((0, 440), (SAMPLES, 880)):
    assert np.abs(np.fft.rfft(loaded.wave_S[at : at + SAMPLES])).argmax() * 2 == hertz
  assert loaded.joins == (SAMPLES,)
  over = load(joined(form), span_s=(0.4, 0.6))
  np.testing.assert_array_equal(over.wave_S, loaded.wave_S[6_400:9_600])
  assert over.joins == (1_600,)
  assert load(joined(form, 8_000)).joins == (2 * SAMPLES,)
  assert load(joined(form), span_s=(0.6, 0.9)).joins == ()


NO_END = "without an end: its last page is not marked as such, so more may be missing"


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_that_was_cut_is_read_with_a_note(subtype):
  file = io.BytesIO()
  noise_S = np.random.default_rng(0).normal(0, 0.1, 16 * SAMPLES).astype(np.float32)
  soundfile.write(file, noise_S, RATE_HZ, format="OGG", subtype=subtype)
  whole = file.getvalue()
  assert load(whole).notes == ()
  cuts = [len(whole) * 3 // 4, whole.rindex(b"OggS"), len(whole) - 1]
  for cut in cuts:  # inside a page, between two, inside the last
    loaded = load(whole[:cut])
    assert loaded.notes == (NO_END,)
    assert SAMPLES < len(loaded.wave_S) < len(noise_S)
  assert load(whole, span_s=(0.0, 0.25)).notes == load(whole[: cuts[1]], span_s=(0.0, 0.25)).notes
  assert load(whole[: cuts[1]] + whole).notes[-1] == NO_END


TAG = b"ID3\3\0\0\0\0\0\x0a" + bytes(10)


@pytest.mark.parametrize("form", ["FLAC", "OGG", "WAV"])
def test_a_tag_of_mp3_before_another_format_is_left_out(form):
  file = io.BytesIO()
  soundfile.write(file, tone(), RATE_HZ, format=form)
  for tags in (TAG, TAG + TAG):
    loaded = load(tags + file.getvalue())
    np.testing.assert_array_equal(loaded.wave_S, load(file.getvalue()).wave_S)
    assert loaded.notes == ()


def test_joined_files_may_differ_in_rate():
  second = bytearray(wav())
  second[24:28] = struct.pack("<I", RATE_HZ // 2)
  assert len(load(wav() + bytes(second)).wave_S) == 3 * SAMPLES


def test_a_flac_that_does_not_know_its_length_is_read_to_its_end():
  file = io.BytesIO()
  soundfile.write(file, np.tile(tone(), 20), RATE_HZ, format="FLAC")
  data = bytearray(file.getvalue())
  data[21] &= 0xF0
  data[22:26] = bytes(4)  # how many samples there are
  data = bytes(data)
  whole_S = load(data, longest_s=10.0).wave_S
  np.testing.assert_allclose(whole_S, np.tile(tone(), 20), atol=2**-15)
  np.testing.assert_array_equal(load(data, span_s=(9.5, 10.0)).wave_S, whole_S[-SAMPLES:])
  assert "a.wav: too long: " in fault(data, longest_s=4.0)
  assert "not audio, or damaged" in fault(data[: len(data) // 2])
