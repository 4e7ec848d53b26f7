"""Dialogues read like manifests: a line is a conversation, in one language, of turns in order.

    {"id": "7", "language": "nl", "turns": [
      {"audio": "a.opus", "text": "Waar is hij?", "speaker": "big"}, ...]}

A turn of another speaker than the one before answers it: the two are a record.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any, ClassVar

from audiopalm.data.manifest import columns, table
from audiopalm.data.manifest.faults import Fault
from audiopalm.data.manifest.lines import Reading
from audiopalm.data.manifest.table import Row, Table

TURNS = "turns"
OF_TURNS = ("audio", "text", "speaker")  # what every turn has


@dataclasses.dataclass(frozen=True)
class Turns(Reading):
  """Conversations, each turn of which is the question of the next, its answer."""

  roles: ClassVar[tuple[str, str]] = ("question", "answer")

  def table_of(self, path: str) -> Table:
    source = table.read(path)
    rows, faults = [], []
    for row in source.rows:
      fault = _fault(row.values.get(TURNS))
      if fault:
        faults.append(Fault(row.location, fault))
      else:
        rows += _answered(row)
    return dataclasses.replace(
      source, rows=tuple(rows), faults=(*source.faults, *faults), header=None
    )


def _fault(turns: Any) -> str | None:
  """Returns what is wrong with the turns of a conversation, None if nothing is."""
  if not isinstance(turns, list) or len(turns) < 2:
    return (
      f"{TURNS} is {columns.quoted(turns)}, expected a list of two or more turns, each an object "
      f"with {', '.join(OF_TURNS)}. Write it as JSON lines, or leave the conversation out."
    )
  for number, turn in enumerate(turns, 1):
    if not isinstance(turn, dict):
      return f"turn {number} is {columns.quoted(turn)}, expected {', '.join(OF_TURNS)}: an object."
    for name in OF_TURNS:
      if not isinstance(turn.get(name), str) or not turn[name].strip():
        return (
          f"{name} of turn {number} is {columns.quoted(turn.get(name))}, expected text. Correct "
          "it, or leave the conversation out."
        )
  return None


def _answered(row: Row) -> Iterator[Row]:
  """Yields each turn that another speaker answers, with the answer as its translation."""
  values = {name: value for name, value in row.values.items() if name != TURNS}
  prefix = values.get("id") or f"line-{row.location.line}"
  turns = enumerate(itertools.pairwise(row.values[TURNS]), 1)
  for number, (question, answer) in turns:
    if question["speaker"] != answer["speaker"]:
      own = {name: question[name] for name in OF_TURNS}
      next_one = {
        "translation": answer["text"],
        "translation_audio": answer["audio"],
        "translation_speaker": answer["speaker"],
      }
      yield Row(row.location, {**values, **own, **next_one, "id": f"{prefix}-{number}"})
