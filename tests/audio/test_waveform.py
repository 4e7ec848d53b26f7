import errno
import os

import numpy as np
import pytest
import soundfile

from audiopalm.audio import waveform
from audiopalm.errors import AudioError


def tone(seconds=1.0, rate_hz=16_000, hertz=440.0, peak=0.5):
  times_S = np.arange(int(seconds * rate_hz)) / rate_hz
  return (peak * np.sin(2 * np.pi * hertz * times_S)).astype(np.float32)


def said(call, *arguments):
  with pytest.raises(AudioError) as error:
    call(*arguments)
  return str(error.value)


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3"])
def test_every_format_reads_as_the_tone_that_was_written(form, tmp_path):
  path = tmp_path / f"a.{form.lower()}"
  soundfile.write(path, tone(rate_hz=22_050), 22_050, format=form)
  wave_S = waveform.read(path)
  assert wave_S.dtype == np.float32
  assert len(wave_S) == 16_000
  assert np.abs(np.fft.rfft(wave_S)).argmax() == 440


def test_read_averages_channels(tmp_path):
  left, right = tone(), tone(peak=0.1)
  soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 16_000)
  loaded = waveform.load(tmp_path / "a.wav")
  np.testing.assert_allclose(loaded.wave_S, 0.6 * left, atol=1e-4)
  assert loaded.notes == ()


def test_a_channel_alone_is_read_with_a_note(tmp_path):
  silence_S = np.zeros(16_000, np.float32)
  soundfile.write(tmp_path / "a.wav", np.stack([silence_S, tone()], axis=1), 16_000)
  loaded = waveform.load(tmp_path / "a.wav")
  np.testing.assert_allclose(loaded.wave_S, tone(), atol=1e-4)
  assert loaded.notes == ("silent channels left out: 1 of 2",)


def test_read_inverts_write_to_half_a_step_of_16_bits(tmp_path):
  wave_S = tone()
  waveform.write(tmp_path / "a.wav", wave_S)
  np.testing.assert_allclose(waveform.read(tmp_path / "a.wav"), wave_S, atol=2**-15)


def test_write_divides_by_the_peak_only_where_the_wave_leaves_the_scale(tmp_path):
  waveform.write(tmp_path / "loud.wav", tone(peak=3.0))
  np.testing.assert_allclose(waveform.read(tmp_path / "loud.wav"), tone(peak=1.0), atol=1e-4)


def test_from_flac_inverts_to_flac():
  wave_S, rate_hz = waveform.from_flac(waveform.to_flac(tone(), 16_000))
  assert rate_hz == 16_000 and wave_S.dtype == np.float32
  np.testing.assert_allclose(wave_S, tone(), atol=2**-15)
  assert waveform.to_flac(wave_S) == waveform.to_flac(tone())


def test_change_speed_divides_the_length_and_multiplies_the_pitch():
  wave_S = waveform.change_speed(tone(), 1.25)
  assert len(wave_S) == 12_800
  assert np.abs(np.fft.rfft(wave_S)).argmax() * 16_000 / 12_800 == pytest.approx(550, abs=2)
  assert waveform.change_speed(wave_S, 1.0) is wave_S


def test_a_missing_file_is_named(tmp_path):
  assert "a.wav: no such file. Give the path" in said(waveform.read, tmp_path / "a.wav")


def test_a_text_file_renamed_wav_is_not_audio(tmp_path):
  (tmp_path / "a.wav").write_text("these are only words\n" * 50)
  text = said(waveform.read, tmp_path / "a.wav")
  assert "a.wav: not audio, or damaged: expected WAV, FLAC, OGG or MP3" in text


def test_a_file_of_no_bytes_is_empty(tmp_path):
  (tmp_path / "a.wav").write_bytes(b"")
  assert "a.wav: empty: it holds no bytes" in said(waveform.read, tmp_path / "a.wav")


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG"])
def test_a_truncated_file_is_refused(form, tmp_path):
  path = tmp_path / f"a.{form.lower()}"
  soundfile.write(path, tone(), 16_000, format=form)
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  text = said(waveform.read, path)
  assert f"a.{form.lower()}: " in text and ("truncated" in text or "damaged" in text)


def test_a_truncated_wav_says_what_its_header_declares(tmp_path):
  waveform.write(tmp_path / "a.wav", tone())
  (tmp_path / "a.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:-12_000])
  text = said(waveform.read, tmp_path / "a.wav")
  assert "truncated: its header declares 16000 samples, the file holds 10000" in text


def test_a_wav_without_samples_is_empty(tmp_path):
  soundfile.write(tmp_path / "a.wav", np.zeros(0, np.float32), 16_000)
  assert "a.wav: empty: it holds no samples" in said(waveform.read, tmp_path / "a.wav")


def test_a_silent_file_is_refused(tmp_path):
  waveform.write(tmp_path / "a.wav", tone(peak=3e-5))
  text = said(waveform.read, tmp_path / "a.wav")
  assert "a.wav: silent: its largest sample is 3.1e-05, expected at least 0.0001" in text


def test_an_offset_alone_is_silent(tmp_path):
  soundfile.write(tmp_path / "a.wav", tone(peak=3e-5) + 0.25, 16_000, subtype="FLOAT")
  text = said(waveform.read, tmp_path / "a.wav")
  assert "a.wav: silent: its largest sample is 6e-05 beside an offset of 0.25, expected" in text


@pytest.mark.parametrize("peak", [2**15, 2**31])
def test_integers_written_as_floats_are_read_and_what_no_format_holds_is_not(tmp_path, peak):
  soundfile.write(tmp_path / "a.wav", tone(peak=float(peak)), 16_000, subtype="FLOAT")
  assert np.abs(waveform.read(tmp_path / "a.wav")).max() == pytest.approx(peak)
  soundfile.write(tmp_path / "a.wav", tone(peak=1e30), 16_000, subtype="FLOAT")
  text = said(waveform.read, tmp_path / "a.wav")
  assert "a.wav: too loud: its largest sample is 1e+30, expected numbers from -1 to 1, or" in text


def test_a_file_with_nan_is_refused(tmp_path):
  wave_S = tone()
  wave_S[[3, 5]] = np.nan, np.inf
  soundfile.write(tmp_path / "a.wav", wave_S, 16_000, subtype="FLOAT")
  assert "a.wav: 2 of 16000 samples are NaN or infinite" in said(waveform.read, tmp_path / "a.wav")


def test_a_short_file_is_refused(tmp_path):
  waveform.write(tmp_path / "a.wav", tone(0.04))
  text = said(waveform.read, tmp_path / "a.wav")
  assert "a.wav: too short: 0.0400 s, expected at least 0.05 s" in text


def test_check_says_the_same_of_an_array():
  waveform.check(tone(), 16_000, "record 7")
  assert "record 7: empty" in said(waveform.check, np.zeros(0), 16_000, "record 7")
  assert "record 7: silent" in said(waveform.check, np.zeros(16_000), 16_000, "record 7")
  assert "record 7: too short" in said(waveform.check, tone(0.01), 16_000, "record 7")
  assert "record 7: 1 of 9 samples" in said(
    waveform.check, np.r_[[np.nan] * 1, [0.0] * 8], 16_000, "record 7"
  )


def test_a_recording_longer_than_the_limit_is_refused():
  waveform.check(tone(2.0), 16_000, "record 7", 2.0)
  text = said(waveform.check, tone(2.1), 16_000, "record 7", 2.0)
  assert "record 7: too long: 2.1 s, expected at most 2 s. Cut it where" in text


def test_a_span_is_read_alone(tmp_path):
  waveform.write(tmp_path / "a.wav", tone())
  whole_S = waveform.read(tmp_path / "a.wav")
  part_S = waveform.load(tmp_path / "a.wav", span_s=(0.25, 0.5)).wave_S
  np.testing.assert_array_equal(part_S, whole_S[4_000:8_000])
  rounded = waveform.load(tmp_path / "a.wav", span_s=(0, 1.05))
  np.testing.assert_array_equal(rounded.wave_S, whole_S)


def test_a_path_that_the_system_refuses_is_named(tmp_path):
  text = said(waveform.read, tmp_path / ("a" * 300))
  assert "cannot be read: File name too long. Correct its path" in text
  assert "no such file" in said(waveform.read, tmp_path / "a\0b.wav")


def test_a_header_of_an_impossible_rate_is_refused(tmp_path):
  soundfile.write(tmp_path / "a.wav", tone(), 16_000)
  data = bytearray((tmp_path / "a.wav").read_bytes())
  data[24:28] = (999).to_bytes(4, "little")
  (tmp_path / "a.wav").write_bytes(data)
  text = said(waveform.read, tmp_path / "a.wav")
  assert "a.wav: impossible sample rate: 999 Hz, expected at least 1000." in text


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE])
def test_a_device_that_does_not_give_the_bytes_is_not_a_damaged_recording(
  tmp_path, monkeypatch, number
):
  waveform.write(tmp_path / "a.wav", np.full(8_000, 0.1, np.float32))

  def fail(*given):
    raise OSError(number, os.strerror(number), given[0])

  def fail_without_a_word(path):
    raise soundfile.LibsndfileError(2)

  monkeypatch.setattr(waveform, "open", fail, raising=False)
  monkeypatch.setattr(waveform.soundfile, "SoundFile", fail_without_a_word)
  with pytest.raises(OSError, match=os.strerror(number)):
    waveform.read(tmp_path / "a.wav")


def test_a_file_whose_name_is_not_utf_8_says_so(tmp_path):
  path = tmp_path / os.fsdecode(b"caf\xe9.wav")
  waveform.write(path, np.full(8_000, 0.1, np.float32))
  with pytest.raises(AudioError, match="its name is not UTF-8, so it cannot be written to answers"):
    waveform.read(path)


def test_a_full_device_is_an_error_of_the_system(tmp_path):
  (tmp_path / "a.wav").symlink_to("/dev/full")
  with pytest.raises(OSError, match="No space left on device"):
    waveform.write(tmp_path / "a.wav", np.full(8_000, 0.1, np.float32))


def test_a_pipe_or_a_device_is_an_error_that_says_so(tmp_path):
  os.mkfifo(tmp_path / "pipe")
  for path in (tmp_path / "pipe", "/dev/zero"):
    text = said(waveform.read, path)
    assert f"{path}: is a pipe or a device, not a file. `generate --audio` reads pipes;" in text


def test_a_folder_is_an_error_that_says_so(tmp_path):
  text = said(waveform.read, tmp_path)
  assert text == (
    f"{tmp_path}: is a folder. Name the files in it, such as {tmp_path}/*.wav; a shell lists them."
  )
