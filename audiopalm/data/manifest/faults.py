"""What is wrong with a manifest as a whole: where, and all of it as one text."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

MOST_TEXTS = 30  # faults of different text that are printed
MOST_SPANS = 20  # line numbers, or spans of them, that are printed of one text


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
  """A line of a file, counted from 1; line 0 is the file as a whole."""

  file: str
  line: int = 0

  def __str__(self) -> str:
    return f"{self.file}:{self.line}" if self.line else self.file


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
  """What is wrong at a place, as expected, came, to do."""

  place: Place
  text: str


def listed(faults: Iterable[Fault]) -> list[str]:
  """Returns faults as lines of text; those that say the same of one file share a line.

  train.jsonl:3: the id 'a' is that of line 1 too. ...
  train.jsonl, lines 5-8, 11: unknown language 'xx'. ...
  """
  together: dict[tuple[str, str], list[int]] = {}
  for fault in faults:
    together.setdefault((fault.place.file, fault.text), []).append(fault.place.line)
  texts = []
  for (file, text), lines in itertools.islice(together.items(), MOST_TEXTS):
    alone = len(set(lines)) == 1
    where = str(Place(file, lines[0])) if alone else f"{file}, lines {spans(lines)}"
    texts.append(f"{where}: {text}")
  left = sum(map(len, itertools.islice(together.values(), MOST_TEXTS, None)))
  return [*texts, f"... and {left:,} more."] if left else texts


def spans(lines: Sequence[int]) -> str:
  """Returns line numbers as text: "3, 7-20 and 980 more"."""
  found: list[list[int]] = []
  for line in sorted(set(lines)):
    if found and line == found[-1][1] + 1:
      found[-1][1] = line
    else:
      found.append([line, line])
  shown = ", ".join(
    str(first) if first == last else f"{first}-{last}" for first, last in found[:MOST_SPANS]
  )
  left = sum(last - first + 1 for first, last in found[MOST_SPANS:])
  return f"{shown} and {left:,} more" if left else shown
