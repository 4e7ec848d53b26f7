"""Which examples of which task and split an evaluation asks for."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from audiopalm import layouts
from audiopalm.data import examples, feeds, rows
from audiopalm.errors import ConfigError
from audiopalm.evaluation import suites
from audiopalm.evaluation.scoring import HELD_OUT, SEEN
from audiopalm.inference import prompting
from audiopalm.types import Grid, Task


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
  """One record of a split as one task sees it: its ids by stream, its tag, and the grid they make.

  `language`, `voice`, `new_words` and `zero_shot` are those of `lines.Line`.
  """

  entry: Any
  streams: Mapping[str, np.ndarray]
  languages: Mapping[str, str]
  language: str
  voice: str | None
  tag: str
  grid: Grid
  new_words: bool
  zero_shot: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
  """The examples of a task in a split, and the ids of those that a row cannot hold."""

  task: Task
  split: str
  examples: tuple[Example, ...]
  too_long: tuple[str, ...] = ()

  @property
  def decoded(self) -> bool:
    """Whether there is an answer to decode: a task without inputs has likelihoods alone."""
    return bool(self.task.inputs)


def trials(experiment: Any, prepared: Any, names: Sequence[str] | None = None) -> Iterator[Trial]:
  """Yields the trials of the tasks named (None: all), seen voices first, then held-out voices.

  Each holds `experiment.evaluation.examples` examples per language of its first side, or all
  there are (see `draw`). Held-out voices are asked only of tasks that hear them, with a quarter of
  the examples where the task also speaks.
  """
  for split in (SEEN, HELD_OUT):
    for task in chosen(experiment, names):
      if split in task.corpus.splits and (split == SEEN or suites.hears(task, prepared)):
        trial = _trial(task, split, experiment, prepared)
        if trial.examples or trial.too_long:
          yield trial


def chosen(experiment: Any, names: Sequence[str] | None) -> list[Task]:
  """Returns the tasks named (None: all) in the order of the mixture; ConfigError for others."""
  feeds.check_answers(experiment.data)
  known = [task.name for task in experiment.tasks]
  for name in names or ():
    if name not in known:
      raise ConfigError(f"Unknown task {name!r}. This run was trained on: {', '.join(known)}.")
  return [task for task in experiment.tasks if names is None or task.name in names]


def draw(groups: Sequence[str], each: int) -> list[int]:
  """Returns the numbers of `each` members of every group (all, if it has fewer), in order.

  Drawn at random, always the same: an even step could fall in with voices that take turns.

      draw(["en", "en", "fr", "en"], 2)  ->  [0, 2, 3]
  """
  random = np.random.default_rng(0)
  numbers: list[int] = []
  for group in dict.fromkeys(groups):
    members = [number for number, one in enumerate(groups) if one == group]
    numbers += random.permutation(members)[:each].tolist()
  return sorted(numbers)


def describe(task: Task, entry: Any, prepared: Any) -> tuple[dict[str, str], str, str | None]:
  """Returns (languages by role, language, voice) of a record in a task."""
  languages = {role: entry.languages[role] for role in suites.roles(task)}
  first, last = task.sides[0][0], task.outputs[-1][0]
  language = "-".join(dict.fromkeys((languages[first], languages[last])))
  voice = None
  if suites.hears(task, prepared):
    voice = entry.utterances[first].speaker
  elif suites.speaks(task, prepared):
    voice = entry.utterances[last].speaker
  return languages, language, voice


def _trial(task: Task, split: str, experiment: Any, prepared: Any) -> Trial:
  layout, space = prompting.asked_layout(experiment, task), prepared.space
  names = layouts.stream_names(layout)
  entries = prepared.entries(task, split)
  if not len(entries):  # a corpus may hold no voices out
    return Trial(task, split, ())
  each = experiment.evaluation.examples
  if split == HELD_OUT and suites.speaks(task, prepared):
    each = -(-each // 4)  # sound is slow to make, and what voices change is what is heard
  there_N = np.flatnonzero(rows.having(task, layout, entries))
  drawn = draw(list(entries.languages[task.sides[0][0]][there_N]), each)
  chosen = there_N[drawn].tolist()
  fitting, too_long = [], []
  for number in chosen:
    entry = entries[number]
    languages, language, voice = describe(task, entry, prepared)
    streams = {name: entry.streams[name] for name in names}
    tag = layouts.tag_of(task, entry.languages)
    key = examples.key_of(0, entry.id, 0)
    grid = examples.laid_out(layout, space, entry, tag, key)
    if len(grid) > experiment.data.row_length:
      too_long.append(entry.id)
      continue
    new_words = examples.has_unseen_word(task, entry)
    zero_shot = "-".join(languages[role] for role in task.from_to) in task.unseen_pairs
    fitting.append(
      Example(entry, streams, languages, language, voice, tag, grid, new_words, zero_shot)
    )
  return Trial(task, split, tuple(fitting), tuple(too_long))
