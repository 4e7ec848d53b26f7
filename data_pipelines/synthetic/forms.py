"""Word forms in English, French and German, and the changes between adjacent words.

A `LexicalEntry` has a dict of forms for each language. The form '' is the word itself; a pattern
selects others by name: `{thing.s}` is the plural, `{thing.den}` the accusative article of the noun
(determiners are named by their masculine form), `{color.den:thing}` the adjective after that
article, in the gender of `thing`.

All text is lowercase, even German nouns, without punctuation except apostrophes; hyphens become
spaces (vingt cinq, avez vous), so that a word error rate compares words.
"""

import dataclasses
import re
from collections.abc import Mapping

Forms = Mapping[str, str]

FRENCH_DETERMINERS = {
  "le": "le la", "un": "un une", "mon": "mon ma", "ton": "ton ta", "son": "son sa",
  "ce": "ce cette", "notre": "notre notre", "il": "il elle", "quel": "quel quelle",
}  # fmt: skip
GERMAN_DETERMINERS = {
  "der": "der die das", "den": "den die das", "dem": "dem der dem",
  "dieser": "dieser diese dieses", "diesen": "diesen diese dieses",
  "er": "er sie es", "ihn": "ihn sie es",
} | {
  stem + masculine: f"{stem}{masculine} {stem}{feminine} {stem}{neuter}"
  for stem in ("ein", "kein", "mein", "dein", "ihr", "unser")
  for masculine, feminine, neuter in (("", "e", ""), ("en", "e", ""), ("em", "er", "em"))
}  # fmt: skip
GERMAN_ENDINGS = {  # of an adjective after the determiner: masculine, feminine, neuter
  "der": "e e e", "den": "en e e", "dem": "en en en",
  "ein": "er e es", "einen": "en e es", "einem": "en en en",
}  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class LexicalEntry:
  """A value of a slot: its forms in each language."""

  en: Forms
  fr: Forms
  de: Forms


def entry(en: str | Forms, fr: str | Forms, de: str | Forms) -> LexicalEntry:
  """Returns an entry; a string is a word without other forms."""
  return LexicalEntry(*({"": forms} if isinstance(forms, str) else forms for forms in (en, fr, de)))


def rows(table: str) -> list[list[str]]:
  """Returns the cells of a table with lines like `a | b | c`."""
  return [[cell.strip() for cell in line.split("|")] for line in table.strip().splitlines()]


def entries(table: str) -> tuple[LexicalEntry, ...]:
  """Returns an entry per line of `english | french | german`."""
  return tuple(entry(*row) for row in rows(table))


def nouns(table: str) -> tuple[LexicalEntry, ...]:
  """Returns nouns from lines like `car cars | voiture voitures f | auto autos n`.

  Plurals are optional, `_` is a space inside a name. Forms: '' s gender, and every determiner above
  by its masculine form (for persons also the pronouns he, il, er).
  """
  return tuple(_noun(*row) for row in rows(table))


def _noun(en: str, fr: str, de: str) -> LexicalEntry:
  english, french, german = (
    [word.replace("_", " ") for word in words.split()] for words in (en, fr, de)
  )
  fr_gender, de_gender = "mf".index(french[-1]), "mfn".index(german[-1])
  return LexicalEntry(
    en={"": english[0], "s": english[-1], "he": ("he", "she")[fr_gender]},
    fr={"": french[0], "s": french[-2], "gender": french[-1]}
    | {name: cases.split()[fr_gender] for name, cases in FRENCH_DETERMINERS.items()},
    de={"": german[0], "s": german[-2], "gender": german[-1]}
    | {name: cases.split()[de_gender] for name, cases in GERMAN_DETERMINERS.items()},
  )


def adjectives(table: str) -> tuple[LexicalEntry, ...]:
  """Returns adjectives from lines like `green | vert verte | grün`.

  A second German word is the stem for endings: `teuer teur`. Forms: '' (masculine in French), ':m'
  ':f' in French, 'der:m' 'einen:f' ... in German.
  """
  return tuple(_adjective(*row) for row in rows(table))


def _adjective(en: str, fr: str, de: str) -> LexicalEntry:
  french, german = fr.split(), de.split()
  stem = german[-1].removesuffix("e")
  return LexicalEntry(
    en={"": en},
    fr={"": french[0], ":m": french[0], ":f": french[-1]},
    de={"": german[0]}
    | {
      f"{determiner}:{gender}": stem + ending
      for determiner, endings in GERMAN_ENDINGS.items()
      for gender, ending in zip("mfn", endings.split(), strict=True)
    },
  )


EN_SMALL = (
  "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
  "sixteen seventeen eighteen nineteen"
).split()
EN_TENS = "- - twenty thirty forty fifty sixty seventy eighty ninety".split()
FR_SMALL = (
  "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize"
).split() + ["dix sept", "dix huit", "dix neuf"]
FR_TENS = "- - vingt trente quarante cinquante soixante".split()
DE_SMALL = (
  "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn "
  "sechzehn siebzehn achtzehn neunzehn"
).split()
DE_TENS = "- - zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig".split()


def number(value: int) -> LexicalEntry:
  """Returns 0..999 in words: 71 is seventy one, soixante et onze, einundsiebzig.

  French agrees with a noun: vingt et un jours, vingt et une heures.
  """
  french = french_number(value)
  feminine = french + "e" if value % 10 == 1 and value % 100 not in (11, 71, 91) else french
  return LexicalEntry(
    en={"": english_number(value)},
    fr={"": french, "f": feminine, ":m": french, ":f": feminine},
    de={"": german_number(value)},
  )


def english_number(value: int) -> str:
  if value < 20:
    return EN_SMALL[value]
  if value < 100:
    return EN_TENS[value // 10] + (f" {EN_SMALL[value % 10]}" if value % 10 else "")
  rest = f" and {english_number(value % 100)}" if value % 100 else ""
  return f"{EN_SMALL[value // 100]} hundred{rest}"


def french_number(value: int) -> str:
  if value < 20:
    return FR_SMALL[value]
  if value < 70:
    tens, ones = divmod(value, 10)
    joint = " et un" if ones == 1 else f" {FR_SMALL[ones]}" if ones else ""
    return FR_TENS[tens] + joint
  if value < 80:
    return "soixante " + ("et onze" if value == 71 else FR_SMALL[value - 60])
  if value < 100:
    return "quatre vingts" if value == 80 else f"quatre vingt {FR_SMALL[value - 80]}"
  hundreds, rest = divmod(value, 100)
  head = "cent" if hundreds == 1 else f"{FR_SMALL[hundreds]} cent"
  return f"{head} {french_number(rest)}" if rest else head + "s" * (hundreds > 1)


def german_number(value: int) -> str:
  if value < 20:
    return DE_SMALL[value]
  if value < 100:
    tens, ones = divmod(value, 10)
    return (DE_SMALL[ones].removesuffix("s" * (ones == 1)) + "und") * (ones > 0) + DE_TENS[tens]
  hundreds, rest = divmod(value, 100)
  head = DE_SMALL[hundreds].removesuffix("s" * (hundreds == 1)) + "hundert"
  return head + (german_number(rest) if rest else "")


def numbers(first: int, last: int, step: int = 1) -> tuple[LexicalEntry, ...]:
  """Returns the numbers from `first` to `last` in words."""
  return tuple(number(value) for value in range(first, last + 1, step))


def ordinal_days() -> tuple[LexicalEntry, ...]:
  """Returns the days of a month: third, trois, dritten; the first is premier in French."""
  english = (
    "- first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth "
    "thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth"
  ).split()
  german = {1: "ersten", 3: "dritten", 7: "siebten", 8: "achten"}

  def day(value: int) -> LexicalEntry:
    tens, ones = divmod(value, 10)
    if value < 20:
      en = english[value]
    else:
      en = f"{EN_TENS[tens]} {english[ones]}" if ones else EN_TENS[tens][:-1] + "ieth"
    de = german.get(value) or german_number(value) + ("ten" if value < 20 else "sten")
    return entry(en, "premier" if value == 1 else french_number(value), de)

  return tuple(day(value) for value in range(1, 32))


def clock(hour: int, minute: int) -> LexicalEntry:
  """Returns a time of the twelve-hour clock, in steps of five minutes.

  9:40 is twenty to ten, dix heures moins vingt, zwanzig vor zehn.
  """
  following = hour % 12 + 1

  def heures(value: int) -> str:
    return "une heure" if value == 1 else f"{FR_SMALL[value]} heures"

  en_hour, en_next = EN_SMALL[hour], EN_SMALL[following]
  de_hour, de_next = DE_SMALL[hour], DE_SMALL[following]
  if minute == 0:
    uhr = "ein uhr" if hour == 1 else f"{de_hour} uhr"
    return entry(f"{en_hour} o'clock", heures(hour), uhr)
  if minute == 15:
    return entry(f"quarter past {en_hour}", f"{heures(hour)} et quart", f"viertel nach {de_hour}")
  if minute == 30:
    return entry(f"half past {en_hour}", f"{heures(hour)} et demie", f"halb {de_next}")
  if minute == 45:
    fr = f"{heures(following)} moins le quart"
    return entry(f"quarter to {en_next}", fr, f"viertel vor {de_next}")
  if minute < 30:
    de = f"fünf vor halb {de_next}" if minute == 25 else f"{german_number(minute)} nach {de_hour}"
    en = f"{english_number(minute)} past {en_hour}"
    return entry(en, f"{heures(hour)} {french_number(minute)}", de)
  left = 60 - minute
  de = f"fünf nach halb {de_next}" if left == 25 else f"{german_number(left)} vor {de_next}"
  fr = f"{heures(following)} moins {french_number(left)}"
  return entry(f"{english_number(left)} to {en_next}", fr, de)


_FR_VOWEL = "(?=[aeiouhàâéèêîôœ])(?!huit|onze|haut)"
_FR_CHANGES = re.compile(
  rf"\b(?:(le|la|je|de|ne|se|me|te|que) {_FR_VOWEL}|(ce|ma|ta|sa|beau|nouveau|vieux) {_FR_VOWEL}"
  rf"|(si) (?=ils?\b)|((?:à|de) (?:les|le(?! {_FR_VOWEL})))\b)"
)
_FR_CHANGED = {
  "ce": "cet", "ma": "mon", "ta": "ton", "sa": "son",
  "beau": "bel", "nouveau": "nouvel", "vieux": "vieil",
  "à le": "au", "à les": "aux", "de le": "du", "de les": "des",
}  # fmt: skip
_DE_CHANGES = re.compile(r"\b(?:(?:in|an|zu|von|bei) dem|(?:in|an) das|zu der)\b")
_DE_CHANGED = {
  "in dem": "im", "in das": "ins", "an dem": "am", "an das": "ans", "zu dem": "zum",
  "zu der": "zur", "von dem": "vom", "bei dem": "beim",
}  # fmt: skip
_EN_AN = re.compile(r"\ba (?=[aeio]|um|hour)(?!euro|one)")


def joined(language: str, text: str) -> str:
  """Returns `text` with the changes between adjacent words: l'orange, cet hôtel, au, an apple."""
  if language == "fr":
    return _FR_CHANGES.sub(_french_change, text)
  if language == "de":
    return _DE_CHANGES.sub(lambda match: _DE_CHANGED[match[0]], text)
  return _EN_AN.sub("an ", text)


def _french_change(match: re.Match) -> str:
  elided, before_vowel, if_, contracted = match.groups()
  if elided or if_:
    return (elided or if_)[:-1] + "'"
  return _FR_CHANGED[before_vowel] + " " if before_vowel else _FR_CHANGED[contracted]
