"""How far a run is: one live line on a terminal, a plain line every ten seconds elsewhere."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import rich.console
import rich.progress

from audiopalm import quantities

PLAIN_EVERY_S = 10.0
SHOWN = {"nll_text": "text", "nll_speech": "speech"}


class Progress:
  """Shows `update(step, values)` inside `from_step`: losses by modality, tokens/s, time left."""

  def __init__(
    self,
    console: rich.console.Console,
    steps: int,
    clock: Callable[[], float] = time.monotonic,
  ):
    self._console, self._steps, self._clock = console, steps, clock
    self._bar, self._task, self._printed = None, None, clock()
    self._measured_from: tuple[int, float] | None = None

  @contextlib.contextmanager
  def from_step(self, first: int) -> Iterator[None]:
    """Keeps the live line on a terminal until the block ends."""
    if not self._console.is_terminal:
      yield
      return
    columns = (
      rich.progress.TextColumn("{task.fields[line]}"),
      rich.progress.BarColumn(bar_width=20),
    )
    with rich.progress.Progress(*columns, console=self._console, transient=True) as self._bar:
      self._task = self._bar.add_task("train", total=self._steps, completed=first, line="compiling")
      yield
    self._bar = None

  def update(self, step: int, values: Mapping[str, Any]) -> None:
    """Shows the values of a step, `metrics.jsonl`'s names."""
    now = self._clock()
    if self._bar is not None:
      self._bar.update(self._task, completed=step, line=self._line(step, values, now))
    elif now - self._printed >= PLAIN_EVERY_S or step == self._steps:
      self._printed = now
      self.say(self._line(step, values, now))

  def say(self, text: str) -> None:
    """Prints a line above the live one."""
    self._console.print(text, markup=False, highlight=False, soft_wrap=True)

  def _line(self, step: int, values: Mapping[str, Any], now: float) -> str:
    losses = [f"{short} {values[name]:.3f}" for name, short in SHOWN.items() if name in values]
    parts = [f"step {step}/{self._steps}", "loss " + (", ".join(losses) or f"{values['loss']:.3f}")]
    parts.append(f"{values['tokens_per_s']:,.0f} tokens/s")
    if not isinstance(values["mfu"], str):
      parts.append(f"MFU {values['mfu']:.1%}")
    if values["skipped"]:
      parts.append(f"{int(values['skipped'])} steps skipped")
    if self._measured_from is None:  # the first step: what came before was compiling
      self._measured_from = step, now
      return " | ".join(parts)
    first, began = self._measured_from
    left = (now - began) / (step - first) * (self._steps - step)
    return " | ".join([*parts, f"{quantities.duration(left)} left"])
