import pytest

from audiopalm.data_pipelines.synthetic import forms


@pytest.mark.parametrize(
  "value, en, fr, de",
  [
    (0, "zero", "zéro", "null"),
    (16, "sixteen", "seize", "sechzehn"),
    (17, "seventeen", "dix sept", "siebzehn"),
    (21, "twenty one", "vingt et un", "einundzwanzig"),
    (30, "thirty", "trente", "dreißig"),
    (71, "seventy one", "soixante et onze", "einundsiebzig"),
    (80, "eighty", "quatre vingts", "achtzig"),
    (81, "eighty one", "quatre vingt un", "einundachtzig"),
    (99, "ninety nine", "quatre vingt dix neuf", "neunundneunzig"),
    (100, "one hundred", "cent", "einhundert"),
    (200, "two hundred", "deux cents", "zweihundert"),
    (342, "three hundred and forty two", "trois cent quarante deux", "dreihundertzweiundvierzig"),
  ],
)
def test_numbers_are_written_as_they_are_spoken(value, en, fr, de):
  number = forms.number(value)
  assert (number.en[""], number.fr[""], number.de[""]) == (en, fr, de)


def test_french_numbers_agree_with_feminine_nouns():
  assert forms.number(21).fr["f"] == "vingt et une"
  assert forms.number(81).fr["f"] == "quatre vingt une"
  for value in (11, 71, 91, 22, 80):
    assert forms.number(value).fr["f"] == forms.number(value).fr[""]


def test_all_numbers_differ():
  for language in ("en", "fr", "de"):
    assert len({getattr(number, language)[""] for number in forms.numbers(0, 999)}) == 1000


@pytest.mark.parametrize(
  "hour, minute, en, fr, de",
  [
    (1, 0, "one o'clock", "une heure", "ein uhr"),
    (9, 5, "five past nine", "neuf heures cinq", "fünf nach neun"),
    (9, 15, "quarter past nine", "neuf heures et quart", "viertel nach neun"),
    (9, 25, "twenty five past nine", "neuf heures vingt cinq", "fünf vor halb zehn"),
    (9, 30, "half past nine", "neuf heures et demie", "halb zehn"),
    (9, 35, "twenty five to ten", "dix heures moins vingt cinq", "fünf nach halb zehn"),
    (9, 40, "twenty to ten", "dix heures moins vingt", "zwanzig vor zehn"),
    (12, 45, "quarter to one", "une heure moins le quart", "viertel vor eins"),
  ],
)
def test_clock_times_are_written_as_they_are_spoken(hour, minute, en, fr, de):
  time = forms.clock(hour, minute)
  assert (time.en[""], time.fr[""], time.de[""]) == (en, fr, de)


def test_days_of_the_month():
  days = forms.ordinal_days()
  assert len(days) == 31
  said = {
    number: (days[number - 1].en[""], days[number - 1].de[""]) for number in (1, 3, 7, 20, 31)
  }
  assert said == {
    1: ("first", "ersten"),
    3: ("third", "dritten"),
    7: ("seventh", "siebten"),
    20: ("twentieth", "zwanzigsten"),
    31: ("thirty first", "einunddreißigsten"),
  }
  assert (days[0].fr[""], days[20].fr[""]) == ("premier", "vingt et un")


@pytest.mark.parametrize(
  "language, apart, joined",
  [
    ("fr", "le orange et la eau", "l'orange et l'eau"),
    ("fr", "je habite à le hôtel de le oncle", "j'habite à l'hôtel de l'oncle"),
    ("fr", "à le marché de le village de les amis", "au marché du village des amis"),
    ("fr", "ce hôtel ma amie un vieux appartement", "cet hôtel mon amie un vieil appartement"),
    ("fr", "si il pleut elle reste si elle veut", "s'il pleut elle reste si elle veut"),
    ("fr", "il ne aime que elle", "il n'aime qu'elle"),
    ("fr", "le onze et le huit mètres de haut", "le onze et le huit mètres de haut"),
    ("fr", "vieux hôtel nouveau ami beau arbre", "vieil hôtel nouvel ami bel arbre"),
    ("fr", "là de bon matin", "là de bon matin"),
    ("de", "in dem haus zu der bank von dem zug", "im haus zur bank vom zug"),
    ("de", "an dem montag bei dem arzt in der küche", "am montag beim arzt in der küche"),
    ("de", "wenn dem mann der fuß weh tut", "wenn dem mann der fuß weh tut"),
    ("en", "a apple a university a hour a umbrella", "an apple a university an hour an umbrella"),
    ("en", "a old car a european train", "an old car a european train"),
  ],
)
def test_adjacent_words_change_each_other(language, apart, joined):
  assert forms.joined(language, apart) == joined


def test_determiners_and_adjectives_agree_with_their_noun():
  (table, house) = forms.nouns("""
    table tables | table tables f | tisch tische m
    church | église f | kirche f
  """)
  assert [table.de[name] for name in ("der", "den", "dem", "einem", "meinen")] == [
    "der", "den", "dem", "einem", "meinen",
  ]  # fmt: skip
  assert [house.de[name] for name in ("der", "den", "dem", "einem", "meinen")] == [
    "die", "die", "der", "einer", "meine",
  ]  # fmt: skip
  assert (table.fr["le"], table.fr["mon"], table.en["s"], table.de["s"]) == (
    "la", "ma", "tables", "tische",
  )  # fmt: skip
  (green, expensive) = forms.adjectives("""
    green | vert verte | grün
    expensive | cher chère | teuer teur
  """)
  assert (green.fr[":f"], green.de["ein:m"], green.de["den:m"]) == ("verte", "grüner", "grünen")
  assert (expensive.de[""], expensive.de["der:f"]) == ("teuer", "teure")
