"""What a way to feed a model is to the rest of the code: `packed.Packed`, `clips.Clips`."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import jax

from audiopalm.batch import Batch
from audiopalm.data import spread
from audiopalm.data.corpora import CorpusSettings
from audiopalm.data.mixtures import Mixture
from audiopalm.errors import ConfigError
from audiopalm.layouts.cells import Part
from audiopalm.layouts.rules import Rule
from audiopalm.tokenizers.base import Tokenizer
from audiopalm.tokens.space import TokenSpace
from audiopalm.types import Task

PADDING = -1  # the number of a batch row that holds nothing


class RowPlace(NamedTuple):
  """One batch row of one epoch: number of the task in the mixture, number of the row within it, and
  the seed that random layouts and crops draw by."""

  task: int
  row: int
  epoch: int
  seed: int


class Feed(Protocol):
  """Reads the batch rows of a split: each is a number within its task."""

  rows: Sequence[int]  # batch rows that an epoch of each task has

  def per_row(self, unit: Literal["examples", "tokens"]) -> list[float]:
    """Returns how many examples or tokens a mean batch row of each task holds."""

  def batch(self, places: Sequence[RowPlace]) -> Batch:
    """Returns the batch of these rows, as numpy arrays; a row of number PADDING is empty."""

  def records(self, place: RowPlace) -> Sequence[int]:
    """Returns the numbers of the records in a batch row, among the entries of its task."""


class Data(Protocol):
  """Settings of a way to feed a model: `Experiment.data`. A batch has `batch_rows` rows, each of
  `length` positions of the model."""

  batch_rows: int

  keeps_waves: bool
  """Whether recordings of training splits are kept beside their streams."""

  answers: bool
  """Whether models trained on this data can generate and be scored."""

  @property
  def length(self) -> int: ...

  @property
  def prepared_by(self) -> tuple[int | str, ...]:
    """What of these settings `prepare` depends on."""

  def check(self, tasks: Sequence[Task], streams: Sequence[str]) -> None:
    """Raises ConfigError for tasks that cannot be fed so."""

  def check_mesh(self, mesh: jax.sharding.Mesh) -> None:
    """Raises ConfigError for a mesh that a batch row cannot be split over."""

  def shapes(self, space: TokenSpace, tasks: Sequence[Task]) -> Batch:
    """Returns a whole batch as ShapeDtypeStructs."""

  def layouts(self, rule: Rule, tasks: Sequence[Task]) -> Mapping[str, Part]:
    """Returns the layout of each task by name, {} where nothing is laid out."""

  # `prepared` below is a `prepared.Prepared`, which has this Data and so is made of this file.

  def index(self, prepared: Any) -> None:
    """Writes what says which records a batch row holds; DataError for a task without any."""

  def check_index(self, prepared: Any) -> None:
    """Raises DataError or TokenSpaceError where that is missing, or of other records."""

  def feed(self, prepared: Any, tasks: Sequence[Task], split: str) -> Feed:
    """Returns what reads the data of a split."""

  def summary(self, prepared: Any, task: Task, split: str) -> dict[str, float]:
    """Returns what `prepare` reports of a task in a split."""


class Specials(Protocol):
  """What the data side reads of an `objectives.base.Objective`."""

  @property
  def specials(self) -> tuple[str, ...]: ...


class RunSettings(Protocol):
  """What the data side reads of an `experiment.Experiment`, which is of a higher layer."""

  name: str
  tokenizers: tuple[Tokenizer, ...]
  corpora: tuple[CorpusSettings, ...]
  tasks: tuple[Task, ...]
  mixture: Mixture
  layout: Rule
  data: Data
  objective: Specials
  steps: int
  seed: int


def held_out(feed: Feed, task: int, rows: int, batch_rows: int, mine: slice | None) -> list[Batch]:
  """Returns at most `rows` batch rows of a task, evenly spread over the split, in batches of one
  shape, the last filled up with padding; of each those in `mine`, None for all. Random layouts and
  crops draw at seed 0, epoch 0."""
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
  """Raises ConfigError unless the streams of a task are among those that there are."""
  for _, stream in task.sides:
    if stream not in streams:
      raise ConfigError(
        f"Task {task.name!r} names the stream {stream!r}, but the tokenizers give "
        f"{', '.join(streams)}. Name one of these, or add a tokenizer."
      )


def check_answers(data: Data) -> None:
  """Raises ConfigError if models trained on this data cannot generate or be scored."""
  if not data.answers:
    raise ConfigError(
      "This run trains on clips, with a model that answers nothing: there is nothing to generate "
      "or to score. Its held-out losses are in metrics.jsonl."
    )
