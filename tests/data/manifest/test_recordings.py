import math

import numpy as np
import pytest
import soundfile

from audiopalm.data.manifest import recordings
from audiopalm.data.manifest.faults import Location
from audiopalm.data.manifest.lines import ManifestLine
from audiopalm.errors import DataError
from audiopalm.types import Phone, Word


def line(path, **changes):
  fields = {"text": "one", "language": "en", "speaker": "s"} | changes
  return ManifestLine(Location("m.tsv", 3), "a", None if path is None else str(path), **fields)


def fault(line):
  with pytest.raises(DataError) as error:
    recordings.utterance(line)
  return str(error.value)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_any_format_and_rate_is_resampled_to_the_working_rate(name, spoken, tmp_path):
  found = recordings.utterance(line(tmp_path / spoken(name, rate_hz=44_100)))
  assert (len(found.wave_S), found.rate_hz) == (8_000, 16_000)
  assert np.abs(np.fft.rfft(found.wave_S)).argmax() == 150
  assert (found.text, found.language, found.speaker) == ("one", "en", "s")


def test_a_span_is_that_part_of_the_file(spoken, tmp_path):
  path = tmp_path / spoken("a.wav")
  whole_S = recordings.utterance(line(path)).wave_S
  part_S = recordings.utterance(line(path, span_s=(0.1, 0.3))).wave_S
  np.testing.assert_array_equal(part_S, whole_S[1600:4800])
  rest_S = recordings.utterance(line(path, span_s=(0.4, math.inf))).wave_S
  np.testing.assert_array_equal(rest_S, whole_S[6400:])
  rounded_S = recordings.utterance(line(path, span_s=(0.4, 0.55))).wave_S
  np.testing.assert_array_equal(rounded_S, rest_S)


def test_a_short_part_of_a_long_file_is_sound(tmp_path):
  soundfile.write(tmp_path / "long.flac", np.tile([0.1, -0.1], 500 * 700), 1000)
  part = recordings.utterance(line(tmp_path / "long.flac", span_s=(650.0, 651.0)))
  assert len(part.wave_S) == 16_000


def test_a_text_translation_has_no_wave():
  assert recordings.utterance(line(None)).wave_S is None


def test_every_fault_names_the_line_and_the_file(spoken, tmp_path):
  path = tmp_path / spoken("a.wav")
  name = f"m.tsv:3 ({path}): "
  assert fault(line(path, text="")) == f"{name}empty text. Write the transcript, or leave it out."
  assert fault(line(None, text="")).startswith("m.tsv:3 (translation): empty text")
  assert f"m.tsv:3 ({tmp_path}/b.wav): no such file." in fault(line(tmp_path / "b.wav"))
  assert f"{name}outside its file: 0.2 s to 0.9 s requested, the file lasts 0.50 s" in fault(
    line(path, span_s=(0.2, 0.9))
  )
  assert "outside its file: 0.6 s to the end requested" in fault(line(path, span_s=(0.6, math.inf)))
  assert (
    f"{name}ends before its words or phones: the last ends at 0.90 s, the recording lasts 0.50"
    in fault(line(path, words=(Word("one", 0.2, 0.9),)))
  )
  assert "ends before its words or phones" in fault(line(path, phones=(Phone("n", 0.2, 0.9),)))


def test_a_recording_of_three_hours_is_too_long_and_not_decoded(tmp_path):
  soundfile.write(tmp_path / "long.flac", np.zeros(3 * 3600 * 1000, np.int16), 1000)
  text = fault(line(tmp_path / "long.flac"))  # decoded, it would be silent
  assert "too long: 10800.0 s, expected at most 600 s. Cut it where the speaker pauses" in text


def test_a_file_without_a_header_is_not_audio(tmp_path):
  (tmp_path / "a.raw").write_bytes(bytes(range(256)) * 100)
  assert "a.raw): not audio, or damaged" in fault(line(tmp_path / "a.raw"))


def test_a_truncated_part_is_refused(spoken, tmp_path):
  path = tmp_path / spoken("a.wav")
  path.write_bytes(path.read_bytes()[:-8_000])
  text = fault(line(path, span_s=(0.1, 0.4)))
  assert "truncated: its header declares 8000 samples, the file holds 4000" in text
