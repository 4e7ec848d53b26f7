"""All lines of a manifest are copied: those with faults as they are, with their reasons."""

import json

import pytest

from audiopalm.data.manifest import copies
from audiopalm.data.manifest.lines import Reading
from audiopalm.errors import DataError

ENGLISH = Reading(language="en")


def test_every_line_is_there_in_its_order_with_a_reason_for_each_fault(tmp_path):
  path = tmp_path / "m.jsonl"
  path.write_bytes(
    b'{"audio": "a.wav", "text": "one", "mine": [1, 2]}\n'
    b"{not json}\n"
    b"\n"
    b'{"audio": "b.wav", "text": 5}\n'
    b"\xff\xfe\n"
    b'{"audio": "a.wav", "text": "two"}\n'
  )
  made = copies.read(str(path), ENGLISH, tmp_path).copies
  assert [copy.values for copy in made] == [
    {"audio": "a.wav", "text": "one", "mine": [1, 2]},
    None,
    {"audio": "b.wav", "text": 5},
    None,
    {"audio": "a.wav", "text": "two"},
  ]
  assert [copy.data for copy in made] == [b"", b"{not json}", b"", b"\xff\xfe", b""]
  assert made[0].line.text == "one" and made[0].line.audio == str(tmp_path / "a.wav")
  assert [copy.line for copy in made[1:]] == [None] * 4
  assert made[1].reason.startswith("is not JSON")
  assert "text is 5, expected text" in made[2].reason
  assert "is not UTF-8" in made[3].reason
  assert "the id 'a.wav' is that of line 1 too" in made[4].reason


def test_a_table_has_its_cells_and_rows_that_cannot_be_read_as_they_stand(tmp_path):
  path = tmp_path / "m.tsv"
  path.write_text("path\tsentence\nx.mp3\tone\nx.mp3 two\n")
  made = copies.read(str(path), ENGLISH, tmp_path).copies
  assert made[0].values == {"path": "x.mp3", "sentence": "one"}
  assert (made[1].values, made[1].data) == (None, b"x.mp3 two")
  assert "has 1 cells" in made[1].reason


def test_paths_lead_to_the_same_files_from_another_folder(tmp_path):
  (tmp_path / "in").mkdir()
  path = tmp_path / "in" / "m.jsonl"
  row = {
    "audio": "a.wav", "text": "one", "translation": "un", "translation_language": "fr",
    "translation_audio": "../b.wav", "translation_speaker": "s",
  }  # fmt: skip
  absolute = {"audio": "/data/c.wav", "text": "two"}
  faulty = {"audio": "d.wav", "text": 5}
  path.write_text("".join(json.dumps(one) + "\n" for one in (row, absolute, faulty)))
  moved = [copy.values for copy in copies.read(str(path), ENGLISH, tmp_path).copies]
  assert moved[0]["audio"] == str(tmp_path / "in" / "a.wav")
  assert moved[0]["translation_audio"] == str(tmp_path / "b.wav")
  assert moved[1] == absolute
  assert moved[2] == faulty | {"audio": str(tmp_path / "in" / "d.wav")}
  kept = [copy.values for copy in copies.read(str(path), ENGLISH, tmp_path / "in").copies]
  assert kept == [row, absolute, faulty]
  there = Reading(language="en", audio_dir="/data")
  kept = [copy.values for copy in copies.read(str(path), there, tmp_path).copies]
  assert kept == [row, absolute, faulty]


def test_a_file_that_is_no_manifest_is_refused(tmp_path):
  with pytest.raises(
    DataError, match=r"Expected a manifest of recordings.*m.jsonl: cannot be read"
  ):
    copies.read(str(tmp_path / "m.jsonl"), ENGLISH, tmp_path)
