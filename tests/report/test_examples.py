import dataclasses
import shutil

import pytest

from audiopalm.report import examples, run


def read(parts):
  return "".join(part if isinstance(part, str) else f"<{part.tag} {part.text}>" for part in parts)


@pytest.fixture
def found(workdir):
  return run.read(workdir)


def cards(made):
  return [card for one in made for card in one.iter("article")]


@pytest.mark.parametrize(
  ("said", "text"),
  [
    ("one two three", "one two three "),
    ("One, two three!", "One, two three! "),
    ("one four three", "one <mark four> three "),
    ("one three", "one <del two> three "),
    ("one two two three", "one two <mark two> three "),
    ("", "<del one two three> "),
  ],
)
def test_words_that_are_wrong_are_marked_and_missing_ones_struck_out(said, text):
  assert read(examples.marked("one two three", said, "en")) == text


@pytest.mark.parametrize(
  ("said", "text"),
  [
    ("今天很好。", "今天很好。"),
    ("今天很坏。", "今天很<mark 坏>。"),
    ("今很好", "今<del 天>很好"),
    ("今 天很好，", "今天很好，"),
  ],
)
def test_characters_are_marked_where_no_spaces_separate_words(said, text):
  assert read(examples.marked("今天很好。", said, "zh")) == text


def test_every_task_has_examples_of_each_language_and_a_held_out_voice(found):
  made = list(examples.of_run(found))
  heads = ["".join(one.itertext()) for one in made if one.tag == "h3"]
  assert heads == [
    "asr: speech to text [ASR {source}]",
    "tts: text to speech [TTS {target}]",
    "s2st: source speech to target speech [S2ST {source} {target}]",
    "mt: source text to target text [MT {source} {target}]",
  ]
  headers = ["".join(card.find("header").itertext()) for card in cards(made)]
  assert len(headers) == 16
  assert headers[:4] == [
    "Englishmade/test/0", "Frenchmade/test/1", "Englishmade/test/2",
    "Englishmade/held_out_voices/0held-out voice en-new",
  ]  # fmt: skip


def test_speech_has_players_of_source_reference_and_what_was_made(found):
  made = cards(examples.of_run(found))
  titles = [[figure.find("figcaption").text for figure in card.iter("figure")] for card in made]
  assert titles[0] == ["Source"]
  assert titles[4] == ["Reference", "Generated"]
  assert titles[8] == ["Source", "Reference", "Generated"]
  assert titles[12] == []
  assert [len(list(card.iter("audio"))) for card in made] == list(map(len, titles))


def test_a_card_has_what_should_be_said_and_what_was(found):
  made = cards(examples.of_run(found))
  texts = [["".join(item.itertext()) for item in made[n].find(".//dl")] for n in (1, 9)]
  assert texts[0] == ["Should be", "quatre cinq six", "Answer", "quatre cinq six "]
  assert texts[1][:2] == ["Source says", "quatre cinq six"]
  assert [item.get("lang") for item in made[9].iter("dd")] == ["fr", "en", "en"]


def test_recordings_that_are_gone_are_said_and_what_was_made_still_plays(workdir, tmp_path):
  copy = shutil.copytree(workdir, tmp_path / "copy")
  shutil.rmtree(copy / "streams")
  made = list(examples.of_run(run.read(copy)))
  said = "".join(made[0].itertext())
  assert said.startswith("Source and reference recordings cannot be played: ")
  assert str(copy / "streams") in said
  titles = [f.find("figcaption").text for card in cards(made) for f in card.iter("figure")]
  assert set(titles) == {"Generated"}


def test_a_wave_that_cannot_be_read_is_said(workdir, tmp_path):
  copy = shutil.copytree(workdir, tmp_path / "copy")
  for path in (copy / "evaluation/waves").glob("test-tts-*"):
    path.unlink()
  notes = [note.text for card in cards(examples.of_run(run.read(copy))) for note in card.iter("p")]
  assert len(notes) == 4
  assert all("no such file" in note for note in notes)


def test_a_page_does_not_grow_beyond_its_budget(found, monkeypatch):
  monkeypatch.setattr(examples, "BUDGET_BYTES", 150_000)
  made = list(examples.of_run(found))
  kept = len(cards(made))
  assert 4 <= kept < 16
  assert "".join(made[-1].itertext()).startswith(f"{16 - kept} more examples would make this page")


def test_what_was_left_out_of_an_evaluation_is_no_example(found, monkeypatch):
  lines = found.answers("model", "test", "mt")
  short = (dataclasses.replace(lines[0], outputs=(), left_out=True), *lines[1:2])
  monkeypatch.setattr(
    run.RunFiles, "answers", lambda self, *asked: short if asked[0] == "model" else ()
  )
  assert all("made/test/1" in "".join(card.itertext()) for card in cards(examples.of_run(found)))


def test_several_outputs_are_told_apart_by_their_role(found, monkeypatch):
  line = found.answers("model", "test", "s2st")[1]
  heard = dataclasses.replace(line.outputs[0], stream="source.text", modality="text", wave=None)
  both = dataclasses.replace(line, outputs=(heard, *line.outputs))
  monkeypatch.setattr(run.RunFiles, "answers", lambda self, *a: (both,) if a[2] == "s2st" else ())
  (card,) = [c for c in cards(examples.of_run(found)) if "English" in "".join(c.itertext())][:1]
  heads = [item.text for item in card.iter("dt")]
  assert heads == ["Source should be", "Answer", "Target should say", "Heard as"]
