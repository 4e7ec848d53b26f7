import collections

import numpy as np
import pytest

import audiopalm.data_pipelines.synthetic as synthetic
from audiopalm.data import corpora, takes
from audiopalm.data_pipelines.speech import saying
from audiopalm.data_pipelines.synthetic import grammar
from audiopalm.errors import DataError

pytest.importorskip("espeakng_loader", reason="espeak-ng is not installed: audiopalm[data]")

SMALL = corpora.Synthetic(
  languages=("en", "fr"),
  topics=("prices",),
  train_records=96,
  validation_records=8,
  test_records=32,
  synthesizer="espeak",
)


class Mute:
  """Who says everything in one sample."""

  def speak(self, text):
    return takes.Phrase(np.ones(1, np.float32))


MUTE = Mute()


@pytest.fixture
def mute(monkeypatch):
  """Leaves the speaking out: what is said by whom is known without it."""
  monkeypatch.setattr(saying.voices, "speaker", lambda *voice: MUTE)


def texts(settings, split):
  found = synthetic.records(settings, split, 0, synthetic.count(settings, split))
  return {utterance.text for record in found for utterance in record.utterances.values()}


def test_a_record_is_one_meaning_spoken_in_two_languages():
  (record,) = synthetic.records(SMALL, "train", 5, 6)
  assert record.id == "synthetic/train/000005"
  source, target = record.utterances["source"], record.utterances["target"]
  assert {source.language, target.language} == {"en", "fr"}
  assert source.speaker in SMALL.train_voices(source.language)
  assert target.speaker == SMALL.train_voices(target.language)[0]
  for utterance in (source, target):
    assert utterance.rate_hz == 16_000 and utterance.wave_S.dtype == np.float32
    assert [word.text for word in utterance.words] == utterance.text.split()
    assert "".join(word.phonemes for word in utterance.words)


def test_a_record_is_the_same_wherever_reading_starts():
  several = list(synthetic.records(SMALL, "test", 0, 3))
  (last,) = synthetic.records(SMALL, "test", 2, 3)
  for role, utterance in last.utterances.items():
    assert several[2].utterances[role].wave_S.tobytes() == utterance.wave_S.tobytes()
    assert several[2].utterances[role].words == utterance.words
  assert several[2].id == last.id


def test_languages_and_voices_take_turns(mute):
  found = list(synthetic.records(SMALL, "train", 0, 96))
  sources = collections.Counter(record.utterances["source"].speaker for record in found)
  assert set(sources.values()) == {4} and len(sources) == 24
  pairs = collections.Counter(
    (record.utterances["source"].language, record.utterances["target"].language) for record in found
  )
  assert pairs == {("en", "fr"): 48, ("fr", "en"): 48}


def test_test_meanings_are_distinct_and_met_in_no_other_split(mute):
  found = {split: texts(SMALL, split) for split in ("train", "validation", "test")}
  assert len(found["test"]) == 2 * 32
  assert not found["test"] & found["train"] and not found["validation"] & found["train"]


def test_held_out_voices_say_the_test_sentences(mute):
  test = list(synthetic.records(SMALL, "test", 0, 32))
  held_out = list(synthetic.records(SMALL, "held_out_voices", 0, 32))
  for one, other in zip(test, held_out, strict=True):
    assert one.utterances["source"].text == other.utterances["source"].text
    assert one.utterances["target"].text == other.utterances["target"].text
    speaker = other.utterances["source"].speaker
    assert speaker in SMALL.voices_of(other.utterances["source"].language, "held_out_voices")
    assert speaker not in SMALL.train_voices(other.utterances["source"].language)


def test_text_of_the_whole_grammar_keeps_away_from_the_test_of_a_slice(mute):
  plain = corpora.SyntheticText(train_records=30_000, languages=("en", "fr"))
  assert not texts(plain, "train") & texts(SMALL, "test")


def test_translations_are_text_alone_and_keep_away_from_the_test_of_speech(mute):
  alone = corpora.SyntheticTranslations(
    train_records=10_000, languages=("en", "fr"), topics=("prices",)
  )
  (record,) = synthetic.records(alone, "train", 3, 4)
  assert [utterance.wave_S for utterance in record.utterances.values()] == [None, None]
  assert {utterance.language for utterance in record.utterances.values()} == {"en", "fr"}
  assert not texts(alone, "train") & texts(SMALL, "test")


def test_train_repeats_with_other_voices_or_languages(mute):
  distinct = len(grammar.meanings(("weather",), "train", "synthetic 0"))
  settings = corpora.Synthetic(
    languages=("en", "fr"), topics=("weather",), train_records=3 * distinct
  )
  (first,) = synthetic.records(settings, "train", 7, 8)
  (again,) = synthetic.records(settings, "train", 7 + distinct, 8 + distinct)
  said = [
    {(utterance.language, utterance.text) for utterance in record.utterances.values()}
    for record in (first, again)
  ]
  assert said[0] == said[1]
  assert (first.utterances["source"].speaker, first.utterances["source"].language) != (
    again.utterances["source"].speaker,
    again.utterances["source"].language,
  )


def test_dialogues_are_answered_by_the_canonical_voice(mute):
  settings = corpora.SyntheticDialogue(languages=("en", "de"), train_records=40)
  for record in synthetic.records(settings, "train", 0, 40):
    question, answer = record.utterances["question"], record.utterances["answer"]
    assert question.language == answer.language and question.text != answer.text
    assert answer.speaker == settings.train_voices(answer.language)[0]
  found = {split: texts(settings, split) for split in ("validation", "test")}
  questions = {text for split in found.values() for text in split if "what" in text.split()}
  assert questions and not questions & texts(settings, "train")


def test_plain_text_has_no_wave():
  settings = corpora.SyntheticText(train_records=6)
  found = list(synthetic.records(settings, "train", 0, 6))
  assert [record.utterances["source"].language for record in found] == ["en", "fr", "de"] * 2
  assert all(record.utterances["source"].wave_S is None for record in found)


def test_too_many_test_records_say_how_many_there_are():
  settings = corpora.Synthetic(topics=("travel",), test_records=50_000)
  with pytest.raises(
    DataError, match=r"test_records=50000, but topics=\('travel',\) have only \d+"
  ):
    synthetic.count(settings, "test")
