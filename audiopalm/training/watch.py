"""A thread beside a run that writes heartbeats, and ends the process when a step hangs."""

import contextlib
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from audiopalm.data import files
from audiopalm.errors import EXIT_WATCHDOG, DataError
from audiopalm.training import goodput

FOLDER = "heartbeats"
# To start, to compile and to evaluate may take any time.
WATCHED = ("step", "lost work", "data wait", "checkpoint")
BEAT_S = 10.0


class Watch:
  """A context in which a run must not stand still for `hang_s` seconds (None: it may).

  WORKDIR/heartbeats/PROCESS.json is written every ten seconds:

      {"time": 1790000000.0, "doing": "step", "for_s": 3.2}

  Where one step, one wait for data or one save takes longer than `hang_s`, the stacks of all
  threads go to stderr and to WORKDIR/heartbeats/PROCESS.stacks.txt, and the process ends with 70.
  What it saved is whole: started again, the run goes on from there.
  """

  def __init__(
    self, spent: goodput.Goodput, workdir: Path, process: int, hang_s: float | None,
    *, beat_s: float = BEAT_S, end: Callable[[int], object] = os._exit,
  ):  # fmt: skip
    self._spent, self._hang_s, self._beat_s, self._end = spent, hang_s, beat_s, end
    self._path = Path(workdir) / FOLDER / f"{process}.json"
    self._over = threading.Event()
    self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

  def __enter__(self) -> "Watch":
    self._thread.start()
    return self

  def __exit__(self, kind, error, trace) -> None:
    self._over.set()
    self._thread.join()

  def _run(self) -> None:
    pause_s = self._beat_s if self._hang_s is None else min(self._beat_s, self._hang_s / 4)
    while not self._over.wait(pause_s):
      doing, for_s = self._spent.doing()
      # Where it cannot be written (a full device), that the file grows old says so.
      with contextlib.suppress(OSError, DataError):
        beat = {"time": round(time.time(), 3), "doing": doing, "for_s": round(for_s, 1)}
        files.write_json(self._path, beat)
      if self._hang_s is not None and doing in WATCHED and for_s > self._hang_s:
        self._give_up(doing, for_s)
        return

  def _give_up(self, doing: str, for_s: float) -> None:
    stacks = self._path.with_suffix(".stacks.txt")
    print(
      f"The run hangs: {for_s:.0f} s in one {doing}, where {self._hang_s:.0f} s are allowed "
      f"(--hang-s). The stacks of all threads follow and are in {stacks}. It ends with "
      f"{EXIT_WATCHDOG}; run the same command again: it goes on from its latest checkpoint.",
      file=sys.stderr,
      flush=True,
    )
    faulthandler.dump_traceback(file=sys.__stderr__, all_threads=True)
    with contextlib.suppress(OSError), stacks.open("w", encoding="utf-8") as file:
      faulthandler.dump_traceback(file=file, all_threads=True)
    self._end(EXIT_WATCHDOG)
