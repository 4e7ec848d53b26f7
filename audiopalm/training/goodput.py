"""Where the time of a run goes: buckets that add up to the wall clock, as JSON lines."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from audiopalm.data import json_lines
from audiopalm.training import appending

# Lost work: steps that an earlier start had done already, but did not live to save.
BUCKETS = ("init", "compile", "data wait", "step", "lost work", "checkpoint", "evaluation")


class Goodput:
  """Seconds spent in each bucket; every moment belongs to exactly one.

  `goodput.jsonl` gets a line every `every_s` seconds (the seconds of each bucket since the line
  before) and one last line with the sums. Lines are added at a resume, never replaced. Without a
  path, as of a process whose time another one writes, there is no file.

      {"time": 1790000000.0, "step": 120, "seconds": {"data wait": 0.02, "step": 9.9}}
      {"time": 1790000100.0, "step": 900, "total": {"init": 1.1, ...}, "lost_steps": 0}

  Where the device is full, lines wait for room.
  """

  def __init__(
    self, path: Path | None, *, every_s: float = 10.0, clock: Callable[[], float] = time.monotonic
  ):
    self.seconds = dict.fromkeys(BUCKETS, 0.0)
    self._written = dict(self.seconds)
    if path is not None:
      json_lines.mend(path)
    self._file = None if path is None else appending.Appender(path)
    self._every_s, self._clock = every_s, clock
    self._stack = ["init"]
    self._since = self._last_line = clock()

  @contextlib.contextmanager
  def spend(self, bucket: str) -> Iterator[None]:
    """Books the time until the block ends to `bucket`, whatever was running before it."""
    assert bucket in self.seconds, bucket
    self.book()
    self._stack.append(bucket)
    try:
      yield
    finally:
      self.book()
      self._stack.pop()

  def note(self, step: int) -> None:
    """Writes a line if the last one is `every_s` seconds old."""
    self.book()
    if self._since - self._last_line < self._every_s:
      return
    self._last_line = self._since
    spent = {
      bucket: round(seconds - self._written[bucket], 4)
      for bucket, seconds in self.seconds.items()
      if seconds > self._written[bucket]
    }
    self._written = dict(self.seconds)
    self._write({"step": step, "seconds": spent})

  def close(self, step: int, lost_steps: int) -> None:
    """Writes the last line. `lost_steps` were done by an earlier run and had to be done again."""
    self.book()
    total = {bucket: round(seconds, 4) for bucket, seconds in self.seconds.items()}
    self._write({"step": step, "total": total, "lost_steps": lost_steps})

  def book(self) -> None:
    """Brings `seconds` up to this moment."""
    now = self._clock()
    self.seconds[self._stack[-1]] += now - self._since
    self._since = now

  def doing(self) -> tuple[str, float]:
    """Returns (bucket, seconds since anything was booked), from any thread."""
    return self._stack[-1], self._clock() - self._since

  def _write(self, line: dict) -> None:
    if self._file is None:
      return
    self._file.add(json_lines.dumps({"time": round(time.time(), 3), **line}).encode())
    self._file.flush()
