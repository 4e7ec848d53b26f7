"""Many runs of one plan: which there are, what they are made from, and what they gave.

A plan is a TOML file, written before its first run:

    seeds = [0, 1, 2]

    [set]                           # settings of every run, as --set
    [runs.text]
    config = "text.py"              # beside the plan
    evaluate = ["mt"]               # tasks that are scored at the end
    [runs.base]
    config = "speech.py"
    set = { text_lm = "{text}" }    # the workdir of run `text` with the same seed, trained first
    evaluate = ["asr", "ast"]
    at = { 500 = ["mt"] }           # tasks that are scored at other steps too
    [runs.scratch]
    like = "base"                   # the same but for these settings
    set = { init = "scratch" }

    [compare.T6]                    # a direction that is expected: of a score, by its path
    question = "Does it help to begin with a text model?"
    from = "scratch:ast.bleu"
    to = "base:ast.bleu"
    expect = "more"

    [earlier]                       # sha256 of configs whose text changed, and their results not
    "speech.py" = ["a2b7259dae4ad4c9"]

Each run of each seed leaves RESULTS/<run>-<seed>.json. What has one is finished, wherever it was
made: a sweep goes on from these small files on another machine.
"""

import dataclasses
import hashlib
import json
import math
import re
import statistics
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from audiopalm.data import files
from audiopalm.errors import ConfigError, DataError

FORMAT = 1
RUN_KEYS = {"config", "like", "set", "evaluate", "at"}
PLAN_KEYS = {"seeds", "set", "runs", "compare", "earlier"}
COMPARE_KEYS = {"question", "from", "to", "expect", "paper"}
ERRORS = 2.0  # standard errors that a mean difference has to exceed to count


@dataclasses.dataclass(frozen=True)
class Run:
  """One row of a plan: `settings` are (path, value) texts, in which {name} stands for the workdir
  of another run; `at` are (step, tasks) that are scored beside those of the last step. Results of a
  config with one of the `earlier` digests are those of this one."""

  name: str
  config: Path
  settings: tuple[tuple[str, str], ...]
  evaluate: tuple[str, ...]
  at: tuple[tuple[int, tuple[str, ...]], ...]
  earlier: tuple[str, ...] = ()

  @property
  def after(self) -> tuple[str, ...]:
    """The runs it begins with."""
    found = (name for _, value in self.settings for name in re.findall(r"\{(\w+)\}", value))
    return tuple(dict.fromkeys(found))


@dataclasses.dataclass(frozen=True)
class Compare:
  """One expectation: the score at `to` is more (or less) than that at `source`."""

  name: str
  question: str
  source: tuple[str, str]  # run, path of the score
  to: tuple[str, str]
  expect: Literal["more", "less"]
  paper: str = ""


@dataclasses.dataclass(frozen=True)
class Plan:
  """A whole plan; `runs` come after those they begin with."""

  path: Path
  seeds: tuple[int, ...]
  runs: tuple[Run, ...]
  compare: tuple[Compare, ...]

  def run(self, name: str) -> Run:
    """Returns a run by name; ConfigError listing the known ones."""
    for one in self.runs:
      if one.name == name:
        return one
    raise ConfigError(
      f"{self.path} has no run {name!r}. It has: {', '.join(one.name for one in self.runs)}."
    )


def read(path: Path) -> Plan:
  """Returns the plan in a TOML file; ConfigError, saying what and where, for what is no plan."""
  try:
    found = tomllib.loads(path.read_text(encoding="utf-8"))
  except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
    raise ConfigError(f"{path} cannot be read as a plan of runs: {error}.") from error
  _check_keys(path, "the plan", found, PLAN_KEYS)
  seeds = found.get("seeds", [0])
  if not seeds or not all(type(seed) is int and seed >= 0 for seed in seeds):
    raise ConfigError(f"{path}: seeds={seeds!r} must be whole numbers of at least 0.")
  tables = found.get("runs", {})
  if not tables:
    raise ConfigError(f"{path} has no runs. Give at least one, as [runs.NAME].")
  common, earlier = found.get("set", {}), found.get("earlier", {})
  runs = {name: _run(path, name, tables, common, earlier) for name in tables}
  compare = [_compare(path, *item, runs) for item in found.get("compare", {}).items()]
  return Plan(path, tuple(seeds), tuple(_ordered(path, runs)), tuple(compare))


def _run(
  path: Path,
  name: str,
  tables: Mapping[str, Any],
  common: Mapping[str, Any],
  earlier: Mapping[str, Sequence[str]],
) -> Run:
  if not re.fullmatch(r"\w+", name):
    raise ConfigError(f"{path}: a run is called by letters, digits and _, not {name!r}.")
  merged: dict[str, Any] = {"set": dict(common)}
  for table in _likes(path, name, tables):
    _check_keys(path, f"run {name!r}", table, RUN_KEYS)
    merged |= {key: value for key, value in table.items() if key not in ("set", "like")}
    merged["set"] |= table.get("set", {})
  if "config" not in merged:
    raise ConfigError(f"{path}: run {name!r} names no config, nor a run that it is like.")
  config = path.parent / merged["config"]
  if not config.is_file():
    raise ConfigError(f"{path}: run {name!r} names the config {config}, which is not there.")
  at = [(int(step), tuple(tasks)) for step, tasks in merged.get("at", {}).items()]
  settings = tuple((key, _text(value)) for key, value in merged["set"].items())
  return Run(
    name,
    config,
    settings,
    tuple(merged.get("evaluate", ())),
    tuple(sorted(at)),
    tuple(earlier.get(merged["config"], ())),
  )


def _likes(path: Path, name: str, tables: Mapping[str, Any]) -> list[Mapping[str, Any]]:
  """Returns the tables a run is made of, the most general first."""
  chain = [name]
  while "like" in tables[chain[-1]]:
    model = tables[chain[-1]]["like"]
    if model not in tables or model in chain:
      raise ConfigError(
        f"{path}: run {chain[-1]!r} is like {model!r}, which must be another run of the plan."
      )
    chain.append(model)
  return [tables[one] for one in reversed(chain)]


def _text(value: Any) -> str:
  return str(value).lower() if isinstance(value, bool) else str(value)


def _compare(path: Path, name: str, table: Mapping[str, Any], runs: Mapping[str, Run]) -> Compare:
  _check_keys(path, f"comparison {name!r}", table, COMPARE_KEYS)
  ends = []
  for end in ("from", "to"):
    run, colon, score = str(table.get(end, "")).partition(":")
    if run not in runs or not colon or not score:
      raise ConfigError(
        f"{path}: comparison {name!r} has {end}={table.get(end)!r}, expected RUN:SCORE with a run "
        "of the plan, as in base:ast.bleu."
      )
    ends.append((run, score))
  if table.get("expect") not in ("more", "less"):
    raise ConfigError(
      f"{path}: comparison {name!r} has expect={table.get('expect')!r}, it must be more or less."
    )
  return Compare(name, table.get("question", ""), *ends, table["expect"], table.get("paper", ""))


def _ordered(path: Path, runs: Mapping[str, Run]) -> Iterator[Run]:
  """Yields the runs, each after those it begins with, otherwise in the order of the file."""
  waiting, done = dict(runs), set()
  while waiting:
    ready = [run for run in waiting.values() if set(run.after) <= done]
    if not ready:
      run = next(iter(waiting.values()))
      raise ConfigError(
        f"{path}: run {run.name!r} begins with {', '.join(run.after)}, which must be other runs of "
        "the plan, and not begin with it."
      )
    done.add(ready[0].name)
    yield waiting.pop(ready[0].name)


def _check_keys(path: Path, what: str, table: Mapping[str, Any], known: set[str]) -> None:
  unknown = sorted(set(table) - known)
  if unknown:
    raise ConfigError(
      f"{path}: {what} says {', '.join(unknown)}, which means nothing. Known: "
      f"{', '.join(sorted(known))}."
    )


def result_path(results: Path, run: Run, seed: int) -> Path:
  return results / f"{run.name}-{seed}.json"


def made_from(run: Run, seed: int) -> dict[str, Any]:
  """Returns what a result must have been made from to be that of a run."""
  return {
    "config": hashlib.sha256(run.config.read_bytes()).hexdigest()[:16],
    "settings": dict(run.settings),
    "seed": seed,
    "evaluate": list(run.evaluate),
    "at": [[step, list(tasks)] for step, tasks in run.at],
  }


def result(results: Path, run: Run, seed: int) -> dict[str, Any] | None:
  """Returns what a finished run left, None before; DataError for the result of other settings."""
  path = result_path(results, run, seed)
  if not path.is_file():
    return None
  found = files.read_json(path)
  wanted, came = made_from(run, seed), dict(found.get("made_from", {}))
  if came.get("config") in run.earlier:
    came["config"] = wanted["config"]
  if found.get("format") != FORMAT or came != wanted:
    changed = [key for key in wanted if came.get(key) != wanted[key]] or ["format"]
    raise DataError(
      f"{path} is of another plan: its {changed[0]} is {came.get(changed[0])!r}, the plan has "
      f"{wanted.get(changed[0], FORMAT)!r}. Put the plan back as it was, or move the result away."
    )
  return found


def write_result(results: Path, run: Run, seed: int, found: Mapping[str, Any]) -> Path:
  """Writes what a finished run leaves, and returns where."""
  path = result_path(results, run, seed)
  whole = {"format": FORMAT, "run": run.name, "made_from": made_from(run, seed), **found}
  with files.replacing(path) as part:
    part.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
  return path


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What a comparison came to: scores by seed, and their mean difference with its standard error.

  `verdict` says whether the difference exceeds ERRORS standard errors, and which way it goes.
  """

  compare: Compare
  source: tuple[float, ...]
  to: tuple[float, ...]

  @property
  def difference(self) -> float:
    return statistics.fmean(b - a for a, b in zip(self.source, self.to, strict=True))

  @property
  def error(self) -> float | None:
    pairs = [b - a for a, b in zip(self.source, self.to, strict=True)]
    return statistics.stdev(pairs) / math.sqrt(len(pairs)) if len(pairs) > 1 else None

  @property
  def verdict(self) -> Literal["counts", "counts the other way", "does not count", "one seed"]:
    if self.error is None:
      return "one seed"
    if abs(self.difference) <= ERRORS * self.error:
      return "does not count"
    wanted = self.difference > 0 if self.compare.expect == "more" else self.difference < 0
    return "counts" if wanted else "counts the other way"


def outcomes(plan: Plan, results: Path) -> Iterator[Outcome]:
  """Yields what the finished runs say to each comparison that has a seed with both of its runs."""
  for compare in plan.compare:
    pairs = []
    for seed in plan.seeds:
      ends = [(result(results, plan.run(run), seed), path) for run, path in
              (compare.source, compare.to)]  # fmt: skip
      if all(found is not None for found, _ in ends):
        pairs.append([score(found["scores"], path) for found, path in ends])
    if pairs:
      source, to = zip(*pairs, strict=True)
      yield Outcome(compare, source, to)


def score(scores: Mapping[str, Any], path: str) -> float:
  """Returns the number at a dotted path; DataError naming what is there instead."""
  found: Any = scores
  for step in _steps(path):
    if not isinstance(found, Mapping) or step not in found:
      there = ", ".join(found) if isinstance(found, Mapping) else repr(found)
      raise DataError(f"There is no score {path!r}: at {step!r} there is {there}.")
    found = found[step]
  return float(found)


def _steps(path: str) -> Sequence[str]:
  """Returns the steps of a path; a name with a dot in it, as "target.text", stands in quotes."""
  return [quoted or plain for quoted, plain in re.findall(r'"([^"]+)"|([^."]+)', path)]
