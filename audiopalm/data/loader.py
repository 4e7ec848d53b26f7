"""Training batches: each is a pure function of (mixture, seed, step) and of changes to these.

There is no state between batches, so a run resumes at any step without reading earlier batches, and
any number of hosts makes the same global batches.
"""

import copy
import functools
import zlib

import grain

from audiopalm.batch import Batch
from audiopalm.data import schedule as schedules
from audiopalm.data.feeds import RowPlace
from audiopalm.data.prepared import Prepared, RunSettings
from audiopalm.errors import DataError


class Loader:
  """The batches of an experiment: `batch_at(step)`.

  A batch has `batch_rows` rows over all processes; this process reads the rows `mine` (None: all),
  the first of which is `first_row`. `schedule` has the earlier settings of a resumed run
  (`resumed`); with it, a loader of all rows returns the batch of any step.
  """

  def __init__(
    self,
    prepared: Prepared,
    experiment: RunSettings,
    batch_rows: int | None = None,
    split: str = "train",
    *,
    mine: slice | None = None,
    schedule: schedules.Schedule | None = None,
  ):
    rows = experiment.data.batch_rows if batch_rows is None else batch_rows
    self.tasks = tuple(task for task, _ in experiment.mixture.tasks)
    self.feed = experiment.data.feed(prepared, self.tasks, split)
    for task, count in zip(self.tasks, self.feed.rows, strict=True):
      if not count:
        raise DataError(f"Task {task.name!r} has no rows in split {split!r}. Remove the task.")
    self.weights = experiment.mixture.weights(self.feed.per_row(experiment.mixture.unit))
    self._numbers = {task.name: number for number, task in enumerate(self.tasks)}
    weights = dict(zip(self._numbers, self.weights, strict=True))
    self._asked = schedules.Stretch(0, 0, rows, experiment.seed, weights)
    self.schedule = schedule or (self._asked,)
    self._mine = mine
    self.first_row = 0 if mine is None else mine.start

  def resumed(self, schedule: schedules.Schedule | None, step: int) -> "Loader":
    """Returns a loader that continues, with these settings, a run with `schedule` at `step` (None:
    a run that has had these settings from the start)."""
    loader = copy.copy(self)
    loader.schedule = schedules.resumed(schedule or (self._asked,), step, self._asked)
    return loader

  def batch_at(self, step: int) -> Batch:
    """Returns this process's rows of the batch of a step, as numpy arrays."""
    places = self.places_at(step)
    if self._mine is None:
      return self.feed.batch(places)
    assert len(places) == self._asked.batch_rows, "processes share rows by the current batch_rows"
    return self.feed.batch(places[self._mine])

  def places_at(self, step: int) -> list[RowPlace]:
    """Returns the places of all rows of the batch of a step, over all processes.

    Raises DataError for a step with rows of a task that the experiment no longer has.
    """
    stretch = schedules.at(self.schedule, step)
    for task, weight in stretch.weights.items():
      if weight and task not in self._numbers:
        raise DataError(
          f"The batch of step {step + 1} has rows of task {task!r}, which the run no longer has: "
          f"it has {', '.join(self._numbers)}. Prepare the run with that task to see it."
        )
    places = []
    for name, number in stretch.rows_at(step):
      task = self._numbers[name]
      row = int(self._order(task, stretch.seed)[number])
      places.append(RowPlace(task, row, number // self.feed.rows[task], stretch.seed))
    return places

  @functools.cache  # noqa: B019  one Loader lives as long as its process
  def _order(self, task: int, seed: int) -> grain.MapDataset:
    """Returns the endless row order of a task: shuffled by seed and name, once per epoch."""
    own = zlib.crc32(f"{seed} {self.tasks[task].name}".encode())
    return grain.MapDataset.range(self.feed.rows[task]).shuffle(seed=own).repeat()
