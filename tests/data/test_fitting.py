import numpy as np
import pytest

from audiopalm.data import executors, fitting, records
from audiopalm.errors import ConfigError, DataError
from audiopalm.tokenizers.text import SentencePieceText
from audiopalm.tokenizers.units import KMeansUnits
from audiopalm.types import Utterance


def sampled(corpora, workers=0, audio_s=10.0):
  with executors.Local(workers) as executor:
    return fitting.sample(corpora, executor, audio_s)


@pytest.mark.long
def test_the_sample_is_the_same_for_any_number_of_workers(small):
  one, two = (sampled([small.SmallCorpus(200)], workers) for workers in (1, 2))
  assert [said.text for said in one] == [said.text for said in two]
  np.testing.assert_array_equal(one[0].wave_S, two[0].wave_S)


def test_speech_is_bounded_by_its_length_and_text_by_records(small, monkeypatch):
  monkeypatch.setattr(fitting, "RECORDS", 150)
  spoken, written = small.SmallCorpus(200), small.SmallCorpus(200, spoken=False)
  utterances = sampled([spoken, written])
  seconds = sum(len(said.wave_S) / said.rate_hz for said in utterances if said.wave_S is not None)
  job_s = fitting.JOB_RECORDS * 2 * 0.4
  assert 5.0 <= seconds <= 5.0 + job_s  # half of 10 s: there are two corpora
  assert sum(said.wave_S is None for said in utterances) == 2 * 150


def test_only_sound_training_records_are_read(small, monkeypatch):
  splits = set()
  read = records.read

  def seen(corpus, split, start, stop):
    splits.add(split)
    return read(corpus, split, start, stop)

  monkeypatch.setattr(records, "read", seen)
  corpus = small.SmallCorpus(6, ((1, "silent"), (2, "unreadable"), (4, "unknown language")))
  assert len(sampled([corpus])) == 2 * 3
  assert splits == {"train"}


def test_a_corpus_of_which_nothing_can_be_used_says_why(small):
  corpus = small.SmallCorpus(3, tuple((number, "silent") for number in range(3)))
  with pytest.raises(
    DataError,
    match=r"Corpus 'small' has no training record that can be used; 3 were tried. The first: "
    r"small/train/00000\d \(source\): silent",
  ):
    sampled([corpus])


def test_fitted_tokenizers_are_found_again_until_settings_or_corpora_change(small, tmp_path):
  corpus, settings = small.SmallCorpus(6), (small.Letters(), small.Crossings())
  with executors.Local(0) as executor:
    fitted = fitting.fit(settings, (corpus,), executor)
  assert not list(tmp_path.iterdir())  # nothing is written before the manifest is checked
  fitting.save(fitted, settings, (corpus,), tmp_path)
  found = fitting.load(settings, (corpus,), tmp_path)
  assert {name: t.spec for name, t in found.items()} == {n: t.spec for n, t in fitted.items()}
  assert fitting.load((small.Letters(extra=1), settings[1]), (corpus,), tmp_path) is None
  assert fitting.load(settings, (small.SmallCorpus(7),), tmp_path) is None
  assert fitting.load(settings, (small.SmallCorpus(6, variants=3),), tmp_path) is not None


def test_runs_that_share_tokenizers_fit_each_once(small, tmp_path, monkeypatch):
  corpus, shared = small.SmallCorpus(6), tmp_path / "shared"

  def fit(name, *settings):
    with executors.Local(0) as executor:
      return fitting.fit(settings, (corpus,), executor, shared)

  first = fit("a", small.Letters(), small.Crossings())
  fit("b", small.Letters(extra=1))
  monkeypatch.setattr(fitting, "sample", lambda *args: pytest.fail("recordings were read"))
  again = fit("c", small.Crossings(), small.Letters())
  assert list(again) == ["units", "text"]
  assert {name: t.spec for name, t in again.items()} == {n: t.spec for n, t in first.items()}
  assert not (tmp_path / "c").exists()


def test_a_tokenizer_may_ask_for_more_speech(small, tmp_path, monkeypatch):
  corpus, asked = small.SmallCorpus(6), []
  sample = fitting.sample
  monkeypatch.setattr(fitting, "sample", lambda *args: asked.append(args[2]) or sample(*args))

  def fit(*settings):
    with executors.Local(0) as executor:
      fitting.fit(settings, (corpus,), tmp_path / "run", executor, tmp_path)

  fit(small.Letters())
  monkeypatch.setattr(small.Crossings, "sample_s", 7_200.0, raising=False)
  fit(small.Letters(), small.Crossings())
  monkeypatch.setattr(small.Crossings, "sample_s", 60.0)
  fit(small.Crossings())
  assert asked == [fitting.AUDIO_S, 7_200.0, fitting.AUDIO_S]


def test_what_is_made_from_other_files_at_the_same_place_is_not_shared(
  small, tmp_path, monkeypatch
):
  corpus, shared, digests = (
    small.SmallCorpus(6),
    tmp_path / "shared",
    ["a" * 64, "a" * 64, "b" * 64],
  )
  source_digest = staticmethod(lambda: digests.pop(0))
  monkeypatch.setattr(small.Letters, "source_digest", source_digest, raising=False)
  for _ in range(3):
    with executors.Local(0) as executor:
      fitting.fit((small.Letters(),), (corpus,), executor, shared)
  assert len(list(shared.iterdir())) == 2


def test_what_a_tokenizer_lacks_is_said_before_a_recording_is_read(small, tmp_path, monkeypatch):
  def check(self):
    raise ConfigError("Crossings needs a file.")

  monkeypatch.setattr(small.Crossings, "check", check)
  monkeypatch.setattr(fitting, "sample", lambda *args: pytest.fail("recordings were read"))
  with executors.Local(0) as executor, pytest.raises(ConfigError, match="Crossings needs a file."):
    fitting.fit((small.Letters(), small.Crossings()), (), executor)


def test_a_damaged_tokenizer_is_not_taken_for_a_fitted_one(small, tmp_path):
  corpus, settings = small.SmallCorpus(6), (small.Letters(), small.Crossings())
  fitting.save({t.stream: t.fit([], 0) for t in settings}, settings, (corpus,), tmp_path)
  assert fitting.load(settings, (corpus,), tmp_path) is not None
  (tmp_path / "text" / "seen.txt").write_text("17")
  assert fitting.load(settings, (corpus,), tmp_path) is None
  (tmp_path / "text" / "seen.txt").unlink()
  assert fitting.load(settings, (corpus,), tmp_path) is None


def test_a_file_of_a_tokenizer_that_was_cut_is_fitted_again(small, tmp_path):
  corpus, settings = (
    small.SmallCorpus(6),
    (SentencePieceText(size=290), KMeansUnits(size=4, warps=1)),
  )
  noise_S = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
  said = [Utterance(noise_S, 16_000, "one two three", "en", "en-anna")]
  fitted = {one.stream: one.fit(said, 0) for one in settings}
  fitting.save(fitted, settings, (corpus,), tmp_path)
  files = [path for path in tmp_path.rglob("*") if path.is_file()]
  assert {"fit.json", "units.npz", "text.model", "settings.json"} == {path.name for path in files}
  for path in files:
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"[]", b"{}"):
      path.write_bytes(damaged)
      assert fitting.load(settings, (corpus,), tmp_path) is None, (path, damaged)
    path.write_bytes(whole)
    assert fitting.load(settings, (corpus,), tmp_path) is not None
