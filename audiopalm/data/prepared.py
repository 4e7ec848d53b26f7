"""The prepared data of a run, opened from its files, and the protocol of `Experiment.data`."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax

from audiopalm.batch import Batch
from audiopalm.data import cache, rows
from audiopalm.data.cache import Entries
from audiopalm.data.feeds import Feed
from audiopalm.data.mixtures import Mixture
from audiopalm.data.rows import RowIndex
from audiopalm.errors import ConfigError
from audiopalm.layouts.cells import Part
from audiopalm.layouts.rules import Rule
from audiopalm.tokenizers.base import Fitted, Tokenizer
from audiopalm.tokens import space as token_space
from audiopalm.tokens.space import TokenSpace
from audiopalm.types import CorpusSettings, Side, Task


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
  """The data side of a run. Needs no TensorFlow and no synthesizer; files are opened on use."""

  tasks: tuple[Task, ...]
  tokenizers: Mapping[str, Fitted]  # by stream
  layouts: Mapping[str, Part]  # by task
  space: TokenSpace
  data: "Data"
  workdir: Path
  streams_dir: Path
  longest: Mapping[str, Mapping[str, int]] | None = None  # of imported runs, by task and address

  @functools.cached_property
  def manifest(self) -> Mapping[str, Any]:
    """The token space as JSON: every id and what it depends on."""
    return token_space.manifest(self.space)

  @functools.cached_property
  def manifest_hash(self) -> str:
    return token_space.manifest_hash(self.space)

  @property
  def rows_dir(self) -> Path:
    return self.workdir / "rows" / self.manifest_hash

  def task(self, name: str) -> Task:
    """Returns the task of this name; raises ConfigError, which lists all tasks, for another."""
    for task in self.tasks:
      if task.name == name:
        return task
    raise ConfigError(
      f"Unknown task {name!r}. This run was trained on: {', '.join(t.name for t in self.tasks)}."
    )

  def entries(self, of: Task | CorpusSettings, split: str) -> Entries:
    """Returns the entries of a corpus, or of a task's corpus."""
    return self._entries(of.corpus if isinstance(of, Task) else of, split)

  def rows(self, task: Task | str, split: str) -> RowIndex:
    """Returns the row index of a task."""
    return self._rows(self.task(task) if isinstance(task, str) else task, split)

  def longest_input(self, task: Task, side: Side) -> int:
    """Returns the largest number of frames of this side in the training examples of a task."""
    address = ".".join(side)
    if self.longest is not None:
      return self.longest[task.name][address]
    trained_N = self.rows(task, "train").records
    return int(self.entries(task, "train").lengths[address][trained_N].max())

  def folder(self, corpus: CorpusSettings) -> Path:
    """Returns the folder of the streams of a corpus."""
    specs = {name: tokenizer.spec for name, tokenizer in self.tokenizers.items()}
    return cache.folder_of(self.streams_dir, corpus, specs, self.data.keeps_waves)

  def rows_made_from(self, task: Task) -> dict[str, Any]:
    """Returns the settings that a row index of this task depends on."""
    return {
      "manifest": self.manifest_hash,
      "streams": self.folder(task.corpus).name,
      "row_length": self.data.row_length,
      "too_long": self.data.too_long,
      "unseen_words": sorted(task.unseen_words),
      "unseen_pairs": sorted(task.unseen_pairs),
    }

  @functools.cache  # noqa: B019  one Prepared lives as long as its process
  def _entries(self, corpus: CorpusSettings, split: str) -> Entries:
    return cache.open_split(self.folder(corpus), split)

  @functools.cache  # noqa: B019
  def _rows(self, task: Task, split: str) -> RowIndex:
    path = rows.path_of(self.rows_dir, task, split, self.data.row_length)
    return rows.load(path, self.rows_made_from(task))


class Data(Protocol):
  """Settings of how batches are made: `Experiment.data`. A batch has `batch_rows` rows, each of
  `length` positions of the model."""

  batch_rows: int

  keeps_waves: bool
  """Whether recordings of training splits are saved with their streams."""

  answers: bool
  """Whether models trained on this data can generate and be scored."""

  @property
  def length(self) -> int: ...

  @property
  def prepared_by(self) -> tuple[int | str, ...]:
    """The settings that `prepare` depends on."""

  def check(self, tasks: Sequence[Task], streams: Sequence[str]) -> None:
    """Raises ConfigError for tasks that do not fit these settings."""

  def check_mesh(self, mesh: jax.sharding.Mesh) -> None:
    """Raises ConfigError for a mesh that a batch row cannot be split over."""

  def shapes(self, space: TokenSpace, tasks: Sequence[Task]) -> Batch:
    """Returns a whole batch as ShapeDtypeStructs."""

  def layouts(self, rule: Rule, tasks: Sequence[Task]) -> Mapping[str, Part]:
    """Returns the layout of each task by name, {} if batches have no grids."""

  def index(self, prepared: Prepared) -> None:
    """Writes the index of records by batch row; raises DataError for a task without any."""

  def check_index(self, prepared: Prepared) -> None:
    """Raises DataError or TokenSpaceError if the index is missing or of other records."""

  def feed(self, prepared: Prepared, tasks: Sequence[Task], split: str) -> Feed:
    """Returns the feed of a split."""

  def summary(self, prepared: Prepared, task: Task, split: str) -> dict[str, float]:
    """Returns the figures that `prepare` reports for a task in a split."""


class Specials(Protocol):
  """The attributes of an `objectives.base.Objective` that the data side uses."""

  @property
  def specials(self) -> tuple[str, ...]: ...


class RunSettings(Protocol):
  """The attributes that the data side uses of an `experiment.Experiment`, in a higher layer."""

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


def check_answers(data: Data) -> None:
  """Raises ConfigError if models trained on this data cannot generate or be scored."""
  if not data.answers:
    raise ConfigError(
      "This run trains on clips, with a model that has no outputs: there is nothing to generate or "
      "to score. Its held-out losses are in metrics.jsonl."
    )
