"""How languages are written: one form of every text, words with spaces between them or without.

The same sentence comes in many spellings: an accent as one code point or two, spaces that do not
break, line ends of other systems. Every border where text comes in (corpora, inputs, pairs,
references and transcripts) brings it into one form by `plain`; tokenizers behind the border encode
what they are given, so that those of published models give their own ids for every string.
"""

import unicodedata
from collections.abc import Iterable

from audiopalm import language_tags

# Languages that write no space between words: Chinese and Cantonese, Japanese, Thai, Lao, Khmer,
# Burmese, Tibetan. Korean and Vietnamese have spaces.
CHINESE = frozenset(("zh", "yue"))
WITHOUT_SPACES = CHINESE | {"ja", "th", "lo", "km", "my", "bo"}

# What `str.split` takes for white space.
SPACES = frozenset(character for character in map(chr, range(0x3001)) if character.isspace())


# Characters that no reader sees and no word is told by: the mark at the beginning of a file, places
# where a line may or may not break, directions of writing. Joiners stay, which Persian, Indic
# scripts and emoji are spelled with, and U+200B, which stands between words in Thai and Khmer.
INVISIBLE = dict.fromkeys(
  (0xAD, 0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), 0x2060, *range(0x2066, 0x206A), 0xFEFF)
)


def plain(text: str) -> str:
  """Returns a text in NFC, with one space for every run of white space and none at its ends, and
  without what is INVISIBLE.

  White space is what `str.isspace` says: no-break spaces, line ends and U+2028 too.

      "\\ufeffCafe\\u0301\\u00a0noir\\r\\n"  ->  "Café noir"
  """
  return " ".join(unicodedata.normalize("NFC", text.translate(INVISIBLE)).split())


def has_spaces(language: str) -> bool:
  """Returns whether spaces separate the words of a language."""
  return language_tags.canonical(language) not in WITHOUT_SPACES


def graphemes(text: str) -> list[str]:
  """Returns what readers take for characters: a letter with its marks, an emoji with its parts.

  Source: Unicode Standard Annex 29, extended grapheme clusters.
  """
  import regex  # here: exported folders have a copy of this file, and need no regex

  return regex.findall(r"\X", text)


def joined(texts: Iterable[str], language: str) -> str:
  """Returns texts one after another as the language joins sentences; empty ones are left out.

  Without spaces between words there are none here, but for two words in the Latin alphabet.
  """
  whole = ""
  for text in filter(None, texts):
    glued = not has_spaces(language) and not _both_latin(whole[-1:], text[0])
    whole += text if glued or not whole else f" {text}"
  return whole


def _both_latin(before: str, after: str) -> bool:
  return all(character.isascii() and character.isalnum() for character in (before, after))
