"""Numbers brought to words in transcripts and references."""

import pytest

from audiopalm.metrics import numbers, text


def read(written, language):
  return text.normalize(numbers.spell(written, language))


@pytest.mark.parametrize(
  ("language", "written", "words"),
  [
    ("fr", "Ça coûte 32 €.", "ça coûte trente-deux euros"),
    ("fr", "32 euros", "trente-deux euros"),
    ("fr", "0 €", "zéro euro"),
    ("en", "€0", "zero euros"),
    ("fr", "3,50 €", "trois euros cinquante"),
    ("fr", "3.50 €", "trois euros cinquante"),
    ("fr", "1 €", "un euro"),
    ("fr", "1 000 euros", "mille euros"),
    ("fr", "-5 degrés", "moins cinq degrés"),
    ("fr", "5 %", "cinq pour cent"),
    ("en", "€32", "thirty-two euros"),
    ("en", "32€", "thirty-two euros"),
    ("en", "$3.50", "three dollars fifty"),
    ("en", "3.50", "three point five"),
    ("en", "1,999", "one thousand, nine hundred and ninety-nine"),
    ("en", "5%", "five percent"),
    ("en", "10,20,30", "ten twenty thirty"),
    ("en", "007", "zero zero seven"),
    ("en", "covid-19", "covid nineteen"),
    ("de", "48 Euro", "achtundvierzig euro"),
    ("de", "1 €", "ein euro"),
    ("de", "1.234,5", "eintausendzweihundertvierunddreißig komma fünf"),
    ("cs", "-5", "mínus pět"),
    ("nb", "32", "trettito"),
    ("ja", "32円", "三十二円"),
  ],
)
def test_a_number_reads_as_its_words(language, written, words):
  assert read(written, language) == text.normalize(words)


@pytest.mark.parametrize(
  ("language", "written", "words"),
  [
    ("en", "at 6:45.", "at six forty five"),
    ("fr", "9h30", "neuf heures trente"),
    ("fr", "9:30", "neuf heures trente"),
    ("fr", "1 h", "une heure"),
    ("fr", "21h", "vingt et une heures"),
    ("de", "um 9:30 Uhr", "um neun uhr dreißig"),
    ("de", "um 9.30 Uhr", "um neun uhr dreißig"),
    ("de", "um 1:00 Uhr", "um ein uhr"),
  ],
)
def test_a_time_reads_as_it_is_said(language, written, words):
  assert read(written, language) == words


@pytest.mark.parametrize(
  ("language", "written"),
  [
    ("en", "the 21st of may"),
    ("en", "A4, mp3 and the 1980s"),
    ("fr", "le 1er et la 2e"),
    ("de", "Am 3. Mai"),
    ("en", "1234567890"),
    ("hu", "3.1415"),
    ("zh", "32 元"),
    ("am", "32"),
  ],
)
def test_ordinals_codes_long_numbers_and_unknown_languages_stay(language, written):
  assert numbers.spell(written, language) == written


@pytest.mark.parametrize(
  "language", ["az", "cs", "cy", "hu", "id", "it", "lt", "lv", "pl", "ru", "uk"]
)
def test_numbers_that_the_package_fails_for_are_words_too(language):
  for written in ("-5", "0.005", "0", "100", "999999999", "7.325"):
    spelled = numbers.spell(written, language)
    assert spelled and not any(character.isdigit() for character in spelled)


def test_a_tag_with_a_region_is_read_as_its_language():
  assert numbers.spell("32", "fr-CH") == "trente-deux"


def test_hyphens_and_spaces_of_a_number_agree():
  said = [read(one, "fr") for one in ("21", "vingt et un", "vingt-et-un", "Vingt-et-Un.")]
  assert set(said) == {"vingt et un"}


def test_a_german_number_that_ends_a_sentence_is_no_ordinal():
  assert read("Er ist 30.", "de") == "er ist dreißig"


def test_the_rule_names_the_version_and_the_languages_it_leaves_alone():
  assert numbers.rule(["en", "fr"]) == numbers.RULE
  assert numbers.RULE.startswith("numbers as words by num2words 0.5")
  assert numbers.rule(["en", "zh", "am"]) == numbers.RULE + ", unchanged in am, zh"
