"""Where the time of a run goes, as JSON lines, and a watchdog that ends a run whose time stands
still."""

import contextlib
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from audiopalm.data import files, json_lines
from audiopalm.errors import EXIT_WATCHDOG, DataError
from audiopalm.training import metrics

# Lost work: steps that an earlier start had completed, but not saved.
BUCKETS = ("init", "compile", "data wait", "step", "lost work", "checkpoint", "evaluation")
WATCHED = ("step", "lost work", "data wait", "checkpoint")  # other buckets have no limit
HEARTBEATS = "heartbeats"
BEAT_S = 10.0


class Goodput:
  """Seconds spent in each bucket; every moment belongs to exactly one.

  `goodput.jsonl` gets a line every `every_s` seconds (the seconds of each bucket since the line
  before) and one last line with the sums; a resume appends. `start` tells the starts of a run
  apart: it is the time of the first line. Without a path there is no file.

      {"time": 1790000000.0, "start": 1790000000.0, "step": 120, "seconds": {"step": 9.9, ...}}
      {"time": 1790000100.0, "start": 1790000000.0, "step": 900, "total": {...}, "lost_steps": 0}
  """

  def __init__(
    self, path: Path | None, *, every_s: float = 10.0, clock: Callable[[], float] = time.monotonic
  ):
    self.seconds = dict.fromkeys(BUCKETS, 0.0)
    self._written = dict(self.seconds)
    if path is not None:
      json_lines.mend(path)
    self._file = None if path is None else metrics.Appender(path)
    self._start: float | None = None
    self._every_s, self._clock = every_s, clock
    self._stack = ["init"]
    self._since = self._last_line = clock()

  @contextlib.contextmanager
  def spend(self, bucket: str) -> Iterator[None]:
    """Counts the time of the block in `bucket` instead of the bucket of an outer block."""
    assert bucket in self.seconds, bucket
    self.book()
    self._stack.append(bucket)
    try:
      yield
    finally:
      self.book()
      self._stack.pop()

  def book(self) -> None:
    """Updates `seconds` to the present moment."""
    now = self._clock()
    self.seconds[self._stack[-1]] += now - self._since
    self._since = now

  def doing(self) -> tuple[str, float]:
    """Returns (bucket, seconds since anything was booked), from any thread."""
    return self._stack[-1], self._clock() - self._since

  def note(self, step: int) -> None:
    """Writes a line if the last one is `every_s` seconds old."""
    self.book()
    if self._since - self._last_line < self._every_s:
      return
    self._last_line = self._since
    seconds = {
      bucket: round(total - self._written[bucket], 4)
      for bucket, total in self.seconds.items()
      if total > self._written[bucket]
    }
    self._written = dict(self.seconds)
    self._write(step=step, seconds=seconds)

  def close(self, step: int, lost_steps: int) -> None:
    """Writes the last line. `lost_steps` of an earlier start had to be repeated."""
    self.book()
    total = {bucket: round(seconds, 4) for bucket, seconds in self.seconds.items()}
    self._write(step=step, total=total, lost_steps=lost_steps)

  def _write(self, **line: object) -> None:
    if self._file is not None:
      now = round(time.time(), 3)
      self._start = self._start or now
      self._file.add(json_lines.dumps({"time": now, "start": self._start, **line}).encode())
      self._file.flush()


@contextlib.contextmanager
def watched(
  timer: Goodput, workdir: Path, process: int, hang_s: float | None,
  *, beat_s: float = BEAT_S, end: Callable[[int], object] = os._exit,
) -> Iterator[None]:  # fmt: skip
  """Ends the process with exit code 70 if one step, wait for data or save takes longer than
  `hang_s` seconds (None: never); the stacks of all threads go to stderr and to
  WORKDIR/heartbeats/PROCESS.stacks.txt.

  WORKDIR/heartbeats/PROCESS.json is written every ten seconds:

      {"time": 1790000000.0, "doing": "step", "for_s": 3.2}

  Time in which the process itself was stopped (Ctrl-Z, SIGSTOP) is not counted.
  """
  path, over = Path(workdir) / HEARTBEATS / f"{process}.json", threading.Event()
  interval_s = beat_s if hang_s is None else min(beat_s, hang_s / 4)

  def watch():
    running_s, looked_s = 0.0, time.monotonic()
    while not over.wait(interval_s):
      doing, for_s = timer.doing()
      now_s = time.monotonic()
      # A wait of more than two intervals means that this thread was stopped too.
      running_s = min(running_s + min(now_s - looked_s, 2 * interval_s), for_s)
      looked_s = now_s
      # If the device is full, the age of the file shows it.
      with contextlib.suppress(OSError, DataError):
        beat = {"time": round(time.time(), 3), "doing": doing, "for_s": round(for_s, 1)}
        files.write_json(path, beat)
      if hang_s is not None and doing in WATCHED and running_s > hang_s:
        _dump_stacks(doing, running_s, hang_s, path.with_suffix(".stacks.txt"))
        end(EXIT_WATCHDOG)
        return

  thread = threading.Thread(target=watch, name="watch", daemon=True)
  thread.start()
  try:
    yield
  finally:
    over.set()
    thread.join()


def _dump_stacks(doing: str, for_s: float, hang_s: float, path: Path) -> None:
  print(
    f"The run hangs: {for_s:.0f} s in one {doing}, where {hang_s:.0f} s are allowed (--hang-s). "
    f"The stacks of all threads follow and are in {path}. It ends with {EXIT_WATCHDOG}; run the "
    "same command again: it resumes from its latest checkpoint.",
    file=sys.stderr,
    flush=True,
  )
  faulthandler.dump_traceback(file=sys.__stderr__, all_threads=True)
  with contextlib.suppress(OSError), path.open("w", encoding="utf-8") as file:
    faulthandler.dump_traceback(file=file, all_threads=True)
