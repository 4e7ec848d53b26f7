import pytest

from audiopalm.data import corpora
from audiopalm.errors import ConfigError, DataError

pytest.importorskip("seqio", reason="SeqIO comes with audiopalm[data]")

from audiopalm.data_pipelines import seqio_text  # noqa: E402

MODULE = "registers_text"


@pytest.fixture(autouse=True)
def importable(monkeypatch, request):
  """Lets the module that registers the tasks be imported as a user's would be."""
  monkeypatch.syspath_prepend(str(request.path.parent))
  seqio_text._reader.cache_clear()


def settings(**changes):
  values = {
    "task": "made_up_mt", "module": MODULE, "language": "en", "source": "inputs",
    "target": "targets", "target_language": "fr", "train_records": 40, "validation_records": 4,
    "test_records": 0,
  }  # fmt: skip
  return corpora.SeqioText(**{**values, **changes})


def texts(corpus, split, start, stop):
  return [
    tuple(utterance.text for utterance in record.utterances.values())
    for record in seqio_text.records(corpus, split, start, stop)
  ]


def said(call, *arguments):
  with pytest.raises((ConfigError, DataError)) as error:
    call(*arguments)
  return str(error.value)


def test_a_record_is_an_example_of_the_task_before_tokenization():
  (record,) = seqio_text.records(settings(), "train", 7, 8)
  assert record.id == "seqio/train/000007"
  source, target = record.utterances["source"], record.utterances["target"]
  assert (source.text, source.language) == ("train dog 7", "en")
  assert (target.text, target.language) == ("train chien 7", "fr")
  assert source.wave_S is None and target.wave_S is None


@pytest.mark.parametrize("task", ["made_up_mt", "made_up_mt_ids", "made_up_mixture"])
def test_texts_are_the_same_kept_or_decoded_of_a_task_or_a_mixture(task):
  found = texts(settings(task=task), "validation", 0, 4)
  assert found == [(f"validation dog {n}", f"validation chien {n}") for n in range(4)]


def test_records_are_the_same_in_whatever_order_they_are_asked_for():
  whole = texts(settings(), "train", 0, 40)
  seqio_text._reader.cache_clear()
  parts = [texts(settings(), "train", start, start + 8) for start in (16, 32, 0, 8, 24)]
  assert whole == parts[2] + parts[3] + parts[0] + parts[4] + parts[1]


def test_later_records_do_not_restart_the_read(monkeypatch):
  corpus = settings()
  begun = []
  begin = seqio_text._Reader._restart
  monkeypatch.setattr(seqio_text._Reader, "_restart", lambda self: begun.append(1) or begin(self))
  texts(corpus, "train", 0, 8)
  texts(corpus, "train", 24, 40)
  assert len(begun) == 1
  texts(corpus, "train", 8, 16)
  assert len(begun) == 2


def test_plain_text_has_no_target():
  corpus = settings(source="targets", target=None, target_language=None, language="fr")
  assert corpus.roles == ("source",)
  assert corpus.languages == ("fr",)
  assert texts(corpus, "train", 3, 4) == [("train chien 3",)]


def test_a_corpus_says_which_languages_fall_on_which_roles():
  corpus = settings()
  assert corpus.pairs(("source", "target")) == ({"source": "en", "target": "fr"},)
  assert corpus.pairs(("target",)) == ({"target": "fr"},)
  assert corpus.fingerprint == settings().fingerprint
  assert corpus.fingerprint != settings(revision="of May").fingerprint


def test_an_unknown_task_split_or_feature_is_an_error_that_says_so():
  assert "has 40 examples in its split 'train', but train_records=41" in said(
    texts, settings(train_records=41), "train", 40, 41
  )
  assert "'made_up_mt' has the splits train, validation, not 'test'" in said(
    texts, settings(test_records=5), "test", 0, 1
  )
  assert "has no Task or Mixture 'made_up'" in said(texts, settings(task="made_up"), "train", 0, 1)
  assert "module='nobody_has_this' cannot be imported" in said(
    texts, settings(module="nobody_has_this"), "train", 0, 1
  )
  assert "not 'words'. Name one of these" in said(texts, settings(source="words"), "train", 0, 1)
  assert "'targets' of 'made_up_ids' cannot be read as text" in said(
    texts, settings(task="made_up_ids", source="targets"), "train", 0, 1
  )


def test_invalid_settings_of_a_corpus_are_an_error_that_says_why():
  assert "a translation needs both" in said(lambda: settings(target_language=None))
  assert "train_records=0 must be" in said(lambda: settings(train_records=0))
  assert "Unknown language 'French'. Write 'fr'." in said(
    lambda: settings(target_language="French")
  )
  assert "cannot have the name 'My Text'" in said(lambda: settings(name="My Text"))
