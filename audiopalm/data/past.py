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
from audiopalm.data import examples, loader
from audiopalm.data.schedule import Schedule
from audiopalm.errors import ConfigError, LayoutError


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
  streams: dict[str, Any]
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
  prepared: Any,
  experiment: Any,
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
  found, tokens = [], 0
  for row, place in enumerate(batches.places_at(step - 1)):
    task = batches.tasks[place.task]
    layout, entries = prepared.layouts[task.name], prepared.entries(task, "train")
    chosen = prepared.rows(task, "train")[place.row]
    for number, grid in enumerate(batches.feed.grids(place), 1):
      tokens += examples.count_tokens(grid)
      record = entries[int(chosen.records_N[number - 1])].id
      is_piece = chosen.starts_N[number - 1] != examples.WHOLE
      tag, streams, note = _read(prepared, layout, grid, is_piece)
      found.append(
        Example(row, number, task.name, record, place.epoch, len(grid), tag, streams, note)
      )
  return Past(step, found, tokens, batches.batch_at(step - 1).digest(), written)


def records(
  prepared: Any, experiment: Any, steps: range, schedule: Schedule | None = None
) -> list[dict[str, Any]]:
  """Returns what each of the steps was given: {"step", "records": [{"task", "id", "epoch"}]}."""
  batches = loader.Loader(prepared, experiment, schedule=schedule)
  return [{"step": step, "records": list(_records(prepared, batches, step))} for step in steps]


def _records(prepared: Any, batches: loader.Loader, step: int) -> Iterator[dict[str, Any]]:
  for place in batches.places_at(step - 1):
    task = batches.tasks[place.task]
    entries = prepared.entries(task, "train")
    for number in batches.feed.records(place):
      yield {"task": task.name, "id": entries[int(number)].id, "epoch": int(place.epoch)}


def show(past: Past, console: rich.console.Console, out: Path | None = None) -> None:
  """Prints a batch; with `out` its speech is written there, ROW-NUMBER-STREAM.wav each."""
  table = rich.table.Table("row", "task", "record", "epoch", "rows", "says")
  for each in past.examples:
    table.add_row(
      f"{each.row}.{each.number}", each.task, each.record, str(each.epoch), str(each.length),
      rich.text.Text("\n".join(_lines(each))),
    )  # fmt: skip
  console.print(table)
  if out is not None:
    out.mkdir(parents=True, exist_ok=True)
    written = 0
    for each in past.examples:
      for name, said in each.streams.items():
        if not isinstance(said, str):
          waveform.write(out / f"{each.row}-{each.number}-{name}.wav", said)
          written += 1
    console.print(f"{written} recordings in {out}", markup=False)
  here = f"step {past.step}: {len(past.examples)} examples, {past.tokens:,} tokens"
  if past.written is None:
    console.print(f"{here}; metrics.jsonl has no line of it.")
  elif past.is_the_one:
    console.print(f"{here}, to the bit what the run was given.")
  else:
    console.print(
      f"[bold red]{here}, but the run was given another batch[/] (digest {past.written}, not "
      f"{past.digest}): it has not saved since its settings were changed, or its data, row_length "
      "or the order of its tasks are not those of that step."
    )


def _read(prepared: Any, layout: Any, grid: Any, is_piece: bool) -> tuple[str, dict, str]:
  try:
    found = layouts.recover(layout, grid.tokens_LK, prepared.space)
  except LayoutError as error:
    if not is_piece:
      raise
    return "", {}, f"a piece of a longer record that cannot be read alone: {error}"
  decoded = {
    name: prepared.tokenizers[name.split(".")[-1]].decode(np.asarray(ids))
    for name, ids in found.streams.items()
  }
  return found.tag, decoded, "a piece of a longer record" if is_piece else ""


def _lines(each: Example) -> list[str]:
  said = [each.tag] if each.tag else []
  for name, value in each.streams.items():
    shown = value if isinstance(value, str) else f"{len(value) / waveform.RATE_HZ:.2f} s of speech"
    said.append(f"{name}: {shown}")
  return said + ([each.note] if each.note else [])
