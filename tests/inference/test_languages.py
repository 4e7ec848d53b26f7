import pytest

from audiopalm.data.corpora import Synthetic
from audiopalm.errors import ConfigError
from audiopalm.inference import languages
from audiopalm.parts import mixtures

TWO = Synthetic(languages=("en", "fr"))
THREE = Synthetic(languages=("en", "fr", "de"))


def test_a_named_language_is_the_only_candidate():
  assert languages.candidates(mixtures.asr(TWO), language="fr") == ({"source": "fr"},)


def test_without_a_name_each_language_is_a_candidate():
  found = languages.candidates(mixtures.asr(TWO))
  assert found == ({"source": "en"}, {"source": "fr"})


def test_the_only_language_of_a_run_needs_no_name():
  found = languages.candidates(mixtures.mt(Synthetic(languages=("en",))))
  assert found == ({"source": "en", "target": "en"},)


def test_source_and_target_name_a_pair():
  found = languages.candidates(mixtures.mt(THREE), source="en", target="de")
  assert found == ({"source": "en", "target": "de"},)


def test_a_target_leaves_every_source_open():
  found = languages.candidates(mixtures.ast(THREE), target="de")
  assert found == ({"source": "en", "target": "de"}, {"source": "fr", "target": "de"})


def test_of_two_languages_the_source_settles_the_target():
  assert languages.candidates(mixtures.s2st(TWO), source="fr") == (
    {"source": "fr", "target": "en"},
  )
  assert len(languages.candidates(mixtures.s2st(TWO))) == 2


def test_of_three_languages_the_target_must_be_given():
  with pytest.raises(ConfigError, match="needs a target language here: one of de, fr"):
    languages.candidates(mixtures.s2st(THREE), source="en")


def test_an_unknown_language_lists_the_known_ones():
  with pytest.raises(ConfigError, match="Unknown language 'xx' .* Known languages: en, fr"):
    languages.candidates(mixtures.asr(TWO), language="xx")
  with pytest.raises(ConfigError, match="Unknown language 'de' .* Known languages: en, fr"):
    languages.candidates(mixtures.mt(TWO), source="en", target="de")


def test_a_pair_that_was_never_trained_lists_the_known_pairs():
  with pytest.raises(ConfigError, match="not go from 'en' to 'en'. Known pairs: en-fr, fr-en"):
    languages.candidates(mixtures.mt(TWO), source="en", target="en")


def test_the_wrong_option_names_the_right_one():
  with pytest.raises(ConfigError, match="give source and target, not language='en'"):
    languages.candidates(mixtures.mt(TWO), language="en")
  with pytest.raises(ConfigError, match="give language, not source='en'"):
    languages.candidates(mixtures.asr(TWO), source="en")
