"""The examples of each task and split that an evaluation uses, and a model's answers to them."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from audiopalm import layouts
from audiopalm.data import examples
from audiopalm.data.cache import Entry
from audiopalm.data.examples import Examples
from audiopalm.evaluation import likelihoods, speech
from audiopalm.evaluation.answers import MODEL, Answer, Output
from audiopalm.evaluation.scoring import HELD_OUT, SEEN
from audiopalm.evaluation.sound import Spoken
from audiopalm.evaluation.speech import Listening
from audiopalm.evaluation.suites import TaskKind
from audiopalm.inference import prompting
from audiopalm.inference.sampling import Beams, Sampling
from audiopalm.inference.trained import Trained
from audiopalm.types import Grid, Task


@dataclasses.dataclass(frozen=True, eq=False)
class Question:
  """One record of a split as one task sees it: its ids by stream, its tag, and their grid.

  `language`, `voice`, `new_words` and `zero_shot` are those of `answers.Answer`.
  """

  entry: Entry
  streams: Mapping[str, np.ndarray]
  language: str
  voice: str | None
  tag: str
  grid: Grid
  new_words: bool
  zero_shot: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
  """The questions of a task in a split, and the ids of records that are longer than a row."""

  kind: TaskKind
  split: str
  questions: tuple[Question, ...]
  too_long: tuple[str, ...] = ()

  @property
  def task(self) -> Task:
    return self.kind.task


def trials(trained: Trained, kinds: Iterable[TaskKind]) -> Iterator[Trial]:
  """Yields the trials of these tasks on the test split, then those on held-out voices.

  Only tasks with speech input have trials on held-out voices. Trials without records are omitted.
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

  It is a quarter of them on held-out voices if the task outputs speech, and all records of a
  language that has fewer.
  """
  task, experiment = kind.task, trained.experiment
  layout, space = prompting.asked_layout(experiment.layout, task), trained.prepared.space
  entries = trained.prepared.entries(task, split)
  if not len(entries):  # a corpus may have no held-out voices
    return Trial(kind, split, ())
  count = experiment.evaluation.examples
  if split == HELD_OUT and kind.spoken:
    count = -(-count // 4)  # synthesis is slow, and held-out voices matter for the input
  candidates = Examples(task, layout, space, entries)
  numbers_N = np.flatnonzero(candidates.having())
  drawn = draw(list(entries.languages[task.roles[0]][numbers_N]), count)
  questions, too_long = [], []
  for number in numbers_N[drawn].tolist():
    entry = entries[number]
    tag = layouts.tag_of(task, entry.languages)
    grid = candidates.grid(entry, template=0)
    if len(grid) > experiment.data.row_length:
      too_long.append(entry.id)
      continue
    streams = {name: entry.streams[name] for name in layouts.stream_names(layout)}
    language, voice = describe(kind, entry)
    new_words = examples.has_unseen_word(task, entry)
    zero_shot = "-".join(entry.languages[role] for role in task.from_to) in task.unseen_pairs
    questions.append(Question(entry, streams, language, voice, tag, grid, new_words, zero_shot))
  return Trial(kind, split, tuple(questions), tuple(too_long))


def draw(groups: Sequence[str], count: int) -> list[int]:
  """Returns the indices of `count` members of each group (all, if it has fewer), in order.

  They are drawn at random with a fixed seed: a fixed step could always meet the same voice.

      draw(["en", "en", "fr", "en"], 2)  ->  [0, 2, 3]
  """
  random = np.random.default_rng(0)
  numbers: list[int] = []
  for group in dict.fromkeys(groups):
    members = [number for number, name in enumerate(groups) if name == group]
    numbers += random.permutation(members)[:count].tolist()
  return sorted(numbers)


def describe(kind: TaskKind, entry: Entry) -> tuple[str, str | None]:
  """Returns (language, voice) of a record in a task, as in `answers.Answer`."""
  first, last = kind.task.from_to
  language = "-".join(dict.fromkeys((entry.languages[first], entry.languages[last])))
  speaker = entry.utterances[first if kind.hears else last].speaker
  return language, speaker if kind.hears or kind.spoken else None


def answer(
  trained: Trained,
  trial: Trial,
  listening: Listening,
  search: Sampling | Beams,
  system: str = MODEL,
) -> list[Answer]:
  """Returns the answer to each question of the trial, in order, then one per record left out.

  Each has the likelihood of the reference answer and, if the task has inputs, the model's outputs.
  """
  task, questions = trial.task, trial.questions
  grids = [question.grid for question in questions]
  sums = likelihoods.of_examples(trained, grids)
  produced, complete = [()] * len(questions), [True] * len(questions)
  if task.inputs:
    prompts = [_prompt(trained, task, question) for question in questions]
    rows = (len(grid) - len(prompt.grid) for grid, prompt in zip(grids, prompts, strict=True))
    longest = max(rows, default=0)
    continuations = speech.decode(trained, task, prompts, search, longest)
    complete = [continuation.complete for continuation in continuations]
    streams = [continuation.streams for continuation in continuations]
    produced = outputs(listening, trial, streams, system)
  answers = [
    Answer(
      system, task.name, trial.split, question.entry.id, question.language, question.voice,
      produced[number], complete[number], sums[number], question.new_words, question.zero_shot,
      decoding=str(search) if task.inputs else None,
    )
    for number, question in enumerate(questions)
  ]  # fmt: skip
  return answers + [
    Answer(system, task.name, trial.split, id, "", None, (), left_out=True) for id in trial.too_long
  ]


def _prompt(trained: Trained, task: Task, question: Question) -> prompting.Prompt:
  """Returns the prompt of a question: the first rows of its grid, or of the layout's prompt grid if
  it `arranges` streams, since it then masks other parts of a stream in training."""
  layout, grid = prompting.asked_layout(trained.experiment.layout, task), question.grid
  if layout.arranges:
    grid = layouts.prompt(layout, question.streams, question.tag, trained.prepared.space)
  return prompting.Prompt(question.streams, question.tag, grid=grid.first(grid.prompt_rows))


def outputs(
  listening: Listening, trial: Trial, streams: Sequence[Mapping[str, np.ndarray]], system: str
) -> list[tuple[Output, ...]]:
  """Returns the task's outputs for each question, from predicted ids; speech goes to listeners.

  Outputs that `streams` lacks are omitted.
  """
  task, columns = trial.task, []
  folder = listening.folder / "waves" / system / trial.split / task.name
  for role, stream in task.outputs:
    address = f"{role}.{stream}"
    if not all(address in by_address for by_address in streams):
      continue
    modality, measure = trial.kind.modalities[stream], trial.kind.measure(role)
    tokenizer = listening.trained.prepared.tokenizers[stream]
    column, spoken = [], []
    for question, by_address in zip(trial.questions, streams, strict=True):
      right, ids_T = question.entry.utterances[role], by_address[address]
      text = tokenizer.decode(ids_T) if modality == "text" else None
      column.append(Output(address, modality, measure, right.text, text, language=right.language))
      if modality == "speech":
        path = folder / f"{question.entry.id.replace('/', '-')}-{role}.wav"
        voice = speech.voice_for(tokenizer, task.corpus, right)
        spoken.append(
          Spoken(path, right.language, right.wave_flac, ids=ids_T, stream=stream, voice=voice)
        )
    columns.append(speech.listen(listening, spoken, column) if modality == "speech" else column)
  return list(zip(*columns, strict=True)) or [()] * len(trial.questions)
