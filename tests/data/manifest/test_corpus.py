import dataclasses
import json
import pickle

import pytest

from audiopalm import values
from audiopalm.data.manifest import corpus
from audiopalm.data.manifest.lines import Reading
from audiopalm.errors import ConfigError, DataError

ENGLISH = Reading(language="en")


@pytest.fixture
def read(tmp_path):
  """Writes a file for each split given and returns the settings that list them."""

  def write(reading=ENGLISH, **splits):
    files = {}
    for split, rows in splits.items():
      files[split] = str(tmp_path / f"{split}.jsonl")
      (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return corpus.read(files, reading)

  return write


def row(audio, speaker="s", **more):
  return {"audio": audio, "text": "one two", "speaker": speaker} | more


def said(call, *arguments, **named):
  with pytest.raises(DataError) as error:
    call(*arguments, **named)
  return str(error.value)


def pair(name, source, target):
  return [row(f"{name}-{code}", language=code, pair=name) for code in (source, target)]


def test_recordings_alone_have_a_source_and_no_target(read):
  found = read(train=[row("a"), row("b", language="fr")])
  assert (found.roles, found.languages) == (("source",), ("en", "fr"))
  assert found.pairs(("source",)) == ({"source": "en"}, {"source": "fr"})
  with pytest.raises(ConfigError, match="has no role 'target': its records have source"):
    found.pairs(("target",))


def test_pairs_are_those_that_occur_in_any_split(read):
  translated = row("c", translation="hallo", translation_language="de")
  found = read(train=[*pair("p", "en", "fr"), row("a", language="it")], test=[translated])
  assert found.roles == ("source", "target") and found.optional_roles == ("target",)
  assert found.languages == ("de", "en", "fr", "it")
  assert found.pairs(("source", "target")) == (
    {"source": "en", "target": "de"}, {"source": "en", "target": "fr"},
    {"source": "fr", "target": "en"},
  )  # fmt: skip
  assert found.pairs(("target",)) == ({"target": "de"}, {"target": "fr"}, {"target": "en"})
  assert found.pairs(("source",)) == ({"source": "en"}, {"source": "fr"}, {"source": "it"})


def test_the_canonical_voice_has_most_seconds_or_else_most_text(read):
  timed = [row("a", "short", duration=9), row("b", "long", duration=10)]
  assert read(train=timed).train_voices("en") == ("long", "short")
  untimed = [*timed, row("c", "wordy", text="many words " * 9)]
  assert read(train=untimed).train_voices("en") == ("wordy", "long", "short")


def test_a_language_nobody_speaks_in_training_borrows_voices(read):
  translated = row("c", "anna", translation="hallo", translation_language="de")
  found = read(train=[translated], test=[row("d", "bob")])
  assert found.train_voices("en") == found.train_voices("de") == ("anna",)
  with pytest.raises(ConfigError, match="has no language 'fr': it has de, en"):
    found.train_voices("fr")


def test_settings_survive_json_and_pickle_without_the_files(read, tmp_path):
  found = read(train=[*pair("p", "en", "fr")], test=[row("a")])
  for path in tmp_path.iterdir():
    path.unlink()
  again = values.from_json(values.to_json(found))
  assert again == found == pickle.loads(pickle.dumps(found))
  assert hash(again) == hash(found) and again.fingerprint == found.fingerprint
  assert again.train_voices("fr") == ("s",)


def test_the_fingerprint_follows_what_is_said_and_not_where_it_lies(read, tmp_path):
  rows = [row("/data/a"), row("/data/b")]
  found = read(train=rows)
  moved = dataclasses.replace(found, train=str(tmp_path / "moved.jsonl"), variants=3)
  assert moved.fingerprint == found.fingerprint
  assert read(train=rows[:1]).fingerprint != found.fingerprint
  assert read(Reading(language="fr"), train=rows).fingerprint != found.fingerprint


def test_records_are_those_of_the_split(read):
  found = read(train=[row("a"), *pair("p", "en", "fr")], test=[row("d")])
  assert [source.id for source, _ in corpus.records(found, "train")] == ["a", "p-en", "p-fr"]
  assert len(corpus.records(found, "test")) == 1
  assert corpus.records(found, "validation") == ()


def test_a_file_that_changed_under_a_running_prepare_is_no_fault_of_its_records(read, tmp_path):
  found = read(train=[row("a"), row("b")])
  (tmp_path / "train.jsonl").write_text(json.dumps(row("a")))
  with pytest.raises(
    ConfigError, match=r"train.jsonl has changed since the config was read\. Prepared"
  ):
    corpus.records(found, "train")
  (tmp_path / "train.jsonl").unlink()
  with pytest.raises(
    ConfigError, match=r"was read: it cannot be read: No such file or directory\."
  ):
    corpus.records(found, "train")


def test_faults_of_all_files_are_listed_with_their_lines(read, tmp_path):
  text = said(
    read, train=[row("a", language="xx"), row("b"), row("b")], test=[row("c", duration="long")]
  )
  assert text.startswith("The manifest has 3 faults, and no recording was opened:\n  ")
  assert f"{tmp_path}/train.jsonl:1: unknown language 'xx'" in text
  assert f"{tmp_path}/train.jsonl:3: the id 'b' is that of line 2 too" in text
  assert f"{tmp_path}/test.jsonl:1: duration is 'long'" in text
  assert text.endswith("`audiopalm inspect data FILE` finds these, and faults of recordings too.")
  assert "has a fault, and" in said(corpus.read, {"train": str(tmp_path / "none")}, Reading())


def test_a_recording_belongs_to_one_split(read, tmp_path):
  segments = [row("a", offset=0, duration=1), row("a", offset=1, duration=1)]
  text = said(read, train=segments[:1], test=[row("b"), segments[0]])
  assert f"test.jsonl:2: its recording is that of {tmp_path}/train.jsonl:1 too" in text
  read(train=segments[:1], test=segments[1:])


def test_a_spoken_translation_is_a_recording_and_a_voice_of_its_language(read, tmp_path):
  def spoken(audio):
    target = {"translation": "un", "translation_language": "fr", "translation_audio": "t"}
    return row(audio, "anna") | target | {"translation_speaker": "zoé"}

  found = read(train=[spoken("a")])
  assert found.train_voices("fr") == ("zoé",) and found.train_voices("en") == ("anna",)
  text = said(read, train=[spoken("a")], test=[spoken("b")])
  assert f"test.jsonl:1: its recording is that of {tmp_path}/train.jsonl:1 too" in text


def test_held_out_voices_are_not_heard_in_training(read, tmp_path):
  text = said(read, train=[row("a", "anna")], held_out_voices=[row("b", "bob"), row("c", "anna")])
  assert f"held_out_voices.jsonl:2: the speaker 'anna' is that of {tmp_path}/train" in text


def test_names_and_variants_that_cannot_be_are_refused(read):
  found = read(train=[row("a")])
  with pytest.raises(
    ConfigError, match="cannot have the name 'My data': lowercase letters, digits"
  ):
    dataclasses.replace(found, name="My data")
  with pytest.raises(ConfigError, match="variants=0 must be an integer, 1 or more"):
    dataclasses.replace(found, variants=0)
