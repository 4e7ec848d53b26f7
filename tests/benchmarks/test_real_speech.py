"""The table of docs/real_speech.md, and what results keep of a machine."""

import argparse
import json
from pathlib import Path

import pytest
import real_speech
import score

SCORES = {
  "rules": {},
  "asr_so762": {"wer": 0.8, "cer": 0.5, "intervals": {"cer": [0.45, 0.551]}, "examples": 260},
  "s2st": {"asr_bleu": 3.25, "examples": 214},
  "baselines": {
    "untrained": {"asr_so762": {"wer": 1.0, "cer": 0.987, "examples": 16}},
    "nearest_copy": {"asr_so762": {"wer": 1.2, "cer": 0.75, "examples": 260}},
  },
}


def test_a_table_has_scores_with_intervals_beside_baselines():
  header, _, *rows = real_speech.table({"mfcc": {"scores": SCORES}})
  assert header == "| task | score | examples | **mfcc** | mfcc, nearest copied | mfcc, untrained |"
  assert rows == [
    "| asr_so762 | CER % | 260 | 50.0 (45.0 to 55.1) | 75.0 | 98.7 |",
    "| asr_so762 | WER % | 260 | 80.0 | 120.0 | 100.0 |",
    "| s2st | ASR-BLEU | 214 | 3.2 |  |  |",
  ]


def test_a_run_without_a_task_has_no_score_of_it():
  other = {"asr_so762": {"cer": 0.25, "examples": 260}, "baselines": {}}
  rows = list(real_speech.table({"mfcc": {"scores": SCORES}, "whisper": {"scores": other}}))
  assert rows[0].endswith("| mfcc, untrained | **whisper** |")
  assert rows[2].endswith("| 98.7 | 25.0 |") and rows[-1].endswith("|  |")


def test_results_name_no_folder_of_this_machine(tmp_path, monkeypatch):
  asked = []

  def run(config, workdir, settings):
    asked.append((config, workdir, settings))
    return {"settings": settings, "scores": SCORES}

  monkeypatch.setattr(score, "run", run)
  monkeypatch.setattr(score, "RESULTS", tmp_path)
  monkeypatch.setattr(score, "conditions", lambda: {"commit": "abc"})
  arguments = argparse.Namespace(settings=["window_s=8"], workdirs=Path("runs"))
  real_speech.measure("whisper", "/my/data", "neural:/my/whisper", arguments)
  settings = ["data_dir=/my/data", "units=neural:/my/whisper", "window_s=8"]
  assert asked == [("real_speech", Path("runs/real_speech_whisper"), settings)]
  written = (tmp_path / "real_speech-whisper.json").read_text()
  assert "/my" not in written
  result = json.loads(written)
  assert result["settings"] == ["data_dir=DATA", "units=neural:FOLDER", "window_s=8"]
  assert result["command"].endswith("--data-dir DATA --units neural:FOLDER --set=window_s=8")


def test_the_page_has_the_table_of_the_results(tmp_path, monkeypatch):
  page = tmp_path / "page.md"
  page.write_text(real_speech.PAGE.read_text())
  monkeypatch.setattr(real_speech, "PAGE", page)
  monkeypatch.setattr(score, "RESULTS", tmp_path)
  monkeypatch.setattr("sys.argv", ["real_speech.py", "--table"])
  real_speech.main()
  assert real_speech.NOTHING in page.read_text()
  (tmp_path / "real_speech-mfcc.json").write_text(json.dumps({"scores": SCORES}))
  real_speech.main()
  assert "| s2st | ASR-BLEU | 214 | 3.2 |  |  |\n<!-- end -->" in page.read_text()
  assert real_speech.NOTHING not in page.read_text()


@pytest.mark.parametrize(
  ("arguments", "text"),
  [
    ([], "give the name of a tokenizer, or --table"),
    (["mfcc"], "--data-dir DATA says where the corpora are"),
  ],
)
def test_a_command_says_what_it_lacks(arguments, text, monkeypatch, capsys):
  monkeypatch.setattr("sys.argv", ["real_speech.py", *arguments])
  with pytest.raises(SystemExit):
    real_speech.main()
  assert text in capsys.readouterr().err
