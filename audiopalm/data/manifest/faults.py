"""Faults of records: with their locations in a manifest, as a summary in text, and by kind."""

import dataclasses
import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any

MOST_TEXTS = 30  # distinct texts in a summary
MOST_SPANS = 20  # line numbers or ranges shown for a text


@dataclasses.dataclass(frozen=True, slots=True)
class Location:
  """A line of a file, counted from 1; line 0 is the file as a whole."""

  file: str
  line: int = 0

  def __str__(self) -> str:
    return f"{self.file}:{self.line}" if self.line else self.file


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
  """A fault at a location; `text` has what was expected, what was found, and what to do."""

  location: Location
  text: str


def summary(faults: Iterable[Fault]) -> list[str]:
  """Returns faults as lines of text; equal faults of a file share a line.

  train.jsonl:3: the id 'a' is that of line 1 too. ...
  train.jsonl, lines 5-8, 11: unknown language 'xx'. ...
  """
  groups: dict[tuple[str, str], list[int]] = {}
  for fault in faults:
    groups.setdefault((fault.location.file, fault.text), []).append(fault.location.line)
  texts = []
  for (file, text), lines in itertools.islice(groups.items(), MOST_TEXTS):
    single = len(set(lines)) == 1
    location = str(Location(file, lines[0])) if single else f"{file}, lines {spans(lines)}"
    texts.append(f"{location}: {text}")
  left = sum(map(len, itertools.islice(groups.values(), MOST_TEXTS, None)))
  return [*texts, f"... and {left:,} more."] if left else texts


def spans(lines: Sequence[int]) -> str:
  """Returns line numbers as text: "3, 7-20 and 980 more"."""
  ranges: list[list[int]] = []
  for line in sorted(set(lines)):
    if ranges and line == ranges[-1][1] + 1:
      ranges[-1][1] = line
    else:
      ranges.append([line, line])
  shown = ", ".join(
    str(first) if first == last else f"{first}-{last}" for first, last in ranges[:MOST_SPANS]
  )
  left = sum(last - first + 1 for first, last in ranges[MOST_SPANS:])
  return f"{shown} and {left:,} more" if left else shown


def kinds(reasons: Iterable[str]) -> dict[str, dict[str, Any]]:
  """Returns {kind: {"records": the number of its faults, "first": the text of the first}}."""
  by_kind: dict[str, dict[str, Any]] = {}
  for reason in reasons:
    by_kind.setdefault(kind_of(reason), {"records": 0, "first": reason})["records"] += 1
  return by_kind


def kind_of(reason: str) -> str:
  """Returns the kind of a fault: its text after the name, up to punctuation, without numbers."""
  text = reason.split(": ", 1)[-1]
  return re.sub(r"\d[\d.e+-]*", "N", re.split(r"[:,.] ", text, maxsplit=1)[0])
