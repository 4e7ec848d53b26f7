"""Which examples of which task and split an evaluation asks for."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from audiopalm import layouts
from audiopalm.data import examples, rows
from audiopalm.data.cache import Entry
from audiopalm.evaluation.scoring import HELD_OUT, SEEN
from audiopalm.evaluation.suites import TaskKind
from audiopalm.inference import prompting
from audiopalm.inference.trained import Trained
from audiopalm.types import Grid, Task


@dataclasses.dataclass(frozen=True, eq=False)
class Question:
  """One record of a split as one task sees it: its ids by stream, its tag, and the grid they make.

  `language`, `voice`, `new_words` and `zero_shot` are those of `lines.Answer`.
  """

  entry: Entry
  streams: Mapping[str, np.ndarray]
  languages: Mapping[str, str]
  language: str
  voice: str | None
  tag: str
  grid: Grid
  new_words: bool
  zero_shot: bool

  @property
  def answer_rows(self) -> int:
    """How many rows of the grid are the right answer."""
    return len(self.grid) - examples.prompt_rows(self.grid)


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
  """The questions of a task in a split, and the ids of the records that a row cannot hold."""

  kind: TaskKind
  split: str
  questions: tuple[Question, ...]
  too_long: tuple[str, ...] = ()

  @property
  def task(self) -> Task:
    return self.kind.task

  @property
  def decoded(self) -> bool:
    """Whether there is an answer to decode: a task without inputs has likelihoods alone."""
    return bool(self.task.inputs)


def trials(trained: Trained, kinds: Iterable[TaskKind]) -> Iterator[Trial]:
  """Yields the trials of these tasks, on seen voices first, then on held-out voices.

  Held-out voices are asked only of tasks that hear them. Trials without any record are left out.
  """
  kinds = list(kinds)
  for split in (SEEN, HELD_OUT):
    for kind in kinds:
      if split in kind.task.corpus.splits and (split == SEEN or kind.hears):
        trial = of_split(trained, kind, split)
        if trial.questions or trial.too_long:
          yield trial


def of_split(trained: Trained, kind: TaskKind, split: str) -> Trial:
  """Returns `experiment.evaluation.examples` questions per language of the task's first side.

  All there are where these are fewer (`draw`), a quarter of them on held-out voices where the task
  speaks.
  """
  task, experiment = kind.task, trained.experiment
  layout, space = prompting.asked_layout(experiment, task), trained.prepared.space
  stream_names = layouts.stream_names(layout)
  entries = trained.prepared.entries(task, split)
  if not len(entries):  # a corpus may hold no voices out
    return Trial(kind, split, ())
  each = experiment.evaluation.examples
  if split == HELD_OUT and kind.speaks:
    each = -(-each // 4)  # sound is slow to make, and what voices change is what is heard
  numbers_N = np.flatnonzero(rows.having(task, layout, entries))
  drawn = draw(list(entries.languages[task.roles[0]][numbers_N]), each)
  questions, too_long = [], []
  for number in numbers_N[drawn].tolist():
    entry = entries[number]
    languages, language, voice = describe(kind, entry)
    streams = {name: entry.streams[name] for name in stream_names}
    tag = layouts.tag_of(task, entry.languages)
    grid = examples.laid_out(layout, space, entry, tag, examples.key_of(0, entry.id, 0))
    if len(grid) > experiment.data.row_length:
      too_long.append(entry.id)
      continue
    new_words = examples.has_unseen_word(task, entry)
    zero_shot = "-".join(languages[role] for role in task.from_to) in task.unseen_pairs
    questions.append(
      Question(entry, streams, languages, language, voice, tag, grid, new_words, zero_shot)
    )
  return Trial(kind, split, tuple(questions), tuple(too_long))


def draw(groups: Sequence[str], each: int) -> list[int]:
  """Returns the numbers of `each` members of every group (all, if it has fewer), in order.

  Drawn at random, always the same: an even step could fall in with voices that take turns.

      draw(["en", "en", "fr", "en"], 2)  ->  [0, 2, 3]
  """
  random = np.random.default_rng(0)
  numbers: list[int] = []
  for group in dict.fromkeys(groups):
    members = [number for number, name in enumerate(groups) if name == group]
    numbers += random.permutation(members)[:each].tolist()
  return sorted(numbers)


def describe(kind: TaskKind, entry: Entry) -> tuple[dict[str, str], str, str | None]:
  """Returns (languages by role, language, voice) of a record in a task."""
  languages = {role: entry.languages[role] for role in kind.task.roles}
  first, last = kind.task.from_to
  language = "-".join(dict.fromkeys((languages[first], languages[last])))
  voice = None
  if kind.hears:
    voice = entry.utterances[first].speaker
  elif kind.speaks:
    voice = entry.utterances[last].speaker
  return languages, language, voice
