"""Records that were left out: counted by reason, and compared with what a user allows."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from audiopalm.data import cache
from audiopalm.data.prepared import Prepared
from audiopalm.errors import DataError

MOST_KINDS = 5  # that an error names of one split


def kinds(quarantined: Sequence[Mapping[str, str]]) -> dict[str, dict[str, Any]]:
  """Returns faults by kind: how many there are, and the text of the first."""
  by_kind: dict[str, dict[str, Any]] = {}
  for fault in quarantined:
    counts = by_kind.setdefault(kind_of(fault["reason"]), {"records": 0, "first": fault["reason"]})
    counts["records"] += 1
  return by_kind


def kind_of(reason: str) -> str:
  """Returns what a fault says up to its second colon, without name and numbers."""
  text = reason.split(": ", 1)[-1]
  return re.sub(r"\d[\d.e+-]*", "N", re.split(r"[:,.] ", text, maxsplit=1)[0])


def check(prepared: Prepared, max_bad: float | None) -> None:
  """Raises DataError if of any split more than the share `max_bad` was left out; None allows all.

  A record counts once, also where only one of its variants was left out.
  """
  if max_bad is None:
    return
  lines = []
  for corpus in dict.fromkeys(task.corpus for task in prepared.tasks):
    folder = prepared.folder(corpus)
    for split in corpus.splits:
      faults = prepared.entries(corpus, split).quarantined
      left_out = len({fault["id"].partition("#")[0] for fault in faults})
      records = cache.recorded(folder, "records", split)
      if left_out > max_bad * records:
        share = f"{left_out:,} of {records:,} records ({left_out / records:.2%})"
        lines += [f"{folder.name}, {split}: {share}", *_most_frequent(faults)]
  if lines:
    listed = "\n  ".join(lines)
    raise DataError(
      f"More records were left out than --max-bad allows ({max_bad:.6g} of a split):\n  {listed}\n"
      "Repair them and delete that folder of the streams, leave them out of the corpus, or allow "
      "more with --max-bad: what was finished is kept, and is not made again then."
    )


def _most_frequent(faults: Sequence[Mapping[str, str]]) -> list[str]:
  by_count = sorted(kinds(faults).items(), key=lambda item: -item[1]["records"])
  lines = [
    f"  {counts['records']} x {kind}. {counts['first']}" for kind, counts in by_count[:MOST_KINDS]
  ]
  others = sum(counts["records"] for _, counts in by_count[MOST_KINDS:])
  return [*lines, f"  ... and {others:,} more."] if others else lines
