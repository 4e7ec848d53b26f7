"""When a run saves, which checkpoint is the best, and what happens on a full device."""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from audiopalm import runs
from audiopalm.errors import DamagedSave, FullDevice
from audiopalm.experiment import Experiment
from audiopalm.training import checkpoint, goodput, guard, metrics, together, writing
from audiopalm.training.state import TrainState

AGAIN = 10  # a full device is retried after 1/10 of the steps between checkpoints
# How long the last checkpoint waits for room, and the pause between attempts.
LAST_S, PAUSE_S = 900.0, 15.0

HeldOut = Mapping[str, Mapping[str, float]]  # {task: {metric: value}}


class Saving:
  """The checkpoints of a run that begins or resumes after step `begun`.

  `due`: a checkpoint is still to be saved, because a skipped step or a full device postponed it.
  """

  def __init__(
    self,
    writer: writing.Writer,
    experiment: Experiment,
    workdir: Path,
    begun: int,
    timer: goodput.Goodput,
    stop: guard.StopRequest,
    say: Callable[[str], None],
  ):
    self.due = False
    self._writer, self._experiment = writer, experiment
    self._timer, self._stop, self._say = timer, stop, say
    self._saved, self._not_before = begun, 0
    self._measured, self._best = [], None
    if experiment.keep_best is not None:
      self._update_best(together.from_first(lambda: _measured(workdir)))

  @property
  def best(self) -> str | None:
    """A line about the best checkpoint, None without one."""
    if self._best is None:
      return None
    step, value = self._best
    return f"best by {self._experiment.keep_best}: step {step} ({value:.4f})"

  def compare(self, number: int, held_out: HeldOut) -> None:
    """Takes the held-out metrics of the state after a step; the best saved checkpoint is kept."""
    if number == self._saved and self._experiment.keep_best is not None:
      self._update_best([(number, held_out)])

  def is_due(self, number: int, stopping: bool) -> bool:
    """Returns whether the state after step `number` should be saved."""
    last = number == self._experiment.steps
    every = self._experiment.checkpoint_every_steps
    self.due = self.due or last or stopping or number % every == 0
    return self.due and (last or stopping or number >= self._not_before)

  def save(self, state: TrainState, meta: checkpoint.Meta, *, stopping: bool) -> None:
    """Saves in the background, or in the foreground for the last time.

    FullDevice if the run ends now: at once if it was asked to stop, after LAST_S at its last step.
    CheckpointError if several saves in a row could not be read back.
    """
    with self._timer.spend("checkpoint"):
      try:
        self._writer.wait()
      except (FullDevice, DamagedSave) as error:  # of the previous save
        self._say(f"{error} The run continues, and saves again now.")
      if stopping:
        self._save_and_wait(state, meta)
      elif meta.step == self._experiment.steps:
        self._save_when_there_is_room(state, meta)
      else:
        try:
          self._writer.save(state, meta)
        except FullDevice as error:
          pause = math.ceil(self._experiment.checkpoint_every_steps / AGAIN)
          self._not_before = meta.step + pause
          self._say(f"{error} The run continues and tries again after step {self._not_before}.")
          return
    self.due, self._saved = False, meta.step

  def _save_and_wait(self, state: TrainState, meta: checkpoint.Meta) -> None:
    while True:  # the writer gives up after several damaged ones in a row
      try:
        self._writer.save(state, meta)
        return self._writer.wait()
      except DamagedSave as error:
        self._say(f"{error} It is saved again.")

  def _save_when_there_is_room(self, state: TrainState, meta: checkpoint.Meta) -> None:
    pauses = int(LAST_S / PAUSE_S)
    for left in reversed(range(pauses + 1)):
      try:
        return self._save_and_wait(state, meta)
      except FullDevice as error:
        if not left or any(together.gathered(self._stop.asked_by)):
          raise
        if left == pauses:
          self._say(f"{error} This is the last step: for {LAST_S:.0f} s it waits for room.")
        time.sleep(PAUSE_S)
        self._timer.book()  # the watchdog limits each attempt separately

  def _update_best(self, measured: Iterable[tuple[int, HeldOut]]) -> None:
    self._measured += measured
    self._best = best(self._experiment.keep_best, self._measured)
    self._writer.best = self._best and self._best[0]


def best(name: str, measured: Iterable[tuple[int, HeldOut]]) -> tuple[int, float] | None:
  """Returns (step, value) of the best measurement of TASK/METRIC, the first of equal ones; None
  without any. The best accuracy is the highest; the best value of other metrics is the lowest."""
  task, metric = name.split("/", 1)
  # An earlier start may have had other tasks.
  values = [(step, held_out.get(task, {}).get(metric)) for step, held_out in measured]
  values = [(step, value) for step, value in values if value is not None and math.isfinite(value)]
  choose = max if metric.startswith("accuracy") else min
  return choose(values, key=lambda pair: pair[1], default=None)


def _measured(workdir: Path) -> list[tuple[int, HeldOut]]:
  """Returns the held-out metrics of each step with a checkpoint, from metrics.jsonl, to find the
  best after a restart."""
  have = set(runs.steps(workdir))
  lines = metrics.read(workdir) if have else ()
  return [
    (line["step"], line["held_out"])
    for line in lines
    if "held_out" in line and line["step"] in have
  ]
