"""A manifest with times: nothing is lost, and what was begun goes on."""

import json
import types

import numpy as np
import pytest
import soundfile

from audiopalm.data.manifest.lines import Reading
from audiopalm.errors import ConfigError, RecordError
from audiopalm.inference import timing
from audiopalm.inference.alignment import Aligned
from audiopalm.tokenizers.text import SentencePieceText
from audiopalm.types import Phone, Utterance, Word

ENGLISH = Reading(language="en")


class Aligner:
  """One that finds a word in the first half of each recording; `stops_at` is when it is stopped."""

  def __init__(self, step=3, stops_at=None):
    experiment = types.SimpleNamespace(digest="abc")
    self.trained = types.SimpleNamespace(experiment=experiment, step=step)
    texts = [Utterance(None, 16_000, "one two three", "en", "anna")]
    self.tokenizer = SentencePieceText(size=290).fit(texts, seed=0)
    self.asked, self.stops_at = 0, stops_at

  def align(self, wave_S, wanted):
    if self.asked == self.stops_at:
      raise KeyboardInterrupt
    self.asked += 1
    (word,) = wanted.words
    if word.texts == ("short",):
      raise RecordError("5 tokens take at least 5 frames, the recording has 1: too short")
    half_s = len(wave_S) / 32_000
    words = (Word(word.texts[0], 0.0, half_s),)
    return Aligned(words, (Phone("ə", 0.0, half_s / 3),), 0.5)


@pytest.fixture
def manifest(tmp_path):
  """Ten recordings of 0.5 s, a line that is no JSON, a missing recording and one that is short."""
  time_S = np.arange(8_000) / 16_000
  rows = []
  for number in range(12):
    if number != 6:
      wave_S = 0.3 * np.sin(2 * np.pi * (200 + number) * time_S)
      soundfile.write(tmp_path / f"{number}.wav", wave_S, 16_000)
    rows.append(
      {"audio": f"{number}.wav", "text": "short" if number == 9 else "one", "mine": number}
    )
  texts = [json.dumps(row) for row in rows]
  texts.insert(4, "{oops")
  path = tmp_path / "m.jsonl"
  path.write_text("\n".join(texts) + "\n")
  return path


def test_times_are_added_and_faulty_lines_kept_and_counted(manifest, tmp_path):
  out = tmp_path / "out.jsonl"
  summary = timing.write(Aligner(), str(manifest), ENGLISH, out, workers=0)
  assert (summary.lines, summary.aligned, summary.confidence) == (13, 10, 0.5)
  assert sum(about["records"] for about in summary.kinds.values()) == 3
  reasons = " ".join(about["first"] for about in summary.kinds.values())
  for part in (
    "m.jsonl:5: is not JSON",
    "6.wav): no such file",
    "m.jsonl:11: 5 tokens take at least",
  ):
    assert part in reasons
  before, after = manifest.read_text().splitlines(), out.read_text().splitlines()
  assert len(after) == 13 and after[4] == "{oops"
  for number in (7, 10):  # the recordings 6 and 9
    assert json.loads(after[number]) == json.loads(before[number])
  first = json.loads(after[0])
  assert first == json.loads(before[0]) | {
    "words": [["one", 0.0, 0.25]], "phones": [["ə", 0.0, 0.083]], "confidence": 0.5,
  }  # fmt: skip
  assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.jsonl"]


def test_half_a_character_is_kept_as_its_escape(tmp_path):
  path, out = tmp_path / "m.jsonl", tmp_path / "out.jsonl"
  path.write_text('{"audio": "a.wav", "text": "a\\ud800"}\n')
  summary = timing.write(Aligner(), str(path), ENGLISH, out, workers=0)
  assert (summary.lines, summary.aligned) == (1, 0)
  assert json.loads(out.read_text()) == {"audio": "a.wav", "text": "a\ud800"}


def test_what_was_stopped_goes_on_to_the_same_bytes(manifest, tmp_path, monkeypatch):
  monkeypatch.setattr(timing, "BATCH", 4)
  whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
  summary = timing.write(Aligner(), str(manifest), ENGLISH, whole, workers=0)
  with pytest.raises(KeyboardInterrupt):
    timing.write(Aligner(stops_at=6), str(manifest), ENGLISH, out, workers=0)
  assert not out.exists()
  part = tmp_path / "out.jsonl.part"
  with part.open("ab") as file:
    file.write(b'{"half a li')
  with pytest.raises(ConfigError, match=r"was begun from another manifest, or with another run or"):
    timing.write(Aligner(step=4), str(manifest), ENGLISH, out, workers=0)
  again = Aligner()
  assert timing.write(again, str(manifest), ENGLISH, out, workers=0) == summary
  assert out.read_bytes() == whole.read_bytes()
  assert again.asked < 9  # 11 recordings were asked for in all


def test_an_existing_file_and_another_ending_are_refused(manifest, tmp_path):
  (tmp_path / "there.jsonl").write_text("")
  with pytest.raises(ConfigError, match=r"there.jsonl exists already. Delete it, or give another"):
    timing.write(Aligner(), str(manifest), ENGLISH, tmp_path / "there.jsonl", workers=0)
  with pytest.raises(ConfigError, match=r"out.tsv is written as JSON Lines: expected a name with"):
    timing.write(Aligner(), str(manifest), ENGLISH, tmp_path / "out.tsv", workers=0)
