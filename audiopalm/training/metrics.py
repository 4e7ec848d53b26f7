"""What a run writes about itself: metrics.jsonl and event files for TensorBoard.

    {"step": 120, "loss": 2.31, "nll_text": 1.9, "nll_speech": 2.6, "accuracy_text": 0.6, ...,
     "grad_norm": 0.8, "update_norm": 0.02, "lr": 0.001, "skipped": 0, "tokens": 7911,
     "tokens_per_s": 15100.0, "mfu": "unknown"}
    {"step": 120, "held_out": {"asr": {"loss": 2.4, ...}}, "seen": {"asr": {"tokens": 400000, ...}}}

`step` counts steps done. A value that is not finite is null. Steps that a resumed run does again
are cut from the end of the file first, so each step has one line.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tensorboardX import SummaryWriter

FILE = "metrics.jsonl"
EVENTS = "events"


class Journal:
  """Writes the lines and events of a run; on resume from `step` those after it go first.

  Without `measured` the held-out losses of that step go too: they are measured again. `lost_steps`
  says how many steps the lines held that were cut: work done twice. `last_step` is that of the last
  line.
  """

  def __init__(self, workdir: Path, step: int, measured: bool = True):
    self.path = workdir / FILE
    self.lost_steps, self.last_step = _cut(self.path, step, measured), step
    self._events = SummaryWriter(str(workdir / EVENTS), purge_step=step + 1, flush_secs=30)
    self._file = self.path.open("a")

  def write(self, step: int, values: Mapping[str, Any]) -> None:
    """Writes one line; numbers in nested mappings become events named by their path."""
    self._file.write(json.dumps({"step": step, **_plain(values)}) + "\n")
    self._file.flush()
    self.last_step = step
    for name, value in _flat(values):
      self._events.add_scalar(name, value, step)

  def close(self) -> None:
    self._file.close()
    self._events.close()


class Silent:
  """The journal of a process whose metrics another one writes."""

  def __init__(self, step: int):
    self.lost_steps, self.last_step = 0, step

  def write(self, step: int, values: Mapping[str, Any]) -> None:
    self.last_step = step

  def close(self) -> None:
    pass


def read(workdir: Path) -> Iterator[dict[str, Any]]:
  """Yields the lines of a run's metrics.jsonl; a last line that was cut short is left out."""
  path = workdir / FILE
  for line in path.read_text().splitlines() if path.exists() else ():
    try:
      yield json.loads(line)
    except json.JSONDecodeError:
      return


def _cut(path: Path, step: int, measured: bool) -> int:
  """Drops the lines after `step`, all or none of them; returns how many steps they were. Without
  `measured` the held-out losses of `step` are dropped too."""
  lines = list(read(path.parent))
  last = step + 1 if measured else step
  kept = [line for line in lines if line["step"] < (last if "held_out" in line else step + 1)]
  lost = len({line["step"] for line in lines if line["step"] > step})
  part = path.with_name(path.name + ".part")
  part.write_text("".join(json.dumps(line) + "\n" for line in kept))
  part.replace(path)
  return lost


def _plain(value: Any) -> Any:
  """Returns mappings, text and numbers as JSON takes them; float32 keeps its short form."""
  if isinstance(value, Mapping):
    return {name: _plain(item) for name, item in value.items()}
  if isinstance(value, str):
    return value
  if isinstance(value, np.integer | int):
    return int(value)
  number = float(str(np.float32(value))) if not isinstance(value, float) else value
  return number if math.isfinite(number) else None


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
  for name, value in values.items():
    if isinstance(value, Mapping):
      yield from _flat(value, f"{prefix}{name}/")
    elif not isinstance(value, str):
      yield prefix + name, float(value)
