"""Baselines, scored on examples of the same trials as the model.

    untrained       the model at initialization: the scores without any training
    nearest_copy    the target of the training example whose input has the smallest edit distance:
                    the scores of memorization
    units_ceiling   reference recordings encoded as units and decoded: the best speech output can be

A copy is scored by the text of the copied target, even if that is speech, as if a recognizer had
transcribed it without errors.
"""

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

import jax
import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from audiopalm import sharding
from audiopalm.data import spread
from audiopalm.data.cache import Entry
from audiopalm.evaluation import trials
from audiopalm.evaluation.answers import NEAREST_COPY, UNITS_CEILING, UNTRAINED, Answer, Output
from audiopalm.evaluation.speech import Listening
from audiopalm.evaluation.suites import TaskKind
from audiopalm.evaluation.trials import Trial
from audiopalm.inference.sampling import Beams, Sampling
from audiopalm.inference.trained import Trained
from audiopalm.metrics import text
from audiopalm.types import Side

CEILING_EXAMPLES = 100  # per language: synthesis is slow, and more examples hardly move the mean
UNTRAINED_EXAMPLES = 16  # per language: an untrained model always decodes to the maximum length
SEARCHED = 20_000  # most training examples searched for a copy, spread evenly over the split
_SURROGATES = 0xD800, 0x800  # the first of the surrogate code points and their count


def answer(
  listening: Listening, seen: Sequence[Trial], search: Sampling | Beams, say: Callable[[str], None]
) -> Iterator[list[Answer]]:
  """Yields the answers of each baseline to each trial; trials without speech have no ceiling."""
  trained = listening.trained
  fresh = _untrained(trained)
  for trial in seen:
    few = _few(trial, UNTRAINED_EXAMPLES)
    say(f"{trial.task.name}, {UNTRAINED}: {len(few.questions)} examples")
    yield trials.answer(fresh, few, listening, search, UNTRAINED)
  copier = Copier(trained)
  for trial in seen:
    say(f"{trial.task.name}, {NEAREST_COPY}: {len(trial.questions)} examples")
    yield copier.answer(trial, listening.recognizer is not None)
  heard: dict[Hashable, Output] = {}
  for trial in seen:
    if trial.kind.spoken:
      few = _few(trial, CEILING_EXAMPLES)
      say(f"{trial.task.name}, {UNITS_CEILING}: {len(few.questions)} examples")
      yield _ceiling(listening, few, heard)


def _untrained(trained: Trained) -> Trained:
  key = jax.random.key(trained.experiment.seed)
  params = trained.model.init(key, sharding.mesh(trained.machine))
  variables = trained.variables
  if variables:
    variables = trained.experiment.objective.variables(trained.model, params, key)
  return dataclasses.replace(trained, params=params, variables=variables)


def _few(trial: Trial, count: int) -> Trial:
  first = trial.task.roles[0]
  languages = [question.entry.languages[first] for question in trial.questions]
  questions = tuple(trial.questions[number] for number in trials.draw(languages, count))
  return dataclasses.replace(trial, questions=questions, too_long=())


@dataclasses.dataclass(frozen=True, eq=False)
class Pool:
  """Inputs of training examples as strings for edit distances: a character encodes one unit id, or
  the index in `words` of one word.

  In languages without spaces between words, a word is a character.
  """

  kind: TaskKind
  side: Side
  numbers_N: np.ndarray  # indices of the entries
  inputs: list[str] = dataclasses.field(default_factory=list)
  words: dict[str, int] = dataclasses.field(default_factory=dict)

  def string(self, entry: Entry) -> str:
    """Returns the encoded input of an entry."""
    role, stream = self.side
    utterance = entry.utterances[role]
    if self.kind.modalities[stream] == "text":
      words = text.words(utterance.text, utterance.language)
      return _string(self.words.setdefault(word, len(self.words)) for word in words)
    ids = utterance.streams[stream]
    return _string((ids if ids.ndim == 1 else ids[:, 0]).tolist())  # the first codebook


class Copier:
  """The baseline `nearest_copy`. Trials with the same corpus and input share pools and searches."""

  def __init__(self, trained: Trained):
    self._prepared = trained.prepared
    self._pools: dict[Hashable, Pool] = {}
    self._nearest: dict[Hashable, np.ndarray] = {}

  def answer(self, trial: Trial, heard: bool) -> list[Answer]:
    """Returns the answers to a trial. If `heard`, the copied text is also the independent
    transcript of speech outputs."""
    task = trial.task
    entries = self._prepared.entries(task, "train")
    pooled = (task.corpus, task.inputs[0], task.unseen_words)
    if pooled not in self._pools:
      trained_N = np.unique(self._prepared.rows(task, "train").records)
      numbers_N = trained_N[spread.evenly(len(trained_N), SEARCHED)]
      pool = self._pools[pooled] = Pool(trial.kind, task.inputs[0], numbers_N)
      pool.inputs.extend(pool.string(entries[int(number)]) for number in numbers_N)
    pool = self._pools[pooled]
    groups: dict[tuple[str, ...], list[int]] = {}
    for number, question in enumerate(trial.questions):
      languages = tuple(question.entry.languages[role] for role in task.roles)
      groups.setdefault(languages, []).append(number)
    copies: dict[int, Entry] = {}
    for languages, numbers in groups.items():
      known_N = np.ones(len(pool.numbers_N), bool)
      for role, code in zip(task.roles, languages, strict=True):
        known_N &= entries.languages[role][pool.numbers_N] == code
      if not known_N.any():  # no training example of these languages: there is nothing to copy
        continue
      queries = tuple(pool.string(trial.questions[number].entry) for number in numbers)
      search = (*pooled, queries, known_N.tobytes())
      if search not in self._nearest:
        candidates = [pool.inputs[i] for i in np.flatnonzero(known_N)]
        self._nearest[search] = nearest(queries, candidates)
      copied_N = pool.numbers_N[known_N][self._nearest[search]]
      copies |= {number: entries[int(i)] for number, i in zip(numbers, copied_N, strict=True)}
    return [
      Answer(
        NEAREST_COPY, task.name, trial.split, question.entry.id, question.language, question.voice,
        _copied(trial.kind, question.entry, copies[number], heard),
        new_words=question.new_words, zero_shot=question.zero_shot,
      )
      for number, question in enumerate(trial.questions)
      if number in copies
    ]  # fmt: skip


def _copied(kind: TaskKind, entry: Entry, copy: Entry, heard: bool) -> tuple[Output, ...]:
  outputs = []
  for role, stream in kind.task.outputs:
    right, copied = entry.utterances[role], copy.utterances[role].text
    independent = copied if heard and (role, stream) in kind.spoken else None
    outputs.append(
      Output(
        f"{role}.{stream}", kind.modalities[stream], kind.measure(role), right.text, copied,
        independent=independent, language=right.language,
      )
    )  # fmt: skip
  return tuple(outputs)


def nearest(queries: Sequence[str], candidates: Sequence[str]) -> np.ndarray:
  """Returns, for each query, the index of the candidate with the smallest edit distance."""
  numbers: list[int] = []
  for start in range(0, len(queries), 64):  # batches bound the memory
    distances = process.cdist(
      queries[start : start + 64], candidates, scorer=Levenshtein.distance, workers=-1
    )
    numbers += distances.argmin(axis=1).tolist()
  return np.array(numbers, np.int64)


def _string(numbers: Iterable[int]) -> str:
  first, count = _SURROGATES
  return "".join(chr(number if number < first else number + count) for number in numbers)


def _ceiling(listening: Listening, trial: Trial, heard: dict[Hashable, Output]) -> list[Answer]:
  """Returns the answers of `units_ceiling`. `heard` caches outputs that several tasks share."""
  task, spoken = trial.task, trial.kind.spoken
  keys = {
    question.entry.id: [(task.corpus, trial.split, question.entry.id, *side) for side in spoken]
    for question in trial.questions
  }
  new = [question for question in trial.questions if not heard.keys() >= {*keys[question.entry.id]}]
  addresses = [".".join(side) for side in spoken]
  streams = [{address: question.streams[address] for address in addresses} for question in new]
  few = dataclasses.replace(trial, questions=tuple(new))
  for question, outputs in zip(
    new, trials.outputs(listening, few, streams, UNITS_CEILING), strict=True
  ):
    heard |= zip(keys[question.entry.id], outputs, strict=True)
  return [
    Answer(
      UNITS_CEILING, task.name, trial.split, question.entry.id, question.language, question.voice,
      tuple(
        dataclasses.replace(heard[key], measure=trial.kind.measure(role))
        for key, (role, _) in zip(keys[question.entry.id], spoken, strict=True)
      ),
    )
    for question in trial.questions
  ]  # fmt: skip
