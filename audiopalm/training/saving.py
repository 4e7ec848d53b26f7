"""When a run saves its state, and how it goes on while the device is full."""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from audiopalm.errors import DamagedSave, FullDevice
from audiopalm.experiment import Experiment
from audiopalm.parts import runs
from audiopalm.training import checkpoint, goodput, guard, metrics, together, writing
from audiopalm.training.state import TrainState

AGAIN = 10  # a tenth of the steps between two checkpoints later
LAST_S, PAUSE_S = 900.0, 15.0  # how long the last checkpoint waits for room, looking this often


class Saving:
  """The checkpoints of an experiment's run that has done `begun` steps.

  `due` says that one is owed: a step that was skipped, or a full device, puts it off.
  """

  def __init__(
    self,
    writer: writing.Writer,
    experiment: Experiment,
    workdir: Path,
    begun: int,
    spent: goodput.Goodput,
    stop: guard.StopRequest,
    say: Callable[[str], None],
  ):
    self.due = False
    self._best = _Best(experiment.keep_best, workdir)
    self._writer, self._steps = writer, experiment.steps
    self._every_steps = experiment.checkpoint_every_steps
    self._spent, self._stop, self._say = spent, stop, say
    self._saved, self._not_before = begun, 0
    writer.best = self._best.step

  @property
  def best(self) -> str | None:
    """What to say of the best checkpoint, None for a run that asks for none."""
    return None if self._best.step is None else str(self._best)

  def measured(self, number: int, held_out: Mapping[str, Mapping[str, float]]) -> None:
    """Takes the held-out metrics of the state after a step; the best that was saved stays."""
    if number == self._saved:
      self._best.measured(number, held_out)
      self._writer.best = self._best.step

  def is_due(self, number: int, stopping: bool) -> bool:
    """Returns whether the state after step `number` should be saved."""
    last = number == self._steps
    self.due = self.due or last or stopping or number % self._every_steps == 0
    return self.due and (last or stopping or number >= self._not_before)

  def save(self, number: int, state: TrainState, meta: checkpoint.Meta, *, stopping: bool) -> None:
    """Saves, in the background unless it is the last time.

    FullDevice where the run ends now: at once when it was asked to stop, after LAST_S at its end.
    CheckpointError where nothing that is saved can be read again.
    """
    with self._spent.spend("checkpoint"):
      self._report_previous_save()
      if stopping:
        self._save_and_wait(state, meta)
      elif number == self._steps:
        self._save_when_there_is_room(state, meta)
      else:
        try:
          self._writer.save(state, meta)
        except FullDevice as error:
          self._not_before = number + math.ceil(self._every_steps / AGAIN)
          self._say(f"{error} The run goes on and tries again after step {self._not_before}.")
          return
    self.due, self._saved = False, number

  def _report_previous_save(self) -> None:
    """Waits for the previous save and prints why it failed, if it did; this one is made anyway."""
    try:
      self._writer.wait()
    except (FullDevice, DamagedSave) as error:
      self._say(f"{error} The run goes on, and saves again now.")

  def _save_and_wait(self, state: TrainState, meta: checkpoint.Meta) -> None:
    while True:  # the writer gives up after some damaged ones in a row
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
        self._spent.book()  # each try is work of its own: the watchdog counts from here


class _Best:
  """The best checkpoint by a held-out metric, TASK/METRIC; of accuracies the highest is the best.

  It follows from metrics.jsonl, so that it is known again after a restart. `step` is None before
  there is one, and for a run that asks for none (`name` None).
  """

  def __init__(self, name: str | None, workdir: Path):
    self.step, self.value, self._name = None, None, name
    for number, held_out in together.from_first(lambda: _measured(workdir, name)):
      self.measured(number, held_out)

  def measured(self, number: int, held_out: Mapping[str, Mapping[str, float]]) -> None:
    """Takes the held-out metrics of a step that was saved."""
    if self._name is None:
      return
    task, metric = self._name.split("/", 1)
    value = held_out.get(task, {}).get(metric)  # an older start may have had other tasks
    if value is None or not math.isfinite(value):
      return
    better = value.__gt__ if metric.startswith("accuracy") else value.__lt__
    if self.value is None or better(self.value):
      self.step, self.value = number, value

  def __str__(self) -> str:
    return f"best by {self._name}: step {self.step} ({self.value:.4f})"


def _measured(workdir: Path, name: str | None) -> list[tuple[int, dict[str, dict[str, float]]]]:
  """Returns the held-out metrics of each step that a checkpoint is there of."""
  have = set(runs.steps(workdir)) if name is not None else ()
  lines = metrics.read(workdir) if have else ()
  measured = (line for line in lines if "held_out" in line and line["step"] in have)
  return [(line["step"], line["held_out"]) for line in measured]
