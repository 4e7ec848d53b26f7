"""Batches of past steps, rebuilt and decoded into records, texts and waves."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rich.console
import rich.table
import rich.text

from audiopalm import layouts
from audiopalm.audio import waveform
from audiopalm.data import examples, loader, packed
from audiopalm.data.prepared import Prepared, RunSettings
from audiopalm.data.schedule import Schedule
from audiopalm.errors import ConfigError, LayoutError
from audiopalm.layouts.cells import Part
from audiopalm.types import Grid


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
  """One example of a batch: its `row`, from 0, and its `number` in the row, from 1.

  `streams` are decoded: a str, or wave_S at 16 kHz. `note` marks a piece of a longer record.
  """

  row: int
  number: int
  task: str
  record: str
  epoch: int
  length: int
  tag: str
  streams: dict[str, str | np.ndarray]
  note: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Past:
  """The examples of a step, the number of their tokens, the digest of the rebuilt batch
  (`Batch.digest`), and that `written` to metrics.jsonl by the run, None if it has none."""

  step: int
  examples: list[Example]
  tokens: int
  digest: int
  written: int | None

  @property
  def is_the_one(self) -> bool:
    """Whether the digests are equal, or none was written."""
    return self.written in (None, self.digest)


def batch(
  prepared: Prepared,
  experiment: RunSettings,
  step: int,
  written: int | None = None,
  schedule: Schedule | None = None,
) -> Past:
  """Returns the rebuilt batch of step `step` of a run, counted from 1. `written` is its digest in
  the run's metrics.jsonl, `schedule` that of the newest checkpoint."""
  if step < 1 or (written is None and step > experiment.steps):
    raise ConfigError(
      f"--step counts steps as metrics.jsonl does, from 1 to the {experiment.steps} of this run; "
      f"got {step}."
    )
  if not prepared.layouts:
    raise ConfigError("This run trains on clips, which have no tokens to show.")
  batches = loader.Loader(prepared, experiment, schedule=schedule)
  places = batches.places_at(step - 1)
  grids = [batches.feed.grids(place) for place in places]
  rebuilt, tokens = [], 0
  for row, place in enumerate(places):
    task = batches.tasks[place.task]
    entries, segments = prepared.entries(task, "train"), prepared.rows(task, "train")[place.row]
    for number, grid in enumerate(grids[row], 1):
      tokens += examples.count_tokens(grid)
      record = entries[int(segments.records_N[number - 1])].id
      is_piece = bool(segments.starts_N[number - 1] != examples.WHOLE)
      read = _read(prepared, prepared.layouts[task.name], grid, is_piece)
      rebuilt.append(Example(row, number, task.name, record, place.epoch, len(grid), *read))
  row_length, columns = experiment.data.row_length, prepared.space.columns
  batch = packed.assemble(grids, [place.task for place in places], row_length, columns)
  return Past(step, rebuilt, tokens, batch.digest(), written)


def _read(
  prepared: Prepared, layout: Part, grid: Grid, is_piece: bool
) -> tuple[str, dict[str, str | np.ndarray], str]:
  """Returns the tag, the decoded streams and the note of an example."""
  try:
    recovered = layouts.recover(layout, grid.tokens_LK, prepared.space)
  except LayoutError as error:
    if not is_piece:
      raise
    return "", {}, f"a piece of a longer record that cannot be decoded alone: {error}"
  decoded = {
    name: prepared.tokenizers[name.split(".")[-1]].decode(np.asarray(ids))
    for name, ids in recovered.streams.items()
  }
  return recovered.tag, decoded, "a piece of a longer record" if is_piece else ""


def records(
  prepared: Prepared, experiment: RunSettings, steps: range, schedule: Schedule | None = None
) -> list[dict[str, Any]]:
  """Returns the records of each step: {"step", "records": [{"task", "id", "epoch"}]}."""
  batches = loader.Loader(prepared, experiment, schedule=schedule)

  def records_of(step: int) -> Iterator[dict[str, Any]]:
    for place in batches.places_at(step - 1):
      task = batches.tasks[place.task]
      entries = prepared.entries(task, "train")
      for number in batches.feed.records(place):
        yield {"task": task.name, "id": entries[int(number)].id, "epoch": int(place.epoch)}

  return [{"step": step, "records": list(records_of(step))} for step in steps]


def show(past: Past, console: rich.console.Console, out: Path | None = None) -> None:
  """Prints a batch; its speech is written to OUT/ROW-NUMBER-STREAM.wav if `out` is a folder."""
  table = rich.table.Table("row", "task")
  table.add_column("record", overflow="fold")  # whole ids, to search for them
  for title in ("epoch", "rows", "content"):
    table.add_column(title)
  waves = {}
  for example in past.examples:
    lines = [example.tag] if example.tag else []
    for name, value in example.streams.items():
      if not isinstance(value, str):
        waves[f"{example.row}-{example.number}-{name}.wav"] = value
        value = f"{len(value) / waveform.RATE_HZ:.2f} s of speech"
      lines.append(f"{name}: {value}")
    content = rich.text.Text("\n".join([*lines, *filter(None, [example.note])]))
    counts = (str(example.epoch), str(example.length))
    table.add_row(f"{example.row}.{example.number}", example.task, example.record, *counts, content)
  console.print(table)
  if out is not None:
    out.mkdir(parents=True, exist_ok=True)
    for name, wave_S in waves.items():
      waveform.write(out / name, wave_S)
    console.print(f"{len(waves)} recordings in {out}", markup=False)
  summary = f"step {past.step}: {len(past.examples)} examples, {past.tokens:,} tokens"
  if past.written is None:
    console.print(f"{summary}; metrics.jsonl has no line for it.")
  elif past.is_the_one:
    console.print(f"{summary}, bitwise equal to the batch of the run.")
  else:
    console.print(
      f"[bold red]{summary}, but the run used another batch[/] (digest {past.written}, not "
      f"{past.digest}): it has saved no checkpoint since its settings were changed, or its data, "
      "row_length or the order of its tasks differ from those of that step."
    )
