"""Mixtures: tasks and their rates, as a frozen value for the loader and SeqIO."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from audiopalm.errors import ConfigError
from audiopalm.types import Task


@dataclasses.dataclass(frozen=True)
class Mixture:
  """Tasks with rates. Task i gets the share rate_i ** (1 / temperature), divided by their sum.

  A task of rate 0 is measured and evaluated but not trained on, to see what a model retains or
  does zero-shot. Shares are of `unit`: "tokens" that are not holes, or "examples". A temperature
  above 1 raises the shares of small tasks (Arivazhagan et al. 2019, arXiv:1907.05019, section 3.1).
  """

  tasks: tuple[tuple[Task, float], ...]
  temperature: float = 1.0
  unit: Literal["tokens", "examples"] = "tokens"

  def __post_init__(self):
    if not self.tasks:
      raise ConfigError("A mixture has no tasks. Give at least one (task, rate) pair.")
    names = [task.name for task, _ in self.tasks]
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
      raise ConfigError(
        f"Two tasks of a mixture have the name {doubles[0]!r}. Give each its own name: "
        "dataclasses.replace(task, name=...)."
      )
    for task, rate in self.tasks:
      if not 0 <= rate < float("inf"):
        raise ConfigError(
          f"The rate of task {task.name!r} must be a number, 0 or more, not {rate!r}. With 0 it is "
          "measured without being trained on."
        )
    if not any(rate for _, rate in self.tasks):
      raise ConfigError("All tasks of a mixture have the rate 0. Give at least one a rate above 0.")
    if not 0 < self.temperature < float("inf"):
      raise ConfigError(
        f"The temperature of a mixture must be a number above 0, not {self.temperature!r}."
      )
    if self.unit not in ("tokens", "examples"):
      raise ConfigError(f"The unit of a mixture is 'tokens' or 'examples', not {self.unit!r}.")

  @property
  def shares(self) -> tuple[float, ...]:
    """The fraction of all `unit`s that each task gets, after temperature; they sum to 1."""
    raised = [rate ** (1 / self.temperature) for _, rate in self.tasks]
    return tuple(value / sum(raised) for value in raised)

  def weights(self, mean_per_row: Sequence[float]) -> tuple[float, ...]:
    """Returns the fraction of rows to take from each task so that each gets its share.

    `mean_per_row` is the mean number of `unit`s in a row of each task. A task whose rows are half
    as full needs twice as many:

        shares (0.5, 0.5), tokens per row (500, 250)  ->  rows (1/3, 2/3)
    """
    rows = [share / mean for share, mean in zip(self.shares, mean_per_row, strict=True)]
    return tuple(value / sum(rows) for value in rows)
