"""What `prepare` leaves for training, evaluation and generation, opened from its files."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audiopalm.data import cache, rows
from audiopalm.data.cache import Entries
from audiopalm.data.corpora import CorpusSettings
from audiopalm.data.feeds import Data
from audiopalm.data.rows import RowIndex
from audiopalm.errors import ConfigError
from audiopalm.layouts.cells import Part
from audiopalm.tokenizers.base import Fitted
from audiopalm.tokens import space as token_space
from audiopalm.types import Side, Task


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
  """The data side of a run: no TensorFlow, no synthesizer; files are opened when asked for."""

  tasks: tuple[Task, ...]
  tokenizers: Mapping[str, Fitted]  # by stream
  layouts: Mapping[str, Part]  # by task
  space: token_space.TokenSpace
  data: Data
  workdir: Path
  streams_dir: Path
  longest: Mapping[str, Mapping[str, int]] | None = None  # what an imported run has for entries

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
    """Returns the task of this name; ConfigError listing those there are."""
    for task in self.tasks:
      if task.name == name:
        return task
    raise ConfigError(
      f"Unknown task {name!r}. This run was trained on: {', '.join(t.name for t in self.tasks)}."
    )

  def entries(self, of: Task | CorpusSettings, split: str) -> Entries:
    """Returns the entries of a corpus, or of a task's corpus, by number."""
    return self._entries(of.corpus if isinstance(of, Task) else of, split)

  def rows(self, task: Task | str, split: str) -> RowIndex:
    """Returns which examples of a task share which row."""
    return self._rows(self.task(task) if isinstance(task, str) else task, split)

  def longest_input(self, task: Task, side: Side) -> int:
    """Returns the frames of the longest stream of this side that the task is trained on."""
    address = ".".join(side)
    if self.longest is not None:
      return self.longest[task.name][address]
    trained_N = self.rows(task, "train").records
    return int(self.entries(task, "train").lengths[address][trained_N].max())

  def folder(self, corpus: CorpusSettings) -> Path:
    """Returns where the streams of a corpus lie."""
    specs = {name: tokenizer.spec for name, tokenizer in self.tokenizers.items()}
    return cache.folder_of(self.streams_dir, corpus, specs, self.data.keeps_waves)

  def rows_made_from(self, task: Task) -> dict[str, Any]:
    """Returns what a row index of this task must have been made from."""
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
