"""The output of a run: a live line on a terminal, else a line every ten seconds, and a summary."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import rich.console
import rich.progress
import rich.table

from audiopalm import quantities

PLAIN_EVERY_S = 10.0
SHOWN = {"nll_text": "text", "nll_speech": "speech"}
COLUMNS = {
  "loss": "loss",
  "nll_text": "text nll",
  "accuracy_text": "text accuracy",
  "nll_speech": "speech nll",
  "accuracy_speech": "speech accuracy",
}


class Progress:
  """Shows `update(step, values)` inside `from_step`: losses by modality, tokens/s, time left."""

  def __init__(
    self,
    console: rich.console.Console,
    steps: int,
    clock: Callable[[], float] = time.monotonic,
  ):
    self.console, self._steps, self._clock = console, steps, clock
    self._bar, self._task, self._printed = None, None, clock()
    self._measured_from: tuple[int, float] | None = None

  @contextlib.contextmanager
  def from_step(self, first: int) -> Iterator[None]:
    """Keeps the live line on a terminal until the block ends."""
    if not self.console.is_terminal:
      yield
      return
    columns = (
      rich.progress.TextColumn("{task.fields[line]}"),
      rich.progress.BarColumn(bar_width=20),
    )
    with rich.progress.Progress(*columns, console=self.console, transient=True) as self._bar:
      self._task = self._bar.add_task("train", total=self._steps, completed=first, line="compiling")
      yield
    self._bar = None

  def update(self, step: int, values: Mapping[str, Any]) -> None:
    """Shows the values of a step, named as in metrics.jsonl."""
    now = self._clock()
    if self._bar is not None:
      self._bar.update(self._task, completed=step, line=self._line(step, values, now))
    elif now - self._printed >= PLAIN_EVERY_S or step == self._steps:
      self._printed = now
      self.say(self._line(step, values, now))

  def say(self, text: str) -> None:
    """Prints a line above the live one."""
    self.console.print(text, markup=False, highlight=False, soft_wrap=True)

  def _line(self, step: int, values: Mapping[str, Any], now: float) -> str:
    losses = [f"{short} {values[name]:.3f}" for name, short in SHOWN.items() if name in values]
    parts = [f"step {step}/{self._steps}", "loss " + (", ".join(losses) or f"{values['loss']:.3f}")]
    parts.append(f"{values['tokens_per_s']:,.0f} tokens/s")
    if not isinstance(values["mfu"], str):
      parts.append(f"MFU {values['mfu']:.1%}")
    if values["skipped"]:
      parts.append(f"{int(values['skipped'])} steps skipped")
    if self._measured_from is None:  # the first step: the time before it was compilation
      self._measured_from = step, now
    else:
      first, began = self._measured_from
      left = (now - began) / (step - first) * (self._steps - step)
      parts.append(f"{quantities.duration(left)} left")
    return " | ".join(parts)


@dataclasses.dataclass(frozen=True)
class Summary:
  """The summary of a run. `held_out` is {task: {"loss", ...}}.

  `seconds` by bucket and speeds are of this start only; `seen` has the epochs by task since step 0.
  `mfu` is a fraction of the peak or "unknown".
  """

  name: str
  workdir: Path
  step: int
  parameters: int
  held_out: Mapping[str, Mapping[str, float]]
  seen: Mapping[str, Mapping[str, float]]
  seconds: Mapping[str, float]
  tokens_per_s: float
  mfu: float | str
  skipped: int
  best: str | None = None
  answers: bool = True  # whether there is anything to evaluate
  trust: Sequence[str] = ()  # packages that other commands on this run need too

  def show(self, display: Progress) -> None:
    """Prints losses by task, where the time went, and what to do next."""
    table = rich.table.Table(title=f"{self.name}: held-out after step {self.step}")
    table.add_column("task", no_wrap=True)
    for title in [*COLUMNS.values(), "epochs"]:
      table.add_column(title, justify="right")
    for task, values in self.held_out.items():
      cells = [f"{values[name]:.3f}" if name in values else "-" for name in COLUMNS]
      table.add_row(task, *cells, f"{self.seen[task]['epochs']:.2f}")
    display.console.print(table)
    buckets = {name: quantities.duration(seconds) for name, seconds in self.seconds.items()}
    mfu = self.mfu if isinstance(self.mfu, str) else f"{self.mfu:.1%}"
    display.say(
      f"{self.parameters:,} parameters, {self.tokens_per_s:,.0f} tokens/s, MFU {mfu}, "
      f"{self.skipped} steps skipped"
    )
    display.say(
      f"time {quantities.duration(sum(self.seconds.values()))}: "
      + ", ".join(f"{name} {duration}" for name, duration in buckets.items())
    )
    if self.best:
      display.say(self.best)
    display.say(f"written to {self.workdir} (checkpoints, metrics.jsonl, goodput.jsonl, events)")
    if self.answers:
      trusted = "".join(f" --trust {package}" for package in self.trust)
      display.say(f"next: audiopalm evaluate --workdir {self.workdir}{trusted}")
