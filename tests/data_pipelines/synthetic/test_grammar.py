import collections
import hashlib
import re

import numpy as np
import pytest

from audiopalm.data import corpora
from audiopalm.data_pipelines.speech import voices
from audiopalm.data_pipelines.synthetic import grammar

LANGUAGES = ("en", "fr", "de")
SPLITS = ("train", "validation", "test")
QUICKSTART = ("prices",)


@pytest.fixture(scope="module")
def everything():
  """All texts of all meanings, and all words, by language."""
  texts = {language: [] for language in LANGUAGES}
  for language in LANGUAGES:
    for template in grammar.TEMPLATES:
      texts[language].extend(template.texts(language, index) for index in range(len(template)))
  return texts


def sentences(everything, language):
  return [texts[0] for texts in everything[language] if len(texts) == 1]


def test_at_least_100_000_distinct_sentences_and_400_words_per_language(everything):
  for language in LANGUAGES:
    found = sentences(everything, language)
    assert len(set(found)) == len(found) >= 100_000
    assert len({word for text in found for word in text.split()}) >= 400


def test_no_two_meanings_have_the_same_text(everything):
  for language in LANGUAGES:
    counts = collections.Counter(texts[0] for texts in everything[language])
    assert [text for text, count in counts.items() if count > 1] == []


def test_texts_are_lower_case_words_without_digits_or_punctuation(everything):
  words = re.compile(r"[a-zäöüßàâçéèêëîïôùûœ']+( [a-zäöüßàâçéèêëîïôùûœ']+)*")
  for language in LANGUAGES:
    for texts in everything[language]:
      for text in texts:
        assert words.fullmatch(text), text


def test_adjacent_words_are_joined_everywhere(everything):
  apart = {
    "en": re.compile(r"\ba [aeio](?!ne|uro)"),
    "fr": re.compile(r"\b(le|la|je|de|ne|ma|ta|ce|que) [aeiouéèêâîô]|\bà les? |\bde les? |d'haut"),
    "de": re.compile(r"\b(in|an|zu|von|bei) dem\b|\bzu der\b"),
  }
  exceptions = re.compile(r"\b(le|de|que) onze")
  for language in LANGUAGES:
    for texts in everything[language]:
      found = apart[language].search(texts[0])
      assert not found or exceptions.search(texts[0]), texts[0]


def test_numbers_of_meanings_lead_to_their_texts(everything):
  total = len(everything["en"])
  for meaning in np.linspace(0, total - 1, 97).astype(int).tolist():
    for language in LANGUAGES:
      assert grammar.texts(language, meaning) == everything[language][meaning]


def test_splits_share_no_meaning_and_leave_none_out(everything):
  topics = corpora.TOPICS + corpora.QUESTIONS
  found = {split: set(grammar.meanings(topics, split, "k").tolist()) for split in SPLITS}
  assert sum(map(len, found.values())) == len(everything["en"])
  assert set().union(*found.values()) == set(range(len(everything["en"])))


def test_no_test_sentence_is_a_train_sentence_in_any_language(everything):
  train = grammar.meanings(corpora.TOPICS, "train", "a").tolist()
  for split in ("validation", "test"):
    others = grammar.meanings(corpora.TOPICS, split, "b").tolist()
    for language in LANGUAGES:
      met = {everything[language][meaning][0] for meaning in train}
      assert not any(everything[language][meaning][0] in met for meaning in others)


def test_a_slice_of_the_grammar_keeps_the_split_of_every_meaning():
  for split in SPLITS:
    whole = set(grammar.meanings(corpora.TOPICS, split, "a").tolist())
    assert set(grammar.meanings(("travel", "prices"), split, "b").tolist()) <= whole


def test_keys_shuffle_and_equal_keys_do_not():
  one, same, other = (
    grammar.meanings(("prices",), "train", key).tolist() for key in ("a", "a", "b")
  )
  assert one == same != other and sorted(one) == sorted(other)


def test_small_templates_occur_early():
  first = grammar.meanings(corpora.TOPICS, "train", "k")[:5_000]
  found = {grammar.texts("en", int(meaning))[0].split()[0] for meaning in first}
  assert {"how", "excuse", "have", "mix", "every"} <= found


def test_every_language_says_the_numbers_of_its_translation():
  for meaning in grammar.meanings(("prices",), "test", "k")[:200].tolist():
    en, fr, de = (grammar.texts(language, meaning)[0] for language in LANGUAGES)
    assert ("seven" in en.split()) <= ("sept" in fr.split())
    assert (
      ("red" in en.split()) == ("rouge" in fr.split()) == bool(re.search(r"\brote?[nrs]?\b", de))
    )


def test_the_quickstart_slice_is_small_and_large_enough():
  assert sum(map(len, grammar.templates(QUICKSTART))) >= 20_000
  for language in ("en", "fr"):
    words = set()
    for template in grammar.templates(QUICKSTART):
      for index in range(len(template)):
        words.update(*(text.split() for text in template.texts(language, index)))
    assert 60 <= len(words) <= 120
    test = grammar.meanings(QUICKSTART, "test", "k")[:600].tolist()
    lengths = [len(grammar.texts(language, meaning)[0].split()) for meaning in test]
    assert len(test) == 600 and np.mean(lengths) >= 5


@pytest.mark.parametrize(
  "start, translations",
  [
    (
      "the train to paris leaves at ten past nine",
      (
        "le train pour paris part à neuf heures dix",
        "der zug nach paris fährt um zehn nach neun ab",
      ),
    ),
    (
      "i paid twenty one euros for the green umbrella",
      (
        "j'ai payé vingt et un euros pour le parapluie vert",
        "ich habe einundzwanzig euro für den grünen regenschirm bezahlt",
      ),
    ),
    (
      "my sister is taller than my uncle",
      ("ma soeur est plus grande que mon oncle", "meine schwester ist größer als mein onkel"),
    ),
    (
      "if it rains tomorrow we stay at home",
      (
        "s'il pleut demain nous restons à la maison",
        "wenn es morgen regnet bleiben wir zu hause",
      ),
    ),
    (
      "we are staying two nights in an old hotel in vienna",
      (
        "nous restons deux nuits dans un vieil hôtel à vienne",
        "wir bleiben zwei nächte in einem alten hotel in wien",
      ),
    ),
    (
      "there are thirty one women in the hospital",
      ("il y a trente et une femmes à l'hôpital", "es sind einunddreißig frauen im krankenhaus"),
    ),
    (
      "we need water and honey for breakfast",
      (
        "il nous faut de l'eau et du miel pour le petit déjeuner",
        "wir brauchen wasser und honig für das frühstück",
      ),
    ),
    (
      "the bank is far from the station",
      ("la banque est loin de la gare", "die bank ist weit weg vom bahnhof"),
    ),
  ],
)
def test_translations_are_grammatical(everything, start, translations):
  meaning = everything["en"].index((start,))
  assert (everything["fr"][meaning][0], everything["de"][meaning][0]) == translations


@pytest.mark.parametrize(
  "question, answer",
  [
    ("what is three plus four", "it is seven"),
    ("what comes after tuesday", "after tuesday comes wednesday"),
    ("wie viel ist drei plus vier", "das ist sieben"),
    ("si la lampe n'est pas lourde comment est elle", "la lampe est légère"),
    ("je m'appelle emma et j'habite à rome où est ce que j'habite", "tu habites à rome"),
    (
      "ich habe ein rotes auto und einen blauen hut welche farbe hat das auto",
      "das auto ist rot",
    ),
  ],
)
def test_answers_follow_from_their_questions(everything, question, answer):
  answers = dict(
    texts for language in LANGUAGES for texts in everything[language] if len(texts) == 2
  )
  assert answers[question] == answer


def test_all_sums_are_right():
  for index in range(0, 1600, 37):
    question, answer = grammar.templates(("sums",))[0].texts("en", index)
    english = {grammar.prices.forms.english_number(n): n for n in range(100)}
    one, other = question.removeprefix("what is ").split(" plus ")
    assert english[one] + english[other] == english[answer.removeprefix("it is ")]


def test_the_texts_of_the_generator_match_its_version(everything):
  digest = hashlib.sha256(repr([sorted(named.items()) for named in voices.NAMED.values()]).encode())
  for language in LANGUAGES:
    digest.update(repr(everything[language]).encode())
  for split in SPLITS:
    digest.update(grammar.meanings(corpora.TOPICS, split, "k")[:1000].astype("<i8").tobytes())
  expected = {"synthetic 1": "134a296d2dc25fc9"}
  assert expected.get(corpora.GENERATOR) == digest.hexdigest()[:16], (
    "Sentences, splits or voices changed: raise corpora.GENERATOR, and write the new digest here."
  )
