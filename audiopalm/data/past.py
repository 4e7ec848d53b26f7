"""The batch of a step that is over: built again, and read back into records, words and sound."""

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
  """One example of a batch: `row` of the batch and number in it, from 0 and 1 on.

  `streams` holds what a decoded stream says: a str, or wave_S at 16 kHz. `note` says what was not
  whole: a piece of a longer record.
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
  """The examples of a step, their tokens, the batch's digest (`Batch.digest`), and the one that the
  run wrote down: None where it has no line."""

  step: int
  examples: list[Example]
  tokens: int
  digest: int
  written: int | None

  @property
  def is_the_one(self) -> bool:
    """Whether nothing says that the run was given another batch."""
    return self.written in (None, self.digest)


def batch(
  prepared: Prepared,
  experiment: RunSettings,
  step: int,
  written: int | None = None,
  schedule: Schedule | None = None,
) -> Past:
  """Returns what step `step` of a run was given, 1 being the first; `written` is the digest that
  the run's metrics.jsonl has of it, `schedule` what its newest checkpoint says of changes."""
  if step < 1 or (written is None and step > experiment.steps):
    raise ConfigError(
      f"--step counts steps as metrics.jsonl does, from 1 to the {experiment.steps} of this run; "
      f"got {step}."
    )
  if not prepared.layouts:
    raise ConfigError("This run trains on clips, which have no tokens that could be shown.")
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
    return "", {}, f"a piece of a longer record that cannot be read alone: {error}"
  decoded = {
    name: prepared.tokenizers[name.split(".")[-1]].decode(np.asarray(ids))
    for name, ids in recovered.streams.items()
  }
  return recovered.tag, decoded, "a piece of a longer record" if is_piece else ""


def records(
  prepared: Prepared, experiment: RunSettings, steps: range, schedule: Schedule | None = None
) -> list[dict[str, Any]]:
  """Returns what each of the steps was given: {"step", "records": [{"task", "id", "epoch"}]}."""
  batches = loader.Loader(prepared, experiment, schedule=schedule)

  def given(step: int) -> Iterator[dict[str, Any]]:
    for place in batches.places_at(step - 1):
      task = batches.tasks[place.task]
      entries = prepared.entries(task, "train")
      for number in batches.feed.records(place):
        yield {"task": task.name, "id": entries[int(number)].id, "epoch": int(place.epoch)}

  return [{"step": step, "records": list(given(step))} for step in steps]


def show(past: Past, console: rich.console.Console, out: Path | None = None) -> None:
  """Prints a batch; with `out` its speech is written there, ROW-NUMBER-STREAM.wav each."""
  table = rich.table.Table("row", "task")
  table.add_column("record", overflow="fold")  # an id that is cut cannot be looked for
  for title in ("epoch", "rows", "says"):
    table.add_column(title)
  waves = {}
  for example in past.examples:
    lines = [example.tag] if example.tag else []
    for name, value in example.streams.items():
      if not isinstance(value, str):
        waves[f"{example.row}-{example.number}-{name}.wav"] = value
        value = f"{len(value) / waveform.RATE_HZ:.2f} s of speech"
      lines.append(f"{name}: {value}")
    says = rich.text.Text("\n".join([*lines, *filter(None, [example.note])]))
    counts = (str(example.epoch), str(example.length))
    table.add_row(f"{example.row}.{example.number}", example.task, example.record, *counts, says)
  console.print(table)
  if out is not None:
    out.mkdir(parents=True, exist_ok=True)
    for name, wave_S in waves.items():
      waveform.write(out / name, wave_S)
    console.print(f"{len(waves)} recordings in {out}", markup=False)
  summary = f"step {past.step}: {len(past.examples)} examples, {past.tokens:,} tokens"
  if past.written is None:
    console.print(f"{summary}; metrics.jsonl has no line of it.")
  elif past.is_the_one:
    console.print(f"{summary}, to the bit what the run was given.")
  else:
    console.print(
      f"[bold red]{summary}, but the run was given another batch[/] (digest {past.written}, not "
      f"{past.digest}): it has not saved since its settings were changed, or its data, row_length "
      "or the order of its tasks are not those of that step."
    )
