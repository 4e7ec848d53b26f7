"""Baselines for the scores, on examples of the same trials.

    untrained       the model before its first step: what the metrics give without any training
    nearest_copy    the target of the training example whose input has the smallest edit distance:
                    what memorizing gives
    units_ceiling   the reference recordings through units and back: the ceiling for speech out

Copies are scored by the known text of the copied target, also where it is speech: the kindest
transcript there is.
"""

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

import jax
import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from audiopalm import sharding
from audiopalm.data import spread
from audiopalm.data.cache import Entries, Entry
from audiopalm.data.prepared import Prepared
from audiopalm.evaluation import answers, trials
from audiopalm.evaluation.lines import NEAREST_COPY, UNITS_CEILING, UNTRAINED, Answer, Said
from audiopalm.evaluation.speech import Listening
from audiopalm.evaluation.suites import TaskKind
from audiopalm.evaluation.trials import Question, Trial
from audiopalm.inference.sampling import Beams, Sampling
from audiopalm.inference.trained import Trained
from audiopalm.metrics import text
from audiopalm.types import Side

CEILING_EXAMPLES = 100  # per language: sound is slow to make, and the mean hardly moves
UNTRAINED_EXAMPLES = 16  # per language: a model that knows nothing never stops
SEARCHED = 20_000  # training examples a copy is looked for in, evenly spread over the split
_SURROGATES = 0xD800, 0x800  # code points that are no characters


def answer(
  listening: Listening, seen: Sequence[Trial], search: Sampling | Beams, say: Callable[[str], None]
) -> Iterator[list[Answer]]:
  """Yields the answers of every baseline to every trial of `seen` that it answers."""
  trained = listening.trained
  fresh = _untrained(trained)
  for trial in seen:
    few = _few(trial, UNTRAINED_EXAMPLES)
    say(f"{trial.task.name}, {UNTRAINED}: {len(few.questions)} examples")
    yield answers.answer(fresh, few, listening, search, UNTRAINED)
  searches = Searches()
  for trial in seen:
    say(f"{trial.task.name}, {NEAREST_COPY}: {len(trial.questions)} examples")
    yield _copies(trained.prepared, trial, searches, listening.recognizer is not None)
  heard: dict[Hashable, Said] = {}
  for trial in seen:
    if trial.kind.speaks:
      few = _few(trial, CEILING_EXAMPLES)
      say(f"{trial.task.name}, {UNITS_CEILING}: {len(few.questions)} examples")
      yield _ceiling(listening, few, heard)


def _untrained(trained: Trained) -> Trained:
  """Returns the run before its first step."""
  key = jax.random.key(trained.experiment.seed)
  fresh = dataclasses.replace(
    trained, params=trained.model.init(key, sharding.mesh(trained.machine))
  )
  if not trained.variables:
    return fresh
  variables = trained.experiment.objective.variables(trained.model, fresh.params, key)
  return dataclasses.replace(fresh, variables=variables)


def _few(trial: Trial, each: int) -> Trial:
  first = trial.task.roles[0]
  numbers = trials.draw([question.languages[first] for question in trial.questions], each)
  return dataclasses.replace(
    trial, questions=tuple(trial.questions[number] for number in numbers), too_long=()
  )


@dataclasses.dataclass(frozen=True, eq=False)
class Pool:
  """Inputs of training examples as strings, one character a unit or word; words by number.

  Where no spaces separate words a word is a character.
  """

  numbers_N: np.ndarray
  inputs: list[str]
  words: dict[str, int]


@dataclasses.dataclass(frozen=True, eq=False)
class Searches:
  """Searches that trials share: pools by corpus and side, nearest inputs by queries."""

  pools: dict[Hashable, Pool] = dataclasses.field(default_factory=dict)
  nearest: dict[Hashable, np.ndarray] = dataclasses.field(default_factory=dict)


def _copies(prepared: Prepared, trial: Trial, searches: Searches, heard: bool) -> list[Answer]:
  """Returns the answers of `nearest_copy`; `heard` says whether a recognizer's transcripts of
  speech are scored too."""
  task, roles = trial.task, trial.task.roles
  entries, trained_N = prepared.entries(task, "train"), prepared.rows(task, "train").records
  side = task.inputs[0]
  pooled = (task.corpus, side, task.unseen_words)
  if pooled not in searches.pools:
    searches.pools[pooled] = _pool(trial.kind, entries, np.unique(trained_N), side)
  pool = searches.pools[pooled]
  asked_in = [tuple(question.languages[role] for role in roles) for question in trial.questions]
  copies: dict[int, Entry] = {}
  for languages in dict.fromkeys(asked_in):
    numbers = [number for number, codes in enumerate(asked_in) if codes == languages]
    known_N = np.ones(len(pool.numbers_N), bool)
    for role, code in zip(roles, languages, strict=True):
      known_N &= entries.languages[role][pool.numbers_N] == code
    if not known_N.any():  # no training example of these languages: there is nothing to copy
      continue
    queries = tuple(
      _characters(trial.kind, trial.questions[number].entry, side, pool) for number in numbers
    )
    search = (*pooled, queries, known_N.tobytes())
    if search not in searches.nearest:
      candidates = [pool.inputs[i] for i in np.flatnonzero(known_N)]
      searches.nearest[search] = nearest(queries, candidates)
    candidates_N = pool.numbers_N[known_N]
    for number, at in zip(numbers, searches.nearest[search], strict=True):
      copies[number] = entries[int(candidates_N[at])]
  return [
    Answer(
      NEAREST_COPY, task.name, trial.split, question.entry.id, question.language, question.voice,
      said=_copied(trial.kind, question.entry, copies[number], heard),
      new_words=question.new_words, zero_shot=question.zero_shot,
    )
    for number, question in enumerate(trial.questions)
    if number in copies
  ]  # fmt: skip


def _copied(kind: TaskKind, asked: Entry, copy: Entry, heard: bool) -> tuple[Said, ...]:
  return tuple(
    Said(
      f"{role}.{stream}",
      kind.modalities[stream],
      kind.measure(role),
      asked.utterances[role].text,
      copy.utterances[role].text,
      independent=copy.utterances[role].text if heard and (role, stream) in kind.spoken else None,
      language=asked.utterances[role].language,
    )
    for role, stream in kind.task.outputs
  )


def nearest(queries: Sequence[str], candidates: Sequence[str]) -> np.ndarray:
  """Returns for each query the number of the nearest candidate by edits, the first of equals."""
  numbers: list[int] = []
  for start in range(0, len(queries), 64):  # 64 rows of distances at a time, not all of them
    distances = process.cdist(
      queries[start : start + 64], candidates, scorer=Levenshtein.distance, workers=-1
    )
    numbers += distances.argmin(axis=1).tolist()
  return np.array(numbers, np.int64)


def _pool(kind: TaskKind, entries: Entries, trained_N: np.ndarray, side: Side) -> Pool:
  numbers_N = trained_N[spread.evenly(len(trained_N), SEARCHED)]
  pool = Pool(numbers_N, [], {})
  pool.inputs.extend(_characters(kind, entries[int(number)], side, pool) for number in numbers_N)
  return pool


def _characters(kind: TaskKind, entry: Entry, side: Side, pool: Pool) -> str:
  """Returns the input of an entry as a string: an edit of a character is one of a unit or word."""
  role, stream = side
  utterance = entry.utterances[role]
  if kind.modalities[stream] == "text":
    words = text.words(utterance.text, utterance.language)
    return _string(pool.words.setdefault(word, len(pool.words)) for word in words)
  ids = utterance.streams[stream]
  return _string((ids if ids.ndim == 1 else ids[:, 0]).tolist())  # of codes, the coarsest


def _string(numbers: Iterable[int]) -> str:
  first, count = _SURROGATES
  return "".join(chr(number if number < first else number + count) for number in numbers)


def _ceiling(listening: Listening, trial: Trial, heard: dict[Hashable, Said]) -> list[Answer]:
  """Returns the answers of `units_ceiling`. `heard` keeps recordings that several tasks speak."""
  task, spoken = trial.task, trial.kind.spoken

  def key(question: Question, side: Side) -> Hashable:
    return (task.corpus, trial.split, question.entry.id, *side)

  new = [
    question
    for question in trial.questions
    if any(key(question, side) not in heard for side in spoken)
  ]
  streams = [
    {".".join(side): question.streams[".".join(side)] for side in spoken} for question in new
  ]
  few = dataclasses.replace(trial, questions=tuple(new))
  said = answers.outputs(listening, few, streams, UNITS_CEILING)
  for question, outputs in zip(new, said, strict=True):
    heard |= {key(question, side): output for side, output in zip(spoken, outputs, strict=True)}
  return [
    Answer(
      UNITS_CEILING, task.name, trial.split, question.entry.id, question.language, question.voice,
      said=tuple(
        dataclasses.replace(heard[key(question, side)], measure=trial.kind.measure(side[0]))
        for side in spoken
      ),
    )
    for question in trial.questions
  ]  # fmt: skip
