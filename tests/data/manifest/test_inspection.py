import io
import json

import numpy as np
import pytest
import soundfile
from rich import console

from audiopalm.data.executors import Local
from audiopalm.data.manifest import inspection
from audiopalm.data.manifest.faults import Fault, Location
from audiopalm.data.manifest.lines import Reading


@pytest.fixture
def inspect(tmp_path, spoken):
  """Returns the inspection of rows about two valid recordings, and what it prints."""
  spoken("a.wav", 0.5)
  spoken("b.wav", 1.5)

  def run(*rows):
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with Local(0) as executor:
      found = inspection.inspect(str(tmp_path / "m.jsonl"), Reading(language="en"), executor)
    out = io.StringIO()
    inspection.show(found, console.Console(file=out, width=100))
    return found, out.getvalue()

  return run


def test_hours_languages_speakers_and_examples_are_printed(inspect):
  found, text = inspect(
    {"audio": "a.wav", "text": "one", "speaker": "anna", "pair": 1},
    {"audio": "b.wav", "text": "un", "speaker": "bob", "pair": 1, "language": "fr"},
    {"audio": "b.wav", "text": "two", "id": 3, "translation": "deux", "translation_language": "fr"},
  )
  assert found.problems == 0
  assert [seconds for _, seconds in found.valid] == [0.5, 1.5, 1.5]
  table = [line.split() for line in text.splitlines()]
  assert ["en", "0.00", "2", "1", "0.5", "s", "1.0", "s", "1.5", "s"] in table
  assert ["fr", "0.00", "1", "1", "1.5", "s", "1.5", "s", "1.5", "s"] in table
  assert "en to fr: 1 records, text only\nen to fr: 1 records, spoken" in text
  assert "     3  en  somebody            1.5 s  two -> deux" in text
  assert text.endswith("3 lines can be read, 3 can be used, 0 problems.\n")


def test_unused_columns_and_missing_transcripts_are_named(inspect):
  row = {"audio": "a.wav", "text": "un", "target_lang": "fr", "pnc": "no", "age": 3}
  found, text = inspect(row)
  assert found.problems == 0
  assert "(no transcript) -> un" in text
  assert "\nColumns not used: age, pnc\n" in text


def test_a_spoken_translation_is_checked_too(inspect):
  row = {"audio": "a.wav", "text": "one", "translation": "un", "translation_language": "fr"}
  found, text = inspect(row | {"translation_audio": "b.wav"})
  assert found.problems == 0 and "en to fr: 1 records, spoken" in text
  found, text = inspect(row | {"translation_audio": "c.wav"})
  assert found.problems == 1 and "1 x no such file: " in text


def test_notes_on_valid_recordings_are_printed(inspect, tmp_path):
  time_S = np.arange(16_000) / 16_000
  wave_S = 0.3 * np.sin(2 * np.pi * 300 * time_S)
  for name in ("c.wav", "d.wav"):
    soundfile.write(tmp_path / name, np.stack([wave_S, -wave_S], axis=1), 16_000)
  found, text = inspect(*({"audio": f"{name}.wav", "text": "one"} for name in "acd"))
  assert (found.problems, len(found.notes)) == (0, 2)
  assert "Recordings: read, but check these\n" in text
  assert (
    f"2 x channels cancel in the mean: {tmp_path}/m.jsonl, lines 2-3. {tmp_path}/m.jsonl:2 "
    f"({tmp_path}/c.wav): channels cancel in the mean: only channel 1 of 2 is used\n"
  ) in text
  assert text.endswith("3 lines can be read, 3 can be used, 0 problems.\n")


def test_seconds_are_those_present_in_the_file(inspect, tmp_path):
  data = bytearray((tmp_path / "b.wav").read_bytes())
  data[4:8] = data[40:44] = b"\x00\xf0\xff\x7f"
  (tmp_path / "b.wav").write_bytes(data)
  found, _ = inspect(
    {"audio": "b.wav", "text": "one"},
    {"audio": "b.wav", "text": "two", "offset": 1.0, "duration": 0.5},
    {"audio": "b.wav", "text": "three", "offset": 0.9, "duration": 1.0},
  )
  assert [seconds for _, seconds in found.valid] == [1.5, 0.5]
  assert "outside its file: 0.9 s to 1.9 s requested, the file lasts 1.50 s" in found.faults[0].text


def test_faults_of_lines_and_of_recordings_are_printed(inspect, tmp_path):
  (tmp_path / "c.wav").write_text("words\n" * 99)
  found, text = inspect(
    {"audio": "a.wav", "text": "one"},
    {"audio": "c.wav", "text": "two"},
    {"audio": "d.wav", "text": "three"},
    {"audio": "e.wav", "text": "four"},
    {"audio": "b.wav", "text": "five", "language": "xx"},
  )
  assert (len(found.read.faults), len(found.faults), len(found.valid)) == (1, 3, 1)
  assert f"{tmp_path}/m.jsonl:5: unknown language 'xx'" in text
  assert f"1 x not audio: {tmp_path}/m.jsonl, line 2. " in text
  assert f"2 x no such file: {tmp_path}/m.jsonl, lines 3-4. " in text
  assert "4 lines can be read, 1 can be used, 4 problems." in text


def test_a_manifest_without_a_valid_line_still_has_its_faults_printed(inspect):
  found, text = inspect({"text": "one"})
  assert found.problems == 1 and "no column for audio" in text


def test_a_blank_translation_is_none(inspect):
  found, _ = inspect({"audio": "a.wav", "text": "one", "translation": " "})
  assert found.problems == 0 and found.read.lines[0].translation is None


def test_a_histogram_counts_every_length_once():
  rows = inspection.histogram([0.5, 1.0, 1.4, 1.9, 11.9])
  assert rows[:2] == ["  0-1 s         1  " + "#" * 14, "  1-2 s         3  " + "#" * 40]
  assert rows[-1] == "11-12 s         1  " + "#" * 14
  assert len(rows) == 12
  assert inspection.histogram([0.3, 0.3])[-1].split()[:3] == ["0.2-0.3", "s", "2"]


def test_faults_of_one_kind_share_a_line():
  found = [Fault(Location("m", n), f"m:{n} (a): too short: 0.0{n} s, expected") for n in (2, 3, 9)]
  assert inspection.by_kind(found) == [
    "3 x too short: m, lines 2-3, 9. m:2 (a): too short: 0.02 s, expected"
  ]
