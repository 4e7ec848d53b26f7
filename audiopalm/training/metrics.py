"""What a run writes about itself: metrics.jsonl and event files for TensorBoard.

    {"step": 120, "loss": 2.31, "nll_text": 1.9, "nll_speech": 2.6, "accuracy_text": 0.6, ...,
     "grad_norm": 0.8, "update_norm": 0.02, "lr": 0.001, "skipped": 0, "tokens": 7911,
     "batch": 3405691582, "tokens_per_s": 15100.0, "mfu": "unknown"}
    {"step": 120, "held_out": {"asr": {"loss": 2.4, ...}}, "seen": {"asr": {"tokens": 400000, ...}}}

`step` counts steps done; `batch` is the digest of all rows one was given. A value that is not
finite is null. Steps that a resumed run does again are cut from the end of the file first, so each
step has one line.
"""

import math
import platform
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tensorboardX import record_writer
from tensorboardX.proto import event_pb2, summary_pb2

from audiopalm.data import json_lines
from audiopalm.training import appending

FILE = "metrics.jsonl"
EVENTS = "events"
EVENTS_S = 30.0  # how long events wait before they are written


class Journal:
  """Writes the lines and events of a run; on resume from `step` those after it go first.

  Without `measured` the held-out losses of that step go too: they are measured again. `lost_steps`
  says how many steps the lines held that were cut, `had_step` the last of them: work done twice.
  `last_step` is that of the last line. While the device is full, lines and events wait for room.
  """

  def __init__(
    self, workdir: Path, step: int, measured: bool = True, say: Callable[[str], None] = print
  ):
    self.path = workdir / FILE
    self.lost_steps, self.had_step = _cut(self.path, step, measured)
    self.last_step = step
    self._lines = appending.Appender(self.path, say)
    self._events = Events(workdir / EVENTS, step, say)

  def write(self, step: int, values: Mapping[str, Any]) -> None:
    """Writes one line; numbers in nested mappings become events named by their path."""
    self._lines.add(json_lines.dumps({"step": step, **_plain(values)}).encode())
    self._lines.flush()
    self.last_step = step
    for name, value in _flat(values):
      self._events.add(name, value, step)

  def close(self) -> None:
    self._lines.close()
    self._events.close()


class Events:
  """An event file for TensorBoard; those of earlier starts are hidden from after `step` on.

  tensorboardX makes the events. Its own writer is a thread that a full device ends, after which a
  run would wait for it for ever.
  """

  def __init__(self, folder: Path, step: int, say: Callable[[str], None] = print):
    folder.mkdir(parents=True, exist_ok=True)
    name = f"events.out.tfevents.{time.time_ns()}.{platform.node()}"
    self._file = appending.Appender(folder / name, say)
    self._written_s = time.monotonic()
    started = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    self._add(file_version="brain.Event:2")
    self._add(step=step + 1, session_log=started)

  def add(self, name: str, value: float, step: int) -> None:
    scalar = summary_pb2.Summary.Value(tag=name, simple_value=value)
    self._add(step=step, summary=summary_pb2.Summary(value=[scalar]))
    if time.monotonic() - self._written_s > EVENTS_S:
      self._file.flush()
      self._written_s = time.monotonic()

  def close(self) -> None:
    self._file.close()

  def _add(self, **fields: object) -> None:
    data = event_pb2.Event(wall_time=time.time(), **fields).SerializeToString()
    length = struct.pack("<Q", len(data))
    sums = (struct.pack("<I", record_writer.masked_crc32c(part)) for part in (length, data))
    self._file.add(length + next(sums) + data + next(sums))


class Silent:
  """The journal of a process whose metrics another one writes."""

  def __init__(self, step: int):
    self.lost_steps, self.had_step, self.last_step = 0, step, step

  def write(self, step: int, values: Mapping[str, Any]) -> None:
    self.last_step = step

  def close(self) -> None:
    pass


def read(workdir: Path) -> Iterator[dict[str, Any]]:
  """Yields the lines of a run's metrics.jsonl; a last line that was cut short is left out."""
  yield from json_lines.read_grown(workdir / FILE, "step")


def _cut(path: Path, step: int, measured: bool) -> tuple[int, int]:
  """Drops the lines after `step`, all or none of them; returns (how many steps they were, the last
  of these or `step`). Without `measured` the held-out losses of `step` are dropped too."""
  lines = list(read(path.parent))
  last = step + 1 if measured else step
  remaining = [line for line in lines if line["step"] < (last if "held_out" in line else step + 1)]
  lost = {line["step"] for line in lines if line["step"] > step}
  json_lines.write(path, remaining)
  return len(lost), max(lost, default=step)


def _plain(value: Mapping | str | float | np.number) -> dict | str | float | None:
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
