import dataclasses
import subprocess
import sys

import pytest

from audiopalm.data import corpora
from audiopalm.data.takes import Takes
from audiopalm.data_pipelines.speech import voices
from audiopalm.errors import ConfigError
from audiopalm.parts import synthesizers

NOISY = Takes(snr_db=(5.0, 20.0))
PROGRAM = synthesizers.program("say {voice} {text}", {"en": ("amy", "joe"), "fr": ("zoe", "lea")})
ENGLISH = {"synthesizer": PROGRAM, "languages": ("en",)}
ALL = (
  corpora.Synthetic(),
  corpora.SyntheticDialogue(),
  corpora.SyntheticText(),
  corpora.SyntheticTranslations(),
  corpora.SpokenDigit(),
)


def said(call, *arguments, **named):
  with pytest.raises(ConfigError) as error:
    call(*arguments, **named)
  return str(error.value)


def test_languages_may_be_any_tags_of_theirs():
  tagged = corpora.Synthetic(languages=("eng", "fr-CA"))
  assert tagged == corpora.Synthetic(languages=("en", "fr"))
  assert tagged.fingerprint == corpora.Synthetic(languages=("en", "fr")).fingerprint


def test_names_differ_and_every_corpus_answers_the_same_questions():
  assert len({corpus.name for corpus in ALL}) == len(ALL)
  for corpus in ALL:
    assert corpus.splits[:3] == ("train", "validation", "test")
    for language in corpus.languages:
      voices = corpus.train_voices(language)
      assert voices and len(set(voices)) == len(voices)
    for pair in corpus.pairs(corpus.roles):
      assert tuple(pair) == corpus.roles
    assert hash(corpus) == hash(dataclasses.replace(corpus))


def test_translations_go_through_all_ordered_pairs_of_languages():
  corpus = corpora.Synthetic(languages=("en", "fr", "de"))
  pairs = [(pair["source"], pair["target"]) for pair in corpus.pairs(("source", "target"))]
  assert sorted(pairs) == sorted(
    (a, b) for a in ("en", "fr", "de") for b in ("en", "fr", "de") if a != b
  )
  assert corpus.pairs(("target",)) == ({"target": "en"}, {"target": "fr"}, {"target": "de"})


def test_a_single_language_is_its_own_target():
  corpus = corpora.Synthetic(languages=("fr",))
  assert corpus.pairs(("source", "target")) == ({"source": "fr", "target": "fr"},)


def test_a_question_is_answered_in_its_language():
  corpus = corpora.SyntheticDialogue(languages=("en", "de"))
  assert corpus.pairs(("question", "answer")) == (
    {"question": "en", "answer": "en"},
    {"question": "de", "answer": "de"},
  )


def test_held_out_voices_are_never_training_voices():
  corpus = corpora.Synthetic(voices=12, held_out_voices=4)
  for language in corpus.languages:
    trained = corpus.voices_of(language, "train")
    held_out = corpus.voices_of(language, "held_out_voices")
    assert len(trained) == 12 and len(held_out) == 4 and not set(trained) & set(held_out)
    assert corpus.voices_of(language, "test") == trained == corpus.train_voices(language)
  digits = corpora.SpokenDigit(held_out_speaker="theo")
  assert "theo" not in digits.train_voices("en") and len(digits.train_voices("en")) == 4
  digits = corpora.SpokenDigit(held_out_speaker="theo,jackson")
  assert digits.train_voices("en") == ("george", "nicolas", "yweweler")


def test_defaults_have_twelve_training_voices_and_two_held_out():
  corpus = corpora.Synthetic()
  assert len(corpus.train_voices("en")) == 12
  assert len(corpus.voices_of("en", "held_out_voices")) == 2


def test_fingerprints_are_equal_for_equal_settings_only():
  one = corpora.Synthetic(seed=1)
  assert one.fingerprint == corpora.Synthetic(seed=1).fingerprint
  others = [
    corpora.Synthetic(seed=2),
    corpora.Synthetic(seed=1, topics=("prices",)),
    corpora.Synthetic(seed=1, train_records=7),
    corpora.SyntheticText(seed=1),
    corpora.SpokenDigit(held_out_speaker="theo"),
    corpora.SpokenDigit(held_out_speaker="george"),
  ]
  assert len({corpus.fingerprint for corpus in [one, *others]}) == 1 + len(others)
  assert len(one.fingerprint) == 64


def test_fingerprint_depends_neither_on_the_place_of_the_data_nor_on_copies():
  here = corpora.SpokenDigit(data_dir="/here", variants=2)
  assert here.fingerprint == corpora.SpokenDigit(data_dir="/there", variants=3).fingerprint


def test_unknown_role_names_the_roles():
  text = said(corpora.Synthetic().pairs, ("source", "answer"))
  assert "Corpus 'synthetic' has no role 'answer': its records have source, target" in text


def test_unknown_language_names_the_languages():
  text = said(corpora.Synthetic(languages=("en", "fr")).train_voices, "de")
  assert "Corpus 'synthetic' has no language 'de': it has en, fr" in text
  assert "languages=('en', 'xx') must be one or more of en, fr, de" in said(
    corpora.Synthetic, languages=("en", "xx")
  )


def test_unknown_topic_names_the_topics():
  text = said(corpora.Synthetic, topics=("prices", "sports"))
  assert "Corpus 'synthetic': topics=('prices', 'sports') must be one or more of times, num" in text
  text = said(corpora.SyntheticDialogue, topics=("prices",))
  assert "Corpus 'dialogue': topics=('prices',) must be one or more of sums, order" in text


def test_counts_out_of_range_say_the_range():
  assert "voices=13 must be an integer, 1 to 12" in said(corpora.Synthetic, voices=13)
  assert "train_records=0 must be an integer, 1 or more" in said(corpora.Synthetic, train_records=0)
  assert "variants=1.5 must be an integer" in said(corpora.SpokenDigit, variants=1.5)


def test_unknown_speaker_names_the_speakers():
  text = said(corpora.SpokenDigit, held_out_speaker="anna")
  assert "no speaker 'anna': it has george, jackson, nicolas, theo, yweweler" in text
  assert corpora.SpokenDigit(held_out_speaker=None).train_voices("en") == corpora.DIGIT_SPEAKERS
  text = said(corpora.SpokenDigit, held_out_speaker=",".join(corpora.DIGIT_SPEAKERS))
  assert "no speaker is left to train on" in text


def test_settings_load_no_tensorflow():
  code = (
    "import sys, audiopalm.data.corpora, audiopalm.audio.waveform;"
    "import audiopalm.data_pipelines.synthetic, audiopalm.data_pipelines.spoken_digit;"
    "assert 'tensorflow' not in sys.modules"
  )
  subprocess.run([sys.executable, "-c", code], check=True)


def test_corpora_that_espeak_spoke_before_have_the_fingerprint_they_had():
  as_before = corpora.Synthetic(synthesizer="espeak", voices=8, takes=None)
  known = "c21f6d6d1a44f750f4e937056ae33103fa5d80890c6709937a5c33c4c84c62c4"
  assert as_before.fingerprint == known
  others = [corpora.Synthetic(), corpora.Synthetic(takes=None), corpora.Synthetic(takes=NOISY)]
  others.append(corpora.Synthetic(synthesizer="espeak"))
  mine = {"languages": ("en", "fr"), "synthesizer": PROGRAM, "voices": 2, "held_out_voices": 0}
  others.append(corpora.Synthetic(**mine))
  assert len({known, *(corpus.fingerprint for corpus in others)}) == 6


@pytest.mark.parametrize("corpus", [corpora.SyntheticText, corpora.SyntheticTranslations])
def test_a_corpus_of_text_alone_has_nobody_who_speaks(corpus):
  text = said(corpus, synthesizer="espeak")
  assert "has only text: nothing of it is spoken. Remove synthesizer='espeak'." in text
  assert "Remove takes=None." in said(corpus, takes=None)
  assert "Remove voices=2." in said(corpus, voices=2)
  assert "Remove held_out_voices=0." in said(corpus, held_out_voices=0)


def test_an_unknown_synthesizer_names_those_there_are():
  text = said(corpora.Synthetic, synthesizer="festival")
  assert "synthesizer='festival' must be one of 'pico', 'espeak', what parts.synth" in text


def test_a_synthesizer_that_lacks_a_language_says_what_it_speaks():
  text = said(
    corpora.Synthetic, synthesizer=PROGRAM, languages=("en", "de"), voices=2, held_out_voices=0
  )
  assert "synthesizer 'program' does not speak 'de': it speaks en, fr. Choose another" in text
  assert "voices=12 must be an integer, 1 to 2" in said(corpora.Synthetic, **ENGLISH)
  text = said(corpora.Synthetic, **ENGLISH, voices=2, held_out_voices=1)
  assert "held_out_voices=1 must be an integer, 0 to 0" in text


@dataclasses.dataclass(frozen=True)
class Whistle:
  """A synthesizer of the user's."""

  name: str = "whistle"
  languages: tuple[str, ...] = ("en",)
  identity: str = "whistle 1"

  def train_voices(self, language):
    return ("high", "low")

  def held_out_voices(self, language):
    return ("middle",)

  def speaker(self, language, voice):
    return f"{language} {voice}"


def test_a_synthesizer_may_be_of_a_users_class():
  options = {"languages": ("en",), "voices": 2, "held_out_voices": 1}
  corpus = corpora.Synthetic(**options, synthesizer=Whistle())
  assert corpus.train_voices("en") == ("high", "low")
  assert corpus.voices_of("en", "held_out_voices") == ("middle",)
  other = corpora.Synthetic(**options, synthesizer=Whistle(identity="whistle 2"))
  assert corpus.fingerprint != other.fingerprint
  assert voices.speaker(Whistle(), "en", "low") == "en low"
  with pytest.raises(ConfigError, match=r"it lacks held_out_voices, identity, languages, name, tr"):
    corpora.Synthetic(languages=("en",), synthesizer=("festival",))
