"""Pairs of a right and a wrong text or recording: which one does the model find more likely?

  {"positive": "brick.wav", "negative": "blick.wav", "language": "en"}             word and nonword
  {"positive": "A dog barks.", "negative": "A dog bark.", "language": "en", "kind": "agreement"}
  {"prompt": "story.wav", "positive": "end.wav", "negative": "other.wav", "language": "en"}

A manifest has such lines (JSONL), or columns of these names (TSV). `kind` is optional, and so is
`prompt`, which precedes both sides. Sources: sWUGGY and sBLIMP, Nguyen et al. 2020,
arXiv:2011.11588; spoken StoryCloze, Hassid et al. 2023, arXiv:2305.13009. Needs no jax.

    WORKDIR/evaluation/pairs/<manifest>.jsonl    one `Judged` per line
    WORKDIR/evaluation/pairs.json                the scores
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from audiopalm import language_tags, orthography
from audiopalm.audio import silence, waveform
from audiopalm.data import files, json_lines
from audiopalm.data.manifest import faults, table
from audiopalm.data.manifest.faults import Fault
from audiopalm.errors import AudioError, DataError
from audiopalm.metrics import tally
from audiopalm.metrics.likelihood import Sums
from audiopalm.metrics.tally import Tally
from audiopalm.tokenizers.base import Fitted
from audiopalm.types import Utterance

FOLDER, RESULTS = "pairs", "pairs.json"
NEEDED = ("language", "positive", "negative")
COLUMNS = (*NEEDED, "prompt", "kind")
RULES = {
  "accuracy": "share of pairs whose right side has the higher log-likelihood, ties count half",
  "accuracy_per_token": "the same by log-likelihood per token",
}
AGAIN = "Run `audiopalm evaluate --pairs` again."
SILENCE_S = 0.1  # between a spoken prompt and what follows it


@dataclasses.dataclass(frozen=True)
class Pair:
  """The line `place` of a manifest. `positive`, `negative`, `prompt` are texts or audio paths."""

  place: str
  language: str
  positive: str
  negative: str
  prompt: str | None = None
  kind: str | None = None


@dataclasses.dataclass(frozen=True)
class Judged:
  """A pair and the likelihood sums of its sides: (right, wrong), None if a side exceeds a row."""

  pair: Pair
  task: str
  sums: tuple[Sums, Sums] | None


def read(path: Path) -> tuple[Pair, ...]:
  """Returns the pairs of a manifest; raises DataError that lists the faults with their lines."""
  manifest = table.read(str(path))
  wrong = list(manifest.faults)
  pairs = []
  for row in manifest.rows:
    values = {name: value for name, value in row.values.items() if value not in (None, "")}
    unknown = [name for name in row.values if name not in COLUMNS]
    lacking = [name for name in NEEDED if name not in values]
    lacking += [name for name in COLUMNS if not isinstance(values.get(name, ""), str)]
    if unknown:
      fault = f"unknown column {unknown[0]!r}. Expected {', '.join(COLUMNS)}. Rename it."
    elif lacking:
      fault = f"expected a text in {lacking[0]!r}: a pair needs {', '.join(NEEDED)}."
    elif (code := language_tags.find(values["language"])) is None:
      expected = language_tags.expected(values["language"])
      fault = f"unknown language {values['language']!r}. {expected}"
    else:
      pairs.append(Pair(str(row.location), **values | {"language": code}))
      continue
    wrong.append(Fault(row.location, fault))
  if wrong:
    listed = "\n  ".join(faults.summary(wrong))
    raise DataError(f"These pairs cannot be used:\n  {listed}")
  return tuple(pairs)


def modality(pairs: Sequence[Pair]) -> str:
  """Returns "speech" if the sides are audio paths, else "text"; raises DataError for a mix."""
  spoken = [pair.positive.lower().endswith(table.AUDIO_ENDINGS) for pair in pairs]
  if any(spoken) and not all(spoken):
    heard, read = pairs[spoken.index(True)].place, pairs[spoken.index(False)].place
    raise DataError(
      f"A file of pairs holds recordings or texts, but {heard} names a recording and {read} is a "
      "text. Write a file for each."
    )
  return "speech" if any(spoken) else "text"


def encode(tokenizer: Fitted, folder: Path, pairs: Sequence[Pair]) -> list[list[np.ndarray]]:
  """Returns [right, wrong] ids of each pair, tokenized together with the prompt.

  Audio paths are relative to `folder`. Raises AudioError, with the line of the manifest, for a
  recording that cannot be used.
  """
  encoded = []
  for pair in pairs:
    both = []
    for side in (pair.positive, pair.negative):
      parts = [part for part in (pair.prompt, side) if part is not None]
      wave_S, text = None, ""
      if tokenizer.spec.modality == "speech":
        waves = [waveform.read(folder / path, name=f"{pair.place}: {path}") for path in parts]
        wave_S = silence.joined(waves, SILENCE_S, waveform.RATE_HZ)
      else:
        text = orthography.joined(map(orthography.plain, parts), pair.language)
      both.append(tokenizer.encode(Utterance(wave_S, waveform.RATE_HZ, text, pair.language, "")))
      if not len(both[-1]):
        raise AudioError(f"{pair.place}: {side}: too short for a single id. Remove the pair.")
    encoded.append(both)
  return encoded


def keep(folder: Path, judged: Mapping[str, Sequence[Judged]]) -> None:
  """Writes {manifest: judged pairs} to the files that `score` reads."""
  for name, pairs in judged.items():
    json_lines.write(folder / FOLDER / f"{name}.jsonl", map(dataclasses.asdict, pairs))


def score(folder: Path) -> dict:
  """Returns {manifest: scores} of all pairs saved and writes pairs.json; {} if there are none."""
  scores = {
    path.stem: score_pairs(_judged(path)) for path in sorted((folder / FOLDER).glob("*.jsonl"))
  }
  if scores:
    files.write_json(folder / RESULTS, scores)
  return scores


def scored(folder: Path) -> dict:
  """Returns the contents of pairs.json; {} if there is none."""
  path = folder / RESULTS
  return files.read_json(path) if path.is_file() else {}


def score_pairs(judged: Sequence[Judged]) -> dict:
  """Returns {"accuracy", "accuracy_per_token", "intervals", "examples", ...} by `RULES`.

  "languages" and "kinds" have the same per group; "left_out" counts pairs that exceed a row.
  """
  complete = [result for result in judged if result.sums is not None]
  tallies = {}
  for name in RULES:
    wins = []
    for right, wrong in (result.sums for result in complete):
      nats = [of.nll / (of.weight if name == "accuracy_per_token" else 1) for of in (right, wrong)]
      wins.append((0.5 if nats[0] == nats[1] else float(nats[0] < nats[1]), 1))
    tallies[name] = Tally(np.reshape(wins, (-1, 2)), tally.ratio)

  def among(kept: Sequence[bool]) -> dict:
    scores = tally.scores({name: counts.among(kept) for name, counts in tallies.items()})
    return {**scores, "examples": sum(kept)}

  scores = among([True] * len(complete))
  if len(complete) < len(judged):
    scores["left_out"] = len(judged) - len(complete)
  task = ", ".join(sorted({result.task for result in judged}))
  scores["rules"] = {**RULES, "task": task, "intervals": tally.RULE}
  scores["languages"] = tally.by_group([result.pair.language for result in complete], among)
  kinds = tally.by_group([result.pair.kind for result in complete], among)
  return {**scores, "kinds": kinds} if kinds else scores


def _judged(path: Path) -> list[Judged]:
  judged = []
  for number, values in json_lines.read(path, again=AGAIN):
    try:
      sums = values["sums"] and tuple(Sums(**side) for side in values["sums"])
      judged.append(Judged(Pair(**values["pair"]), values["task"], sums))
    except (TypeError, KeyError) as error:
      raise DataError(
        f"{path}, line {number}: expected the likelihoods of a pair, but it cannot be read "
        f"({error}). {AGAIN}"
      ) from error
  return judged
