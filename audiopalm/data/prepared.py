"""What `prepare` leaves for training, evaluation and generation, opened from its files."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audiopalm.data import cache, feeds, rows
from audiopalm.data.cache import Entries
from audiopalm.data.rows import RowIndex
from audiopalm.errors import ConfigError
from audiopalm.tokens.space import TokenSpace
from audiopalm.types import Side, Task


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
  """The data side of a run: no TensorFlow, no synthesizer; files are opened when asked for."""

  tasks: tuple[Task, ...]
  tokenizers: Mapping[str, Any]  # stream: fitted tokenizer
  layouts: Mapping[str, Any]  # task name: layout
  space: TokenSpace
  manifest: Mapping[str, Any]
  manifest_hash: str
  data: feeds.Data
  streams_dir: Path
  rows_dir: Path
  longest: Mapping[str, Mapping[str, int]] | None = None  # what an imported run has for entries

  def task(self, name: str) -> Task:
    """Returns the task of this name; ConfigError listing those there are."""
    for task in self.tasks:
      if task.name == name:
        return task
    raise ConfigError(
      f"Unknown task {name!r}. This run has {', '.join(task.name for task in self.tasks)}."
    )

  def entries(self, of: Task | Any, split: str) -> Entries:
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
    trained = self.rows(task, "train").records
    return int(self.entries(task, "train").lengths[address][trained].max())

  def folder(self, corpus: Any) -> Path:
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
  def _entries(self, corpus: Any, split: str) -> Entries:
    return cache.open_split(self.folder(corpus), split)

  @functools.cache  # noqa: B019
  def _rows(self, task: Task, split: str) -> RowIndex:
    path = rows.path_of(self.rows_dir, task, split, self.data.row_length)
    return rows.load(path, self.rows_made_from(task))
