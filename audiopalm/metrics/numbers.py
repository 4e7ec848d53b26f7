"""Numbers as words, so that transcripts with digits can be compared with transcripts in words."""

import functools
import importlib.metadata
import re
from collections.abc import Collection

import num2words

from audiopalm import language_tags

RULE = f"numbers as words by num2words {importlib.metadata.version('num2words')}"

# Codes with other names in the package, and languages in which it fails for common numbers.
_NAMES = {"kk": "kz"}
_FAULTY = ("am", "ce")
_MINUS = {"cs": "mínus", "pl": "minus", "sk": "mínus"}  # where it fails for negative numbers

MOST_DIGITS = 9  # longer numbers are rarely read as one, and some languages do not support them
MOST_DECIMALS = 3  # some languages do not support more

_POINT = ("en", "he", "hi", "ja", "ko", "th", "zh")  # languages that write 3.5 and 1,000

# By language and sign: one and several; "%" has one form.
_SIGNS = {
  language: dict(zip("€$£%", (euros.split(), dollars.split(), pounds.split(), share), strict=True))
  for language, euros, dollars, pounds, share in (
    ("en", "euro euros", "dollar dollars", "pound pounds", "percent"),
    ("fr", "euro euros", "dollar dollars", "livre livres", "pour cent"),
    ("de", "euro euro", "dollar dollar", "pfund pfund", "prozent"),
    ("es", "euro euros", "dólar dólares", "libra libras", "por ciento"),
    ("it", "euro euro", "dollaro dollari", "sterlina sterline", "per cento"),
    ("nl", "euro euro", "dollar dollar", "pond pond", "procent"),
    ("pt", "euro euros", "dólar dólares", "libra libras", "por cento"),
  )
}
_ONE = {"fr": "un", "de": "ein", "es": "un", "it": "un", "pt": "um"}  # before a masculine noun
_HOURS = {"fr": ("heure", "heures"), "de": ("uhr", "uhr")}  # between hours and minutes

_LETTER = "A-Za-zÀ-ɏͰ-ӿ"  # of scripts with spaces between words
_SIGN = "[€$£%]"
_DIGITS = r"\d+(?:[.,]\d+)*"
_SPACED = r"\d{1,3}(?:[ \u00a0\u202f\u2009]\d{3})+(?!\d)"  # 1 000, and decimals after it
_NUMBER = re.compile(
  rf"(?<![{_LETTER}\d.,:])"
  rf"(?:(?P<before>[€$£])\s?)?(?P<minus>[-\u2212])?"
  rf"(?:(?P<hours>\d{{1,2}})(?::|\s?h\s?|\.(?=\d\d\s[Uu]hr))(?P<minutes>[0-5]\d)(?:\s(?P<clock>Uhr|uhr))?(?!:?\d)"
  rf"|(?P<hour>\d{{1,2}})\s?h(?![{_LETTER}\d])"
  rf"|(?P<number>{_SPACED}(?:[.,]\d+)?|{_DIGITS}))"
  rf"(?:\s?(?P<after>{_SIGN}))?"
  rf"(?![{_LETTER}\d])"
)
_ORDINAL = re.compile(r"\.\s+[^\W\d_]")  # in German: "am 3. Mai"


def knows(language: str) -> bool:
  """Returns whether `spell` supports a language; it does not change texts of others."""
  code = language_tags.canonical(language)
  return code not in _FAULTY and _name(code) in num2words.CONVERTER_CLASSES


def spell(text: str, language: str) -> str:
  """Returns the text with its numbers in words, as `metrics.text.normalize` expects them.

      "32 €", "32 euros", "trente-deux euros"   in French ->  all "trente-deux euros"
      "$3.50", "5 %", "9:30"                    in English -> "three dollars fifty", "five percent",
                                                              "nine thirty"

  Ordinals ("3rd", "2e", German "3. Mai"), codes with letters (A4) and numbers of more than
  MOST_DIGITS digits or MOST_DECIMALS decimals do not change; a number that begins with 0 is read
  digit by digit. Signs (€ $ £ %) are spelled in the languages of `_SIGNS`. Texts in unsupported
  languages do not change.
  """
  if not knows(language):
    return text
  language = language_tags.canonical(language)
  return _NUMBER.sub(lambda match: _spelled(match, text, language), text)


def rule(languages: Collection[str]) -> str:
  """Returns the rule by which numbers in texts of these languages were spelled."""
  unknown = sorted(language for language in set(languages) if not knows(language))
  return RULE + (f", unchanged in {', '.join(unknown)}" if unknown else "")


def _name(language: str) -> str:
  return _NAMES.get(language, language)


def _spelled(match: re.Match, text: str, language: str) -> str:
  if language == "de" and _ORDINAL.match(text, match.end()) and match["number"].isdecimal():
    return match[0]
  if match["hour"] is not None or match["hours"] is not None:
    return _time(match, language)
  if _is_list(match["number"]):
    return re.sub(r"\d+", lambda digits: spell(digits[0], language), match[0])
  whole, decimals = _parts(match["number"], language)
  if len(whole) > MOST_DIGITS or len(decimals) > MOST_DECIMALS:
    return match[0]
  sign = match["before"] or match["after"]
  word = _SIGNS.get(language, {}).get(sign)
  spelled = _amount(whole, decimals, word, language) if word else _words(whole, decimals, language)
  minus = _negative(language) + " " if match["minus"] else ""
  return f"{minus}{spelled}{sign if sign and not word else ''}"


def _time(match: re.Match, language: str) -> str:
  """Returns a time of day as it is read: "nine thirty", "neuf heures", "neun uhr dreißig"."""
  hours = int(match["hours"] or match["hour"])
  word = _HOURS.get(language)
  if word is None and match["hours"] is None:  # "9h" is a time only in some languages
    return match[0]
  spelled = _words(str(hours), "", language)
  if language == "fr" and spelled.endswith("un"):
    spelled += "e"
  if language == "de" and hours == 1:
    spelled = "ein"
  minutes = int(match["minutes"] or 0)
  words = [spelled, *([word[hours != 1]] if word else [])]
  return " ".join([*words, *([_words(str(minutes), "", language)] if minutes else [])])


def _is_list(number: str) -> bool:
  """Returns whether these are several numbers, "10,20,30", instead of one with thousands
  separators."""
  several = len(re.findall("[.,]", number)) > 1
  return several and not re.fullmatch(r"\d{1,3}(?:[.,]\d{3})+(?:[.,]\d+)?", number)


def _parts(number: str, language: str) -> tuple[str, str]:
  """Returns the digits before and after the decimal mark, without thousands separators."""
  number = re.sub(r"[ \u00a0\u202f\u2009]", "", number)
  group, mark = (",", ".") if language in _POINT else (".", ",")
  if re.fullmatch(rf"\d{{1,3}}(?:\{group}\d{{3}})+(?:\{mark}\d+)?", number):
    number = number.replace(group, "")
  *whole, decimals = re.split("[.,]", number) if re.search("[.,]", number) else (number, "")
  return "".join(whole), decimals


def _amount(whole: str, decimals: str, word: str | list[str], language: str) -> str:
  """Returns an amount of money or a percentage as it is read: "trois euros cinquante"."""
  if isinstance(word, str):
    return f"{_words(whole, decimals, language)} {word}"
  cents = int(decimals) if len(decimals) == 2 else 0
  if len(decimals) not in (0, 2):
    return f"{_words(whole, decimals, language)} {word[1]}"
  is_one = int(whole) == 1
  spelled = _ONE.get(language) if is_one and language in _ONE else _words(whole, "", language)
  singular = is_one or (language == "fr" and int(whole) == 0)
  ending = f" {_words(str(cents), '', language)}" if cents else ""
  return f"{spelled} {word[not singular]}{ending}"


@functools.cache
def _words(whole: str, decimals: str, language: str) -> str:
  name = _name(language)
  if not decimals and len(whole) > 1 and whole.startswith("0"):
    return " ".join(num2words.num2words(int(digit), lang=name) for digit in whole)
  number = float(f"{whole}.{decimals}") if decimals.strip("0") else int(whole)
  return num2words.num2words(number, lang=name)


@functools.cache
def _negative(language: str) -> str:
  """Returns the word before a negative number: "minus"."""
  if language in _MINUS:
    return _MINUS[language]
  name = _name(language)
  return num2words.num2words(-5, lang=name).replace(num2words.num2words(5, lang=name), "").strip()
