import base64
import io

import numpy as np
import soundfile
from PIL import Image

from audiopalm.audio import waveform
from audiopalm.report import recordings
from audiopalm.report.recordings import Playback


def tone(hz, seconds):
  return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(16_000 * seconds)) / 16_000)).astype("f4")


def player(figure):
  kind, data = figure.find("audio").get("src").removeprefix("data:").split(";base64,")
  return kind, base64.b64decode(data)


def test_a_high_tone_lies_above_a_low_one():
  low, high = (recordings.spectrogram(tone(hz, 0.3))[:, 15].argmax() for hz in (300, 3_000))
  assert high < low


def test_a_spectrogram_reaches_from_silence_to_the_loudest():
  levels_MT = recordings.spectrogram(np.concatenate([tone(500, 0.2), np.zeros(3_200, "f4")]))
  assert levels_MT.max() == 255
  assert levels_MT[:, -1].max() == 0


def test_a_picture_of_a_long_recording_is_no_wider_than_needed():
  levels_MT = recordings.spectrogram(tone(500, 20))
  assert levels_MT.shape[0] == recordings.BINS
  assert recordings.MOST_FRAMES / 2 < levels_MT.shape[1] <= recordings.MOST_FRAMES


def test_a_png_holds_the_levels():
  levels_MT = np.arange(256, dtype=np.uint8).reshape(8, 32)
  picture = Image.open(io.BytesIO(recordings.png(levels_MT)))
  assert np.array_equal(np.asarray(picture), levels_MT)
  red, green, blue = np.asarray(picture.convert("RGB"), int).reshape(256, 3).T
  lightness = 2 * red + 7 * green + blue
  assert (np.diff(lightness) >= 0).all()


def test_the_player_holds_the_bytes_that_were_prepared():
  flac = waveform.to_flac(tone(500, 0.3))
  figure = recordings.draw(recordings.from_flac("Source", "anna", flac), seconds=0.5)
  assert player(figure) == ("audio/flac", flac)
  assert figure.find("audio").get("controls") is not None


def test_a_long_recording_is_an_mp3():
  figure = recordings.draw(Playback("Source", "", tone(500, 11)), seconds=11)
  kind, data = player(figure)
  assert kind == "audio/mpeg"
  assert len(data) < len(waveform.to_flac(tone(500, 11)))
  wave_S, rate_hz = soundfile.read(io.BytesIO(data))
  assert (rate_hz, round(len(wave_S) / rate_hz)) == (16_000, 11)


def test_recordings_of_one_time_axis_are_as_wide_as_they_are_long():
  widths = [
    float(recordings.draw(Playback("a", "", tone(500, s)), 1.0).find("svg/image").get("width"))
    for s in (0.5, 1.0)
  ]
  assert round(widths[1] / widths[0], 2) == 2


def test_a_recording_of_another_rate_is_played_as_it_is():
  buffer = io.BytesIO()
  soundfile.write(buffer, np.zeros(800) + 0.1, 8_000, format="FLAC")
  recording = recordings.from_flac("Source", "", buffer.getvalue())
  assert recording.seconds == 0.1
  assert player(recordings.draw(recording, 1.0))[1] == buffer.getvalue()
