"""What the scores are to be compared with, on examples of the same trials.

    untrained       the model before its first step: what its size and the metrics give for nothing
    nearest_copy    the target of the training example whose input has the smallest edit distance:
                    what remembering gives
    units_ceiling   the reference recordings through units and back: the best speech out can reach

Copies are scored by the known text of the copied target, also where it is speech: the kindest
transcript there is.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from audiopalm import sharding
from audiopalm.data import spread
from audiopalm.evaluation import answers, lines, speech, suites, trials
from audiopalm.evaluation.lines import NEAREST_COPY, UNITS_CEILING, UNTRAINED
from audiopalm.inference.trained import Trained
from audiopalm.metrics import text

CEILING_EXAMPLES = 100  # per language: sound is slow to make, and the mean hardly moves
UNTRAINED_EXAMPLES = 16  # per language: a model that knows nothing never stops
SEARCHED = 20_000  # training examples a copy is looked for in, evenly spread over the split
_SURROGATES = 0xD800, 0x800  # code points that are no characters


def answer(
  trained: Trained,
  seen: Sequence[trials.Trial],
  folder: Path,
  listener: speech.Listener,
  say: Callable[[str], None],
) -> Iterator[list[lines.Line]]:
  """Yields the lines of every baseline for every trial it answers."""
  key = jax.random.key(trained.experiment.seed)
  fresh = dataclasses.replace(
    trained, params=trained.model.init(key, sharding.mesh(trained.machine))
  )
  if trained.variables:
    objective = trained.experiment.objective
    variables = objective.variables(trained.model, fresh.params, key)
    fresh = dataclasses.replace(fresh, variables=variables)
  for trial in seen:
    few = _few(trial, UNTRAINED_EXAMPLES)
    say(f"{trial.task.name}, {UNTRAINED}: {len(few.examples)} examples")
    yield answers.answer(fresh, few, folder, listener, UNTRAINED)
  nearest: dict[Any, np.ndarray] = {}
  for trial in seen:
    say(f"{trial.task.name}, {NEAREST_COPY}: {len(trial.examples)} examples")
    yield _copies(trained.prepared, trial, nearest, listener.recognizer is not None)
  heard: dict[Any, lines.Said] = {}
  for trial in seen:
    if suites.speaks(trial.task, trained.prepared):
      few = _few(trial, CEILING_EXAMPLES)
      say(f"{trial.task.name}, {UNITS_CEILING}: {len(few.examples)} examples")
      yield _ceiling(listener, few, folder, heard)


def _few(trial: trials.Trial, each: int) -> trials.Trial:
  first = trial.task.sides[0][0]
  chosen = trials.draw([one.languages[first] for one in trial.examples], each)
  return dataclasses.replace(
    trial, examples=tuple(trial.examples[number] for number in chosen), too_long=()
  )


def _copies(
  prepared: Any, trial: trials.Trial, searches: dict[Any, Any], heard: bool
) -> list[lines.Line]:
  """Returns the lines of `nearest_copy`. `searches` keeps what other trials can use again, `heard`
  says whether a recognizer's transcripts of speech are scored too."""
  task, roles = trial.task, suites.roles(trial.task)
  entries, trained_N = prepared.entries(task, "train"), prepared.rows(task, "train").records
  side = task.inputs[0]
  pooled = (task.corpus, side, task.unseen_words)
  if pooled not in searches:
    searches[pooled] = _pool(prepared, entries, np.unique(trained_N), side)
  pool = searches[pooled]
  spoken_by = [tuple(one.languages[role] for role in roles) for one in trial.examples]
  copies: dict[int, Any] = {}
  for languages in dict.fromkeys(spoken_by):
    asked = [number for number, one in enumerate(spoken_by) if one == languages]
    known_N = np.ones(len(pool.numbers_N), bool)
    for role, code in zip(roles, languages, strict=True):
      known_N &= entries.languages[role][pool.numbers_N] == code
    if not known_N.any():  # no training example of these languages: there is nothing to copy
      continue
    queries = tuple(
      _characters(prepared, trial.examples[number].entry, side, pool) for number in asked
    )
    search = (*pooled, queries, known_N.tobytes())
    if search not in searches:
      searches[search] = nearest(queries, [pool.inputs[i] for i in np.flatnonzero(known_N)])
    candidates_N = pool.numbers_N[known_N]
    for number, at in zip(asked, searches[search], strict=True):
      copies[number] = entries[int(candidates_N[at])]
  return [
    lines.Line(
      NEAREST_COPY, task.name, trial.split, one.entry.id, one.language, one.voice,
      said=_copied(prepared, task, one.entry, copies[number], heard), new_words=one.new_words,
      zero_shot=one.zero_shot,
    )
    for number, one in enumerate(trial.examples)
    if number in copies
  ]  # fmt: skip


def _copied(prepared: Any, task: Any, asked: Any, copy: Any, heard: bool) -> tuple[lines.Said, ...]:
  return tuple(
    lines.Said(
      f"{role}.{stream}",
      prepared.tokenizers[stream].spec.modality,
      suites.measure(task, role),
      asked.utterances[role].text,
      copy.utterances[role].text,
      independent=copy.utterances[role].text if heard and _speech(prepared, stream) else None,
      language=asked.utterances[role].language,
    )
    for role, stream in task.outputs
  )


def _speech(prepared: Any, stream: str) -> bool:
  return prepared.tokenizers[stream].spec.modality == "speech"


def nearest(queries: Sequence[str], candidates: Sequence[str]) -> np.ndarray:
  """Returns for each query the number of the nearest candidate by edits, the first of equals."""
  found = []
  for start in range(0, len(queries), 64):  # 64 rows of distances at a time, not all of them
    distances = process.cdist(
      queries[start : start + 64], candidates, scorer=Levenshtein.distance, workers=-1
    )
    found += distances.argmin(axis=1).tolist()
  return np.array(found, np.int64)


@dataclasses.dataclass(frozen=True, eq=False)
class _Pool:
  """Inputs of training examples as strings, one character a unit or word; words by number.

  Where no spaces separate words a word is a character.
  """

  numbers_N: np.ndarray
  inputs: list[str]
  words: dict[str, int]


def _pool(prepared: Any, entries: Any, trained_N: np.ndarray, side: tuple[str, str]) -> _Pool:
  numbers_N = trained_N[spread.evenly(len(trained_N), SEARCHED)]
  pool = _Pool(numbers_N, [], {})
  pool.inputs.extend(
    _characters(prepared, entries[int(number)], side, pool) for number in numbers_N
  )
  return pool


def _characters(prepared: Any, entry: Any, side: tuple[str, str], pool: _Pool) -> str:
  """Returns the input of an entry as a string: an edit of a character is one of a unit or word."""
  role, stream = side
  if prepared.tokenizers[stream].spec.modality == "text":
    said = entry.utterances[role]
    words = text.words(said.text, said.language)
    return _string(pool.words.setdefault(word, len(pool.words)) for word in words)
  ids = entry.utterances[role].streams[stream]
  return _string((ids if ids.ndim == 1 else ids[:, 0]).tolist())  # of codes, the coarsest


def _string(numbers: Iterable[int]) -> str:
  first, count = _SURROGATES
  return "".join(chr(number if number < first else number + count) for number in numbers)


def _ceiling(
  listener: speech.Listener, trial: trials.Trial, folder: Path, heard: dict[Any, lines.Said]
) -> list[lines.Line]:
  """Returns the lines of `units_ceiling`. `heard` keeps recordings that several tasks speak."""
  task = trial.task
  prepared = listener.trained.prepared
  spoken = [side for side in task.outputs if suites.modality(side, prepared) == "speech"]
  key = lambda one, side: (task.corpus, trial.split, one.entry.id, *side)  # noqa: E731
  new = [one for one in trial.examples if any(key(one, side) not in heard for side in spoken)]
  streams = [
    {f"{role}.{stream}": one.streams[f"{role}.{stream}"] for role, stream in spoken} for one in new
  ]
  said = answers.outputs(
    listener, dataclasses.replace(trial, examples=tuple(new)), streams, folder, UNITS_CEILING
  )
  for one, outputs in zip(new, said, strict=True):
    heard |= {key(one, side): output for side, output in zip(spoken, outputs, strict=True)}
  return [
    lines.Line(
      UNITS_CEILING, task.name, trial.split, one.entry.id, one.language, one.voice,
      said=tuple(
        dataclasses.replace(heard[key(one, side)], measure=suites.measure(task, side[0]))
        for side in spoken
      ),
    )
    for one in trial.examples
  ]  # fmt: skip
