"""What a run comes to, in a form to act on."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import rich.console
import rich.table

from audiopalm import quantities

COLUMNS = {
  "loss": "loss",
  "nll_text": "text nll",
  "accuracy_text": "text accuracy",
  "nll_speech": "speech nll",
  "accuracy_speech": "speech accuracy",
}


@dataclasses.dataclass(frozen=True)
class Summary:
  """The end of a run. `held_out` is {task: {"loss", ...}}.

  `seconds` and speeds are of this start only; `seen` holds the examples, tokens and epochs by task
  of all starts. `mfu` is a share of the peak or "unknown".
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

  def show(self, console: rich.console.Console) -> None:
    """Prints losses by task, where the time went, and what to do next."""
    table = rich.table.Table(title=f"{self.name}: held-out after step {self.step}")
    table.add_column("task", no_wrap=True)
    for title in [*COLUMNS.values(), "epochs"]:
      table.add_column(title, justify="right")
    for task, values in self.held_out.items():
      cells = [f"{values[name]:.3f}" if name in values else "-" for name in COLUMNS]
      table.add_row(task, *cells, f"{self.seen[task]['epochs']:.2f}")
    console.print(table)
    whole = sum(self.seconds.values())
    spent = ", ".join(
      f"{bucket} {quantities.duration(seconds)}" for bucket, seconds in self.seconds.items()
    )
    mfu = self.mfu if isinstance(self.mfu, str) else f"{self.mfu:.1%}"
    lines = [
      f"{self.parameters:,} parameters, {self.tokens_per_s:,.0f} tokens/s, MFU {mfu}, "
      f"{self.skipped} steps skipped",
      f"time {quantities.duration(whole)}: {spent}",
      *([self.best] if self.best else []),
      f"written to {self.workdir} (checkpoints, metrics.jsonl, goodput.jsonl, events)",
      *([f"next: audiopalm evaluate --workdir {self.workdir}"] if self.answers else []),
    ]
    for line in lines:
      console.print(line, markup=False, highlight=False, soft_wrap=True)
