"""Templates: a sentence pattern in each language, with the same slots."""

import dataclasses
import functools
import math
import string
from collections.abc import Mapping

from audiopalm.data_pipelines.synthetic import forms
from audiopalm.data_pipelines.synthetic.forms import LexicalEntry

Piece = tuple[str, int, str, int]  # literal text, slot, form, slot that the form agrees with, or -1


@dataclasses.dataclass(frozen=True, eq=False)
class Template:
  """Sentences that differ in their slot values; `slots` has the values of each slot.

  A placeholder is `{slot}`, `{slot.form}` or `{slot.form:noun}`, the form that agrees with the
  gender of another slot. A pattern is a text, or a question and its answer.
  `unlike=("other", "place")` excludes sentences in which these slots, with the same list of values,
  are equal.

  Sentences are numbered in mixed radix; the last slot changes fastest.
  """

  name: str
  slots: Mapping[str, tuple[LexicalEntry, ...]]
  en: str | tuple[str, str]
  fr: str | tuple[str, str]
  de: str | tuple[str, str]
  unlike: tuple[str, str] | None = None

  @functools.cached_property
  def sizes(self) -> tuple[int, ...]:
    """The number of values of each slot, given the slots before it."""
    return tuple(
      len(values) - (self.unlike is not None and slot == self.unlike[0])
      for slot, values in self.slots.items()
    )

  def __len__(self) -> int:
    return math.prod(self.sizes)

  def values(self, index: int) -> list[int]:
    """Returns the index of each slot's value in sentence `index`."""
    assert 0 <= index < len(self), (self.name, index)
    digits = [0] * len(self.sizes)
    for place in range(len(digits) - 1, -1, -1):
      index, digits[place] = divmod(index, self.sizes[place])
    if self.unlike is not None:
      slot, other = map(self._names.index, self.unlike)
      digits[slot] += digits[slot] >= digits[other]
    return digits

  def texts(self, language: str, index: int) -> tuple[str, ...]:
    """Returns sentence `index` in a language, or the question and its answer."""
    slots, patterns = self._compiled[language]
    values = [slot[digit] for slot, digit in zip(slots, self.values(index), strict=True)]
    return tuple(
      forms.joined(language, "".join([_filled(piece, values) for piece in pieces]))
      for pieces in patterns
    )

  @functools.cached_property
  def _names(self) -> tuple[str, ...]:
    return tuple(self.slots)

  @functools.cached_property
  def _compiled(self) -> dict[str, tuple[list[list[forms.Forms]], list[list[Piece]]]]:
    """The forms of all slot values and the pieces of all texts, by language."""
    compiled = {}
    for language in ("en", "fr", "de"):
      pattern = getattr(self, language)
      slots = [[getattr(value, language) for value in values] for values in self.slots.values()]
      texts = (pattern,) if isinstance(pattern, str) else pattern
      compiled[language] = slots, [self._parsed(text) for text in texts]
    return compiled

  def _parsed(self, pattern: str) -> list[Piece]:
    pieces = []
    for literal, field, noun, _ in string.Formatter().parse(pattern):
      slot, _, form = (field or "").partition(".")
      place, agrees = (self._names.index(name) if name else -1 for name in (slot, noun))
      pieces.append((literal, place, form, agrees))
    return pieces


def _filled(piece: Piece, values: list[forms.Forms]) -> str:
  literal, place, form, agrees = piece
  if place < 0:
    return literal
  if agrees >= 0:
    form = f"{form}:{values[agrees]['gender']}"
  return literal + values[place][form]
