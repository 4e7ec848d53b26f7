import pytest

from audiopalm.evaluation import scoring
from audiopalm.report import run, tables


def cells(row):
  return ["".join(cell.itertext()) for cell in row]


@pytest.fixture(scope="module")
def found(workdir):
  return run.read(workdir)


def test_the_first_table_has_a_task_a_row_and_a_system_a_column(found):
  table = tables.headline(found.scores)
  head, *rows = table.iter("tr")
  assert cells(head) == [
    "task", "score", "test split", "worst voice", "held-out voices", "worst of them",
    "nearest copied",
  ]  # fmt: skip
  assert [cells(row)[0] for row in rows] == ["asr", "tts", "s2st", "mt"]
  assert [cells(row)[1] for row in rows] == ["WER % ↓", "WER % ↓", "ASR-BLEU ↑", "BLEU ↑"]


def test_a_score_is_shown_as_on_the_console_and_held_exactly(found):
  cell = tables.score({"wer": 1 / 3}, "wer")
  assert "".join(cell.itertext()) == "33.3"
  assert float(cell[0].get("value")) == 1 / 3


def test_the_interval_of_a_score_stands_beside_it():
  cell = tables.score({"wer": 0.056, "intervals": {"wer": [0.05, 0.066]}}, "wer")
  assert "".join(cell.itertext()) == "5.6 ±0.8"
  assert cell[1].get("title") == "5.0 to 6.6"


def test_the_worst_voice_is_named(found):
  row = list(tables.headline(found.scores).iter("tr"))[1]
  worst = found.scores["asr"]["worst_voice"]
  assert cells(row)[3] == f"{worst['wer'] * 100:.1f} {worst['voice']}"


def test_voices_stand_worst_first(found):
  *_, table = next(iter(tables.every_score(found.scores)))
  names = [cells(row)[0] for row in list(table.iter("tr"))[1:]]
  voices = found.scores["asr"]["voices"]
  worst = max(voices, key=lambda name: voices[name]["wer"])
  assert names[0] == f"{worst} (worst)"
  assert len(names) == len(voices)


def test_outputs_of_a_chain_stand_below_their_task():
  outputs = {"source.text": {"wer": 0.5}, "target.text": {"bleu": 20.0}}
  scores = {"chain": {"wer": 0.5, "bleu": 20.0, "outputs": outputs, "examples": 3}}
  scores |= {scoring.HELD_OUT: {}, "baselines": {}}
  (drawn,) = tables.every_score(scores)
  rows = [cells(row) for row in drawn.iter("tr")]
  assert rows[2] == ["output source.text", "50.0", "–", "–"]
  assert rows[3] == ["output target.text", "–", "20.0", "–"]


def test_a_suite_has_its_tasks_and_their_languages(found):
  translation, spoken = tables.suites(found.scores)
  rows = [cells(row) for row in translation.iter("tr")]
  assert rows[0] == ["translation", "BLEU ↑", "chrF ↑", "n"]
  assert [row[0] for row in rows[1:]] == ["mt", "en-fr", "fr-en"]
  assert next(spoken.iter("tr"))[0].text == "speech out"


def test_pairs_of_languages_never_trained_on_are_marked():
  languages = {"fr-en": {"bleu": 3.0, "examples": 1, "zero_shot": True}}
  mt = {"bleu": 9.0, "examples": 2, "languages": languages}
  (drawn,) = tables.suites({"suites": {"translation": {"mt": mt}}})
  assert [cells(row)[0] for row in drawn.iter("tr")] == ["translation", "mt", "fr-en, zero-shot"]


def test_tokens_by_task_stand_beside_what_was_asked_for(found):
  _, first, *_ = tables.tokens_by_task(found).iter("tr")
  assert cells(first) == ["asr", "1,000", "", "25.0%", "25.0%", "80", "4.00"]


def test_buckets_of_time_stand_largest_first(found):
  rows = [cells(row) for row in tables.goodput(found).iter("tr")]
  assert rows[1:] == [["step", "1 min 15 s", "", "75.0%"], ["compile", "25 s", "", "25.0%"]]


def test_records_that_were_left_out_are_counted_with_a_reason(found):
  rows = [cells(row) for row in tables.data(found).iter("tr")]
  assert rows[1] == ["synthetic, train", "6", "2.00", "2"]
  (reasons,) = tables.left_out(found)
  assert reasons[0].text == "synthetic, train: 2 × silent. small/train/3 (source): silent."


def test_both_ears_of_a_spoken_task_stand_side_by_side():
  heard = {"wer": 0.1, "independent_wer": 0.2, "independent_raw_wer": 0.3, "examples": 2}
  scores = {"tts": heard, "mt": {"bleu": 9.0, "examples": 2}, scoring.HELD_OUT: {}, "baselines": {}}
  head, tts, mt = (cells(row) for row in tables.headline(scores).iter("tr"))
  assert head == ["task", "score", "test split", "worst voice", "independent recognizer"]
  assert (tts[2], tts[4], mt[4]) == ("10.0", "20.0", "–")
  every, *_ = tables.every_score(scores)
  head, row, *_ = (cells(row) for row in every.iter("tr"))
  assert head[1:4] == ["WER % ↓", "indep. WER % ↓", "raw % ↓"]
  assert row[1:4] == ["10.0", "20.0", "30.0"]


def test_every_voice_has_a_row_of_what_was_heard_of_it():
  def heard(wer):
    return {"independent_wer": wer, "examples": 4}

  voices = {
    "en-a": {"as_recorded": heard(0.01), "through_units": heard(0.2), "model": heard(0.3)},
    "en-b": {"as_recorded": heard(0.02), "through_units": heard(0.1)},
  }
  section = {
    "rules": {"independent_transcripts": "a program"},
    "test": {"en": {"as_recorded": heard(0.015), "through_units": heard(0.15), "voices": voices}},
  }
  title, table, note = tables.voices({scoring.RECORDINGS: section})
  assert "by the independent recognizer, indep. WER % ↓" in title.text
  assert [cells(row) for row in table.iter("tr")] == [
    ["voice", "recordings", "n", "through units", "n", "model's speech", "n"],
    ["en", "1.5", "4", "15.0", "4", "–", "–"],
    ["en-a", "1.0", "4", "20.0", "4", "30.0", "4"],
    ["en-b", "2.0", "4", "10.0", "4", "–", "–"],
  ]
  assert "a program" in "".join(note.itertext())
  assert tables.voices({}) == []
