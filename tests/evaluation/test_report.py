import io

import rich.console

from audiopalm.evaluation import lines, report, scoring
from audiopalm.evaluation.lines import Line, Said


def line(system, split, hypothesis, voice):
  said = (Said("source.text", "text", "words", "a b c d", hypothesis),)
  return Line(system, "asr", split, "1", "en", voice, said)


SCORES = scoring.score(
  [
    line("model", "test", "a b c d", "en-a"),
    line("model", "held_out_voices", "a b c x", "en-new"),
    line("model", "held_out_voices", "a b x x", "en-strange"),
    line("untrained", "test", "", "en-a"),
    line("nearest_copy", "test", "a x x x", "en-a"),
  ]
)


def drawn(scores):
  console = rich.console.Console(file=io.StringIO(), width=200)
  console.print(report.table(scores))
  return console.file.getvalue()


def rows(scores):
  cells = [row.split("│")[1:-1] for row in drawn(scores).splitlines() if row.startswith("│")]
  return {row[1].strip(): row[2].strip() for row in cells}


def test_the_table_has_voices_the_worst_and_the_baselines():
  assert rows(SCORES) == {
    "seen voices": "0.0",
    "held-out voices": "37.5",
    "en-new": "25.0",
    "en-strange (worst)": "50.0",
    "untrained": "100.0",
    "nearest copied": "75.0",
  }


def test_columns_without_a_value_are_left_out():
  assert "WER %" in drawn(SCORES)
  assert "BLEU" not in drawn(SCORES)


def test_the_first_recordings_of_a_task_are_pointed_to(tmp_path):
  said = Said("target.units", "speech", "words", "one", "won", 3.0, "waves/1.wav")
  saved = [Line("model", "tts", "test", str(n), "en", "en-a", (said,)) for n in range(3)]
  lines.write(tmp_path / "outputs/model-test-tts.jsonl", saved)
  found = report.to_listen(tmp_path, ["asr", "tts"], 1)
  assert found == [
    "Listen:",
    f"tts en: {tmp_path}/waves/1.wav",
    "  should say 'one', heard as 'won'",
  ]


def test_without_speech_there_is_nothing_to_listen_to(tmp_path):
  assert report.to_listen(tmp_path, ["asr"], 2) == []
