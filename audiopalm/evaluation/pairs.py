"""Pairs of a right and a wrong text or recording: which of the two does the model find likelier?

{"positive": "brick.wav", "negative": "blick.wav", "language": "en"}                a word or none
{"positive": "A dog barks.", "negative": "A dog bark.", "language": "en", "kind": "agreement"}
{"prompt": "story.wav", "positive": "end.wav", "negative": "other.wav", "language": "en"}

A manifest has such lines (JSONL), or columns of these names (TSV); `kind` and `prompt`, which both
begin with, may be left out. Sources: sWUGGY and sBLIMP, Nguyen et al. 2020, arXiv:2011.11588;
StoryCloze, spoken, Hassid et al. 2023, arXiv:2305.13009. Needs no jax.

WORKDIR/evaluation/pairs/<manifest>.jsonl    the likelihoods of each pair, `Judged` by line
WORKDIR/evaluation/pairs.json                the scores
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
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
  "accuracy": "share of pairs whose right one has the higher log-likelihood, ties count half",
  "accuracy_per_token": "the same by log-likelihood per token",
}
SILENCE_S = 0.1  # between a spoken prompt and what follows it


@dataclasses.dataclass(frozen=True)
class Pair:
  """One line of a manifest. `positive`, `negative` and `prompt` are texts, or paths of audio."""

  place: str
  language: str
  positive: str
  negative: str
  prompt: str | None = None
  kind: str | None = None


@dataclasses.dataclass(frozen=True)
class Judged:
  """A pair and the likelihoods of its two sides; None where one of them is longer than a row."""

  pair: Pair
  task: str
  sums: tuple[Sums, Sums] | None


def read(path: Path) -> tuple[Pair, ...]:
  """Returns the pairs of a manifest; DataError that names every fault with its line."""
  manifest = table.read(str(path))
  wrong = list(manifest.faults)
  pairs = []
  for row in manifest.rows:
    strange = [name for name in row.values if name not in COLUMNS]
    values = {name: row.values.get(name) for name in COLUMNS}
    values = {name: value for name, value in values.items() if value not in (None, "")}
    bad = [name for name, value in values.items() if not isinstance(value, str)]
    lacking = [name for name in NEEDED if name not in values]
    if strange:
      wrong.append(
        Fault(row.location, f"has {strange[0]!r}. Expected are {', '.join(COLUMNS)}. Rename it.")
      )
    elif lacking or bad:
      wrong.append(
        Fault(
          row.location, f"needs a text as {(lacking + bad)[0]!r}: a pair has {', '.join(NEEDED)}."
        )
      )
    elif (code := language_tags.find(values["language"])) is None:
      expected = language_tags.expected(values["language"])
      wrong.append(Fault(row.location, f"unknown language {values['language']!r}. {expected}"))
    else:
      pairs.append(Pair(str(row.location), **values | {"language": code}))
  if wrong:
    listed = "\n  ".join(faults.summary(wrong))
    raise DataError(f"These pairs cannot be used:\n  {listed}")
  return tuple(pairs)


def modality(pairs: Sequence[Pair]) -> str:
  """Returns "speech" where the sides are paths of audio, else "text"; DataError for a mix."""
  spoken = [pair.positive.lower().endswith(table.AUDIO_ENDINGS) for pair in pairs]
  if any(spoken) and not all(spoken):
    heard, read = pairs[spoken.index(True)].place, pairs[spoken.index(False)].place
    raise DataError(
      f"A file of pairs holds recordings or texts, but {heard} names a recording and {read} is a "
      "text. Write a file for each."
    )
  return "speech" if any(spoken) else "text"


def encode(tokenizer: Fitted, folder: Path, pairs: Sequence[Pair]) -> list[list[np.ndarray]]:
  """Returns the ids of both sides of every pair, each after its prompt, as speech or as text.

  Paths of audio are relative to `folder`. AudioError, naming the line of the manifest, for a
  recording that cannot be used.
  """
  utterance = _recording if tokenizer.spec.modality == "speech" else _text
  encoded = []
  for pair in pairs:
    sides = (pair.positive, pair.negative)
    encoded.append([tokenizer.encode(utterance(folder, pair, side)) for side in sides])
    for side, ids in zip(sides, encoded[-1], strict=True):
      if not len(ids):
        raise AudioError(f"{pair.place}: {side}: too short to give a single id. Leave it out.")
  return encoded


def _text(folder: Path, pair: Pair, side: str) -> Utterance:
  texts = [side] if pair.prompt is None else [pair.prompt, side]
  text = orthography.joined(map(orthography.plain, texts), pair.language)
  return Utterance(None, waveform.RATE_HZ, text, pair.language, "")


def _recording(folder: Path, pair: Pair, side: str) -> Utterance:
  paths = [side] if pair.prompt is None else [pair.prompt, side]
  waves = [waveform.read(folder / path, name=f"{pair.place}: {path}") for path in paths]
  wave_S = silence.joined(waves, SILENCE_S, waveform.RATE_HZ)
  return Utterance(wave_S, waveform.RATE_HZ, "", pair.language, "")


def keep(folder: Path, judged: Mapping[str, Sequence[Judged]]) -> None:
  """Writes the pairs of each manifest, by its name, as `score` reads them."""
  for name, pairs in judged.items():
    json_lines.write(folder / FOLDER / f"{name}.jsonl", map(dataclasses.asdict, pairs))


def score(folder: Path) -> dict:
  """Returns {manifest: scores} of all pairs kept, after writing pairs.json; {} without any."""
  scores = {
    path.stem: score_pairs(_judged(path)) for path in sorted((folder / FOLDER).glob("*.jsonl"))
  }
  if scores:
    files.write_json(folder / RESULTS, scores)
  return scores


def scored(folder: Path) -> dict:
  """Returns what `score` wrote last; {} where it wrote nothing."""
  path = folder / RESULTS
  return files.read_json(path) if path.is_file() else {}


def score_pairs(judged: Sequence[Judged]) -> dict:
  """Returns {"accuracy", "accuracy_per_token", "intervals", "examples", ...} by `RULES`.

  The same per language and per kind; "left_out" counts pairs longer than a row.
  """
  asked = [result for result in judged if result.sums is not None]
  wins = {
    "accuracy": [_wins(result, per_token=False) for result in asked],
    "accuracy_per_token": [_wins(result, per_token=True) for result in asked],
  }
  tallies = {
    name: Tally(np.reshape([(win, 1) for win in won], (-1, 2)), tally.ratio)
    for name, won in wins.items()
  }

  def among(kept: Callable[[Pair], bool]) -> dict:
    kept_N = np.array([kept(result.pair) for result in asked], bool)
    scores = tally.scores({name: counts.among(kept_N) for name, counts in tallies.items()})
    return {**scores, "examples": int(kept_N.sum())}

  def split(key: Callable[[Pair], str | None]) -> dict:
    names = sorted({key(result.pair) for result in asked} - {None})
    return {name: among(lambda pair, name=name: key(pair) == name) for name in names}

  scores = among(lambda pair: True)
  if len(asked) < len(judged):
    scores["left_out"] = len(judged) - len(asked)
  scores["rules"] = {
    **RULES, "task": ", ".join(sorted({result.task for result in judged})), "intervals": tally.RULE
  }  # fmt: skip
  scores["languages"] = split(lambda pair: pair.language)
  kinds = split(lambda pair: pair.kind)
  return {**scores, "kinds": kinds} if kinds else scores


def _wins(result: Judged, *, per_token: bool) -> float:
  right, wrong = (-sums.nll / (sums.weight if per_token else 1) for sums in result.sums)
  return 0.5 if right == wrong else float(right > wrong)


def _judged(path: Path) -> list[Judged]:
  judged = []
  for number, values in json_lines.read(path, again="Run `audiopalm evaluate --pairs` again."):
    try:
      sums = values["sums"] and tuple(Sums(**side) for side in values["sums"])
      judged.append(Judged(Pair(**values["pair"]), values["task"], sums))
    except (TypeError, KeyError) as error:
      raise DataError(
        f"{path}, line {number}: expected the likelihoods of a pair, but it cannot be read "
        f"({error}). Run `audiopalm evaluate --pairs` again."
      ) from error
  return judged
