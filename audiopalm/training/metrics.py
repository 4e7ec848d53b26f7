"""The logs of a run: metrics.jsonl, and event files for TensorBoard.

    {"step": 120, "loss": 2.31, "nll_text": 1.9, "nll_speech": 2.6, "accuracy_text": 0.6, ...,
     "grad_norm": 0.8, "update_norm": 0.02, "lr": 0.001, "skipped": 0, "tokens": 7911,
     "batch": 3405691582, "tokens_per_s": 15100.0, "mfu": "unknown"}
    {"step": 120, "held_out": {"asr": {"loss": 2.4, ...}}, "seen": {"asr": {"tokens": 400000, ...}}}

`step` counts completed steps; `batch` is the digest of all batch rows of that step. A value that is
not finite is null.
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

from audiopalm import system
from audiopalm.data import json_lines

FILE = "metrics.jsonl"
EVENTS = "events"
EVENTS_S = 30.0  # seconds between two writes of events


class Appender:
  """Appends bytes to a file, and keeps them in memory while the device is full.

  `flush` writes everything that was added, or nothing. `say` is called with a line when the device
  is full, when it has room again, and at the end if anything is lost.
  """

  def __init__(self, path: Path, say: Callable[[str], None] = print):
    self._path, self._say = path, say
    self._waiting: list[bytes] = []
    self._is_full = False

  def add(self, data: bytes) -> None:
    self._waiting.append(data)

  def flush(self) -> None:
    if not self._waiting:
      return
    try:
      self._write(b"".join(self._waiting))
    except OSError as error:
      if not system.is_full(error):
        raise
      if not self._is_full:
        self._say(
          f"No space left on the device of {self._path}: new lines are kept in memory and "
          "written when there is room."
        )
      self._is_full = True
      return
    self._waiting.clear()
    if self._is_full:
      self._is_full = False
      self._say(f"There is room again: {self._path} is complete.")

  def close(self) -> None:
    self.flush()
    if self._waiting:
      self._say(f"{self._path} ends early: its device is still full.")

  def _write(self, data: bytes) -> None:
    with self._path.open("ab", buffering=0) as file:
      before = file.tell()
      try:
        while data:
          data = data[file.write(data) :]
      except OSError:
        file.truncate(before)
        raise


class Journal:
  """Writes the metrics of a run that continues after `step`.

  Lines of later steps are removed first, because these steps are repeated; unless `measured`, so
  are the held-out losses of `step`. `had_step` is the last step removed, `lost_steps` their number;
  TensorBoard hides their events. `last_step` is the step of the last line. Without a workdir
  (another process writes) there are no files.
  """

  def __init__(
    self,
    workdir: Path | None,
    step: int,
    measured: bool = True,
    say: Callable[[str], None] = print,
  ):
    self.lost_steps, self.had_step, self.last_step = 0, step, step
    self._lines = self._events = None
    if workdir is None:
      return
    self.lost_steps, self.had_step = _cut(workdir, step, measured)
    self._lines = Appender(workdir / FILE, say)
    (workdir / EVENTS).mkdir(parents=True, exist_ok=True)
    # The thread of tensorboardX's own writer dies if the device is full, and the run would wait for
    # it forever.
    name = f"events.out.tfevents.{time.time_ns()}.{platform.node()}"
    self._events = Appender(workdir / EVENTS / name, say)
    self._events_written_s = time.monotonic()
    self._add_event(file_version="brain.Event:2")
    started = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    self._add_event(step=step + 1, session_log=started)

  def write(self, step: int, values: Mapping[str, Any]) -> None:
    """Writes one line; numbers in nested mappings become events named by their path."""
    self.last_step = step
    if self._lines is None:
      return
    self._lines.add(json_lines.dumps({"step": step, **_plain(values)}).encode())
    self._lines.flush()
    for name, value in _flat(values):
      scalar = summary_pb2.Summary.Value(tag=name, simple_value=value)
      self._add_event(step=step, summary=summary_pb2.Summary(value=[scalar]))
    if time.monotonic() - self._events_written_s > EVENTS_S:
      self._events.flush()
      self._events_written_s = time.monotonic()

  def close(self) -> None:
    if self._lines is not None:
      self._lines.close()
      self._events.close()

  def _add_event(self, **fields: object) -> None:
    data = event_pb2.Event(wall_time=time.time(), **fields).SerializeToString()
    length = struct.pack("<Q", len(data))
    sums = [struct.pack("<I", record_writer.masked_crc32c(part)) for part in (length, data)]
    self._events.add(length + sums[0] + data + sums[1])


def read(workdir: Path) -> Iterator[dict[str, Any]]:
  """Yields the lines of a run's metrics.jsonl, without an incomplete last line."""
  yield from json_lines.read_grown(workdir / FILE, "step")


def _cut(workdir: Path, step: int, measured: bool) -> tuple[int, int]:
  """Removes the lines after `step`, and its held-out losses unless `measured`; returns (number of
  steps removed, the last of them or `step`)."""
  lines = list(read(workdir))
  last_held_out = step if measured else step - 1
  remaining = [
    line for line in lines if line["step"] <= (last_held_out if "held_out" in line else step)
  ]
  lost = {line["step"] for line in lines if line["step"] > step}
  json_lines.write(workdir / FILE, remaining)
  return len(lost), max(lost, default=step)


def _plain(value: Mapping | str | float | np.number) -> dict | str | float | None:
  """Returns a value for JSON; float32 keeps its short form."""
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
