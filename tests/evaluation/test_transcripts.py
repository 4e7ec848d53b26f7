"""Transcripts kept on the disk: what a killed evaluation does not hear again."""

import dataclasses

import numpy as np
import pytest

from audiopalm.audio import waveform
from audiopalm.data.executors import Local
from audiopalm.errors import DataError
from audiopalm.evaluation import listeners
from audiopalm.evaluation.listeners import Measurement, TranscriptCache, WavFile


@dataclasses.dataclass(frozen=True)
class Fake(listeners.Listener):
  """Says how many recordings it heard; ends like a killed process at the number `killed_at`."""

  heard: list
  rule: str = "a fake"
  score: str = "asr"
  repeatable: bool = True
  killed_at: int = 99

  def hear(self, wav):
    if len(self.heard) == self.killed_at:
      raise KeyboardInterrupt
    self.heard.append(wav.path.stem)
    return Measurement(f"number {len(self.heard)}")


@pytest.fixture
def recordings(tmp_path):
  def of(*loudness, language="en"):
    made = []
    for number, one in enumerate(loudness):
      path = tmp_path / f"{number}.wav"
      waveform.write(path, np.tile(np.float32([one, -one]), 2_000), waveform.RATE_HZ)
      made.append(WavFile(path, language))
    return made

  return of


def transcribe(fake, asked, path):
  return [one.value for one in listeners.hear(fake, asked, Local(0), TranscriptCache(path))]


def test_what_was_heard_before_a_kill_is_not_heard_again(recordings, tmp_path):
  asked, path = recordings(0.1, 0.2, 0.3, 0.4), tmp_path / "kept/transcripts.jsonl"
  with pytest.raises(KeyboardInterrupt):
    transcribe(Fake([], killed_at=2), asked, path)
  again = Fake(["once", "twice"])
  assert transcribe(again, asked, path) == ["number 1", "number 2", "number 3", "number 4"]
  assert again.heard[2:] == ["2", "3"]


def test_other_samples_another_language_and_another_rule_are_heard_anew(recordings, tmp_path):
  path = tmp_path / "transcripts.jsonl"
  transcribe(Fake([]), recordings(0.1), path)
  for fake, loudness, language, heard in (
    (Fake([]), 0.1, "en", []),
    (Fake([]), 0.2, "en", ["0"]),
    (Fake([]), 0.1, "fr", ["0"]),
    (Fake([], rule="another"), 0.1, "en", ["0"]),
  ):
    transcribe(fake, recordings(loudness, language=language), path)
    assert fake.heard == heard


def test_a_recognizer_that_may_change_is_always_asked(recordings, tmp_path):
  path = tmp_path / "transcripts.jsonl"
  for _ in range(2):
    fake = Fake([], repeatable=False)
    transcribe(fake, recordings(0.1), path)
    assert fake.heard == ["0"]
  assert not path.exists()


def test_a_line_that_a_kill_cut_off_is_dropped_and_the_next_begins_a_new_one(tmp_path):
  path = tmp_path / "transcripts.jsonl"
  TranscriptCache(path).add("a", "one\u2028line")
  with path.open("a") as file:
    file.write('{"key": "b", "te')
  kept = TranscriptCache(path)
  assert "b" not in kept
  kept.add("c", "three")
  assert [TranscriptCache(path)[key] for key in ("a", "c")] == ["one\u2028line", "three"]


def test_a_file_that_holds_something_else_names_the_line(tmp_path):
  path = tmp_path / "transcripts.jsonl"
  path.write_text('{"key": "a", "text": "x"}\n[]\n')
  with pytest.raises(
    DataError, match=r"transcripts\.jsonl, line 2: expected a transcript with key"
  ):
    TranscriptCache(path)
