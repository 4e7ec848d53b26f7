"""The protocol of feeds, which make batches of a split: `packed.PackedFeed`, `clips.ClipFeed`."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from audiopalm.batch import Batch
from audiopalm.data import spread
from audiopalm.errors import ConfigError
from audiopalm.types import Task

PADDING = -1  # the number of an empty batch row


class RowPlace(NamedTuple):
  """One batch row of one epoch: the index of its task in the mixture, its index within the task,
  and the seed of random layouts and crops."""

  task: int
  row: int
  epoch: int
  seed: int


class Feed(Protocol):
  """Reads the batch rows of a split, which are numbered within each task."""

  rows: Sequence[int]  # batch rows per epoch of each task

  def per_row(self, unit: Literal["examples", "tokens"]) -> list[float]:
    """Returns the mean number of examples or tokens in a batch row of each task."""

  def batch(self, places: Sequence[RowPlace]) -> Batch:
    """Returns the batch of these rows, as numpy arrays; a row of number PADDING is empty."""

  def records(self, place: RowPlace) -> Sequence[int]:
    """Returns the indices of the records in a batch row among the entries of its task."""


def held_out(feed: Feed, task: int, rows: int, batch_rows: int, mine: slice | None) -> list[Batch]:
  """Returns at most `rows` batch rows of a task, evenly spread over the split, in batches of
  `batch_rows`, the last one padded; only the rows `mine` of each batch (None: all). Random layouts
  and crops use seed 0 and epoch 0."""
  numbers = spread.evenly(feed.rows[task], rows).tolist()
  numbers += [PADDING] * (-len(numbers) % batch_rows)
  places = [RowPlace(task, number, epoch=0, seed=0) for number in numbers]
  starts = range(0, len(places), batch_rows)
  return [feed.batch(places[start : start + batch_rows][mine or slice(None)]) for start in starts]


def check_count(field: str, number: object) -> None:
  """Raises ConfigError unless a number is an integer of at least 1."""
  if type(number) is not int or number < 1:
    raise ConfigError(f"{field} must be an integer of at least 1, not {number!r}.")


def check_streams(task: Task, streams: Sequence[str]) -> None:
  """Raises ConfigError unless the streams of a task are among `streams`."""
  for _, stream in task.sides:
    if stream not in streams:
      raise ConfigError(
        f"Task {task.name!r} names the stream {stream!r}, but the tokenizers produce "
        f"{', '.join(streams)}. Name one of these, or add a tokenizer."
      )
