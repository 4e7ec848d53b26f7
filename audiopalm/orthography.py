"""Text normalization, and languages that are written without spaces.

All text (corpora, inputs, pairs, references and transcripts) is normalized by `plain` where it
enters. Tokenizers do not normalize, so that those of published models give the published ids.
"""

import unicodedata
from collections.abc import Iterable

from audiopalm import language_tags

# Languages written without spaces between words: Chinese and Cantonese, Japanese, Thai, Lao, Khmer,
# Burmese, Tibetan. Korean and Vietnamese have spaces.
CHINESE = frozenset(("zh", "yue"))
WITHOUT_SPACES = CHINESE | {"ja", "th", "lo", "km", "my", "bo"}

# Whitespace as in `str.split`.
SPACES = frozenset(character for character in map(chr, range(0x3001)) if character.isspace())

# Characters without meaning for readers: byte order marks, line-break hints and marks of writing
# direction. Joiners are kept, as Persian, Indic scripts and emoji are spelled with them; so is
# U+200B, which separates words in Thai and Khmer.
INVISIBLE = dict.fromkeys(
  (0xAD, 0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), 0x2060, *range(0x2066, 0x206A), 0xFEFF)
)


def plain(text: str) -> str:
  """Returns a text in NFC, with single spaces between words and no INVISIBLE characters.

  Whitespace is as in `str.isspace`, including no-break spaces, line ends and U+2028.

      "\\ufeffCafe\\u0301\\u00a0noir\\r\\n"  ->  "Café noir"
  """
  return " ".join(unicodedata.normalize("NFC", text.translate(INVISIBLE)).split())


def has_spaces(language: str) -> bool:
  """Returns whether spaces separate the words of a language."""
  return language_tags.canonical(language) not in WITHOUT_SPACES


def graphemes(text: str) -> list[str]:
  """Returns the characters of a text as readers see them, such as a letter with its accents.

  Source: Unicode Standard Annex 29, extended grapheme clusters.
  """
  import regex  # imported here: exported folders have a copy of this file, without regex

  return regex.findall(r"\X", text)


def joined(texts: Iterable[str], language: str) -> str:
  """Returns texts concatenated as sentences of the language; empty ones are dropped.

  A language without spaces between words gets none, except between two Latin letters or digits.
  """
  whole = ""
  for text in filter(None, texts):
    without_space = not has_spaces(language) and not _both_latin(whole[-1:], text[0])
    whole += text if without_space or not whole else f" {text}"
  return whole


def _both_latin(before: str, after: str) -> bool:
  return all(character.isascii() and character.isalnum() for character in (before, after))
