"""The summary of `prepare`: hours, tokens, packing and speed by task, and records left out."""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box, console, table

from audiopalm.data import cache, streams
from audiopalm.data.manifest import faults
from audiopalm.data.prepared import Prepared
from audiopalm.errors import DataError
from audiopalm.types import CorpusSettings, StreamSpec, Task

MOST_KINDS = 5  # of faults that an error lists for a split


def summarize(
  prepared: Prepared, done: Sequence[streams.Tokenized], previous: Mapping[str, Any]
) -> dict[str, Any]:
  """Returns the summary as JSON values.

  `done` are the shards tokenized now; the speeds of corpora without any are those of the `previous`
  summary, None if it has none either. A real-time factor is seconds of audio per second of work of
  one worker.
  """
  corpora = {prepared.folder(task.corpus).name: task.corpus for task in prepared.tasks}
  earlier = previous.get("real_time_factors", {})
  speeds = {
    folder: _speeds([t for t in done if t.shard.corpus == corpus]) or earlier.get(folder, {})
    for folder, corpus in corpora.items()
  }
  return {
    "manifest_hash": prepared.manifest_hash,
    "real_time_factors": speeds,
    "tokenizers": {
      name: _tokenizer(tokenizer.spec, list(speeds.values()))
      for name, tokenizer in prepared.tokenizers.items()
    },
    "corpora": {folder: _corpus(prepared, corpus) for folder, corpus in corpora.items()},
    "tasks": {
      task.name: _task(prepared, task, speeds[prepared.folder(task.corpus).name])
      for task in prepared.tasks
    },
  }


def show(summary: Mapping[str, Any]) -> None:
  """Prints a summary."""
  printer = console.Console()
  for name, tokenizer in summary["tokenizers"].items():
    rate, factor = tokenizer["rate_hz"], tokenizer["real_time_factor"]
    printer.print(
      f"Tokenizer {name}: {' + '.join(map(str, tokenizer['sizes']))} ids"
      + (f", {rate:g} per second" if rate else "")
      + (f", encodes at {factor:.0f}x real time" if factor else "")
    )
  tasks = table.Table(
    title="Training data by task",
    caption="speed: seconds of speech made and tokenized per second of one worker",
    box=box.SIMPLE,
    padding=(0, 1, 0, 0),
  )
  tasks.add_column("task", no_wrap=True)
  formats = {
    "hours": ".2f", "records": ",", "examples": ",", "tokens": ",", "rows": ",",
    "efficiency": ".1%",
  }  # fmt: skip
  for name in (*formats, "speed"):
    name = "filled" if name == "efficiency" else name
    tasks.add_column(name, justify="right", no_wrap=True)
  for name, task in summary["tasks"].items():
    train, factor = task["splits"]["train"], task["real_time_factor"]
    cells = [format(train[field], spec) for field, spec in formats.items()]
    tasks.add_row(name, *cells, "-" if factor is None else f"{factor:.0f}x")
  printer.print(tasks)
  for name, task in summary["tasks"].items():
    for split, counts in task["splits"].items():
      if counts["dropped"] or counts["cut"]:
        printer.print(
          f"Longer than a row: {name}, {split}: {counts['dropped']} dropped, {counts['cut']} cut"
        )
      if counts["lacking"]:
        printer.print(f"Lacking a stream of the task: {name}, {split}: {counts['lacking']} records")
  for name, corpus in summary["corpora"].items():
    for split, counts in corpus["splits"].items():
      for label, kinds in (("Left out", counts["quarantined"]), ("Kept", counts["noted"])):
        for kind, fault in kinds.items():
          printer.print(f"{label}: {name}, {split}: {fault['records']} x {kind}. {fault['first']}")


def _speeds(done: Sequence[streams.Tokenized]) -> dict[str, float]:
  """Returns the real-time factors of making and tokenizing: "all", "source", "units", "other"."""
  audio_s = sum(tokenized.audio_s for tokenized in done)
  spent_s: dict[str, float] = collections.Counter()
  for tokenized in done:
    spent_s.update(tokenized.work_s)
  if not audio_s:
    return {}
  parts = {name: audio_s / seconds for name, seconds in spent_s.items() if seconds}
  return {"all": audio_s / sum(spent_s.values())} | parts


def _tokenizer(spec: StreamSpec, speeds: Sequence[Mapping[str, float]]) -> dict[str, Any]:
  known = [speed[spec.name] for speed in speeds if spec.name in speed]
  return {
    "modality": spec.modality,
    "sizes": list(spec.sizes),
    "rate_hz": spec.rate_hz,
    "fingerprint": spec.fingerprint,
    "real_time_factor": min(known) if known and spec.modality == "speech" else None,
  }


def _corpus(prepared: Prepared, corpus: CorpusSettings) -> dict[str, Any]:
  splits = {}
  for split in corpus.splits:
    entries = prepared.entries(corpus, split)
    splits[split] = {
      "records": len(entries),
      "hours": {role: seconds / 3600 for role, seconds in entries.seconds.items()},
      "quarantined": _kinds(entries.quarantined),
      "noted": entries.noted,
    }
  return {"name": corpus.name, "splits": splits}


def _task(prepared: Prepared, task: Task, speeds: Mapping[str, float]) -> dict[str, Any]:
  splits = {split: prepared.data.summary(prepared, task, split) for split in task.corpus.splits}
  spoken = any(split["hours"] for split in splits.values())
  return {"real_time_factor": speeds.get("all") if spoken else None, "splits": splits}


def _kinds(quarantined: Sequence[Mapping[str, str]]) -> dict[str, dict[str, Any]]:
  return faults.kinds(fault["reason"] for fault in quarantined)


def check_left_out(prepared: Prepared, max_bad: float | None) -> None:
  """Raises DataError if more than the fraction `max_bad` of a split was left out; None allows all.

  A record counts once, even if only one of its variants was left out.
  """
  if max_bad is None:
    return
  lines = []
  for corpus in dict.fromkeys(task.corpus for task in prepared.tasks):
    folder = prepared.folder(corpus)
    for split in corpus.splits:
      quarantined = prepared.entries(corpus, split).quarantined
      left_out = len({fault["id"].partition("#")[0] for fault in quarantined})
      records = cache.recorded(folder, "records", split)
      if left_out > max_bad * records:
        share = f"{left_out:,} of {records:,} records ({left_out / records:.2%})"
        lines += [f"{folder.name}, {split}: {share}", *_most_frequent(quarantined)]
  if lines:
    listed = "\n  ".join(lines)
    raise DataError(
      f"More records were left out than --max-bad allows ({max_bad:.6g} of a split):\n  {listed}\n"
      "Repair them and delete that folder of the streams, remove them from the corpus, or allow "
      "more with --max-bad, which reuses what was finished."
    )


def _most_frequent(quarantined: Sequence[Mapping[str, str]]) -> list[str]:
  by_count = sorted(_kinds(quarantined).items(), key=lambda item: -item[1]["records"])
  lines = [
    f"  {counts['records']} x {kind}. {counts['first']}" for kind, counts in by_count[:MOST_KINDS]
  ]
  others = sum(counts["records"] for _, counts in by_count[MOST_KINDS:])
  return [*lines, f"  ... and {others:,} more."] if others else lines
