import json

import pytest

from audiopalm.data.manifest.turns import Turns
from audiopalm.data_pipelines import manifest
from audiopalm.errors import DataError
from audiopalm.parts import corpora, mixtures


def turn(audio, speaker, text):
  return {"audio": audio, "speaker": speaker, "text": text, "pause": 5}


@pytest.fixture
def dialogues(tmp_path):
  """Returns the corpus that conversations in a file are."""

  def write(*conversations, **named):
    path = tmp_path / "dialogues.jsonl"
    path.write_text("\n".join(map(json.dumps, conversations)))
    return corpora.dialogues(str(path), **named)

  return write


def test_a_turn_that_another_speaker_answers_is_a_question(dialogues, spoken):
  ann, bob = [[spoken(f"{name}{n}.wav", hertz=200.0 + n) for n in range(2)] for name in "ab"]
  talk = [
    turn(ann[0], "ann", "Who is there?"), turn(bob[0], "bob", "It is I."),
    turn(bob[1], "bob", "Bob."), turn(ann[1], "ann", "Come in!"),
  ]  # fmt: skip
  found = dialogues({"id": 7, "language": "en-GB", "turns": talk})
  assert found.roles == ("question", "answer") and found.languages == ("en",)
  assert found.pairs(("answer",)) == ({"answer": "en"},)
  assert found.pairs(found.roles) == ({"question": "en", "answer": "en"},)
  assert mixtures.dialogue(found).sides == (("question", "units"), ("answer", "units"))
  assert set(found.train_voices("en")) == {"ann", "bob"}
  assert manifest.count(found, "train") == 2  # Bob does not answer himself
  first, second = manifest.records(found, "train", 0, 2)
  assert (first.id, second.id) == ("dialogues/train/000000-7-1", "dialogues/train/000001-7-3")
  told = [(u.speaker, u.text, u.language) for u in first.utterances.values()]
  assert told == [("ann", "Who is there?", "en"), ("bob", "It is I.", "en")]
  assert second.utterances["answer"].text == "Come in!"
  assert len(second.utterances["answer"].wave_S) == 8_000


def test_a_language_may_be_that_of_all_conversations(dialogues):
  talk = [turn("a.wav", "ann", "Wie?"), turn("b.wav", "bob", "Ik.")]
  assert dialogues({"turns": talk}, language="nl").languages == ("nl",)
  with pytest.raises(DataError, match="no language: expected a column named language, locale"):
    dialogues({"turns": talk})


@pytest.mark.parametrize(
  ("turns", "text"),
  [
    (None, "turns is None, expected a list of two or more turns, each an object with audio, text"),
    ([turn("a.wav", "ann", "Hm.")], "expected a list of two or more turns"),
    ([turn("a.wav", "ann", "Hm."), "Yes."], "turn 2 is 'Yes.', expected audio, text, speaker"),
    (
      [turn("a.wav", "ann", "Hm."), turn("b.wav", "bob", " ")],
      "text of turn 2 is ' ', expected text. Correct it, or leave the conversation out.",
    ),
    ([turn("a.wav", 7, "Hm."), turn("b.wav", "bob", "Yes.")], "speaker of turn 1 is 7, expected"),
  ],
)
def test_turns_that_cannot_be_used_say_why(dialogues, turns, text):
  with pytest.raises(DataError, match="The manifest has a fault") as error:
    dialogues({"turns": turns, "language": "en"})
  assert text in str(error.value) and "dialogues.jsonl" in str(error.value)


def test_a_table_has_no_turns(tmp_path):
  (tmp_path / "a.tsv").write_text("audio\ttext\na.wav\tone\n")
  (found,) = Turns("en").tables([str(tmp_path / "a.tsv")])
  assert not found.rows and "Write it as JSON lines" in found.faults[0].text
