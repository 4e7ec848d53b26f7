"""A sweep: the runs of a plan, the inputs of each result, and the comparisons between results.

A plan is a TOML file, written before its first run:

    seeds = [0, 1, 2]

    [set]                           # settings of every run, as --set
    [runs.text]
    config = "text.py"              # relative to the plan
    evaluate = ["mt"]               # tasks to score at the last step
    [runs.base]
    config = "speech.py"
    set = { text_lm = "{text}" }    # the workdir of run `text` with the same seed, trained first
    evaluate = ["asr", "ast"]
    at = { 500 = ["mt"] }           # tasks to score at other steps
    [runs.scratch]
    like = "base"                   # the same except for these settings
    set = { init = "scratch" }

    [compare.T6]                    # a score, by its path, of two runs, and the expected direction
    question = "Does it help to start from a text model?"
    from = "scratch:ast.bleu"
    to = "base:ast.bleu"
    expect = "more"

    [earlier]                       # sha256 of earlier texts of a config that give the same results
    "speech.py" = ["a2b7259dae4ad4c9"]

Each run with each seed leaves RESULTS/<run>-<seed>.json. A run that has this file is finished, on
whichever machine it ran, so these small files are enough to continue a sweep elsewhere.
"""

import dataclasses
import hashlib
import json
import math
import re
import statistics
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from audiopalm.data import files
from audiopalm.errors import ConfigError, DataError

FORMAT = 1
RUN_KEYS = {"config", "like", "set", "evaluate", "at"}
PLAN_KEYS = {"seeds", "set", "runs", "compare", "earlier"}
COMPARE_KEYS = {"question", "from", "to", "expect", "paper"}
STANDARD_ERRORS = 2.0  # a significant mean difference exceeds this many

Table = Mapping[str, Any]  # of TOML


@dataclasses.dataclass(frozen=True)
class SweepRun:
  """One run of a plan.

  `settings` are (path, value) texts, in which {name} stands for the workdir of another run. `at`
  holds (step, tasks) to score besides `evaluate` at the last step. A result whose config has one of
  the `earlier` hashes is valid for this run too.
  """

  name: str
  config: Path
  settings: tuple[tuple[str, str], ...]
  evaluate: tuple[str, ...]
  at: tuple[tuple[int, tuple[str, ...]], ...]
  earlier: tuple[str, ...] = ()

  @property
  def dependencies(self) -> tuple[str, ...]:
    """The runs whose workdirs its settings name."""
    names = (name for _, value in self.settings for name in re.findall(r"\{(\w+)\}", value))
    return tuple(dict.fromkeys(names))


@dataclasses.dataclass(frozen=True)
class Comparison:
  """An expectation: the score `to` is more (or less) than the score `source`."""

  name: str
  question: str
  source: tuple[str, str]  # run, path of the score
  to: tuple[str, str]
  expect: Literal["more", "less"]
  paper: str = ""


@dataclasses.dataclass(frozen=True)
class SweepPlan:
  """A plan; each of its `runs` comes after its dependencies."""

  path: Path
  seeds: tuple[int, ...]
  runs: tuple[SweepRun, ...]
  compare: tuple[Comparison, ...]

  def run(self, name: str) -> SweepRun:
    """Returns a run by name; ConfigError listing the known ones."""
    for run in self.runs:
      if run.name == name:
        return run
    known = ", ".join(run.name for run in self.runs)
    raise ConfigError(f"{self.path} has no run {name!r}. It has: {known}.")


def read(path: Path) -> SweepPlan:
  """Returns the plan in a TOML file; ConfigError naming the place of a fault."""
  try:
    plan = tomllib.loads(path.read_text(encoding="utf-8"))
  except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
    raise ConfigError(f"{path} cannot be read as a plan of runs: {error}.") from error
  try:
    _check_keys("the plan", plan, PLAN_KEYS)
    seeds, tables = plan.get("seeds", [0]), plan.get("runs", {})
    if not seeds or not all(type(seed) is int and seed >= 0 for seed in seeds):
      raise ConfigError(f"seeds={seeds!r} must be integers of at least 0.")
    if not tables:
      raise ConfigError("it has no runs. Give at least one, as [runs.NAME].")
    runs = {name: _run(path.parent, name, plan) for name in tables}
    compare = [_comparison(name, table, runs) for name, table in plan.get("compare", {}).items()]
    return SweepPlan(path, tuple(seeds), tuple(_ordered(runs)), tuple(compare))
  except ConfigError as error:
    raise ConfigError(f"{path}: {error}") from error


def _run(folder: Path, name: str, plan: Table) -> SweepRun:
  if not re.fullmatch(r"\w+", name):
    raise ConfigError(f"a run name consists of letters, digits and _, not {name!r}.")
  merged: dict[str, Any] = {"set": dict(plan.get("set", {}))}
  for table in _inherited_tables(name, plan["runs"]):
    _check_keys(f"run {name!r}", table, RUN_KEYS)
    settings = merged["set"] | table.get("set", {})
    merged |= {key: value for key, value in table.items() if key != "like"} | {"set": settings}
  if "config" not in merged:
    raise ConfigError(f"run {name!r} has neither a config nor a run that it is like.")
  config = folder / merged["config"]
  if not config.is_file():
    raise ConfigError(f"the config of run {name!r}, {config}, does not exist.")
  at = sorted((int(step), tuple(tasks)) for step, tasks in merged.get("at", {}).items())
  text = lambda value: str(value).lower() if isinstance(value, bool) else str(value)  # noqa: E731
  settings = tuple((key, text(value)) for key, value in merged["set"].items())
  earlier = tuple(plan.get("earlier", {}).get(merged["config"], ()))
  return SweepRun(name, config, settings, tuple(merged.get("evaluate", ())), tuple(at), earlier)


def _inherited_tables(name: str, tables: Table) -> list[Table]:
  """Returns the tables that define a run by `like`, most general first."""
  chain = [name]
  while "like" in tables[chain[-1]]:
    base = tables[chain[-1]]["like"]
    if base not in tables or base in chain:
      raise ConfigError(
        f"run {chain[-1]!r} is like {base!r}, which must be another run of the plan."
      )
    chain.append(base)
  return [tables[name] for name in reversed(chain)]


def _comparison(name: str, table: Table, runs: Mapping[str, SweepRun]) -> Comparison:
  what = f"comparison {name!r}"
  _check_keys(what, table, COMPARE_KEYS)
  ends = []
  for end in ("from", "to"):
    run, _, score = str(table.get(end, "")).partition(":")
    if run not in runs or not score:
      raise ConfigError(
        f"{what} has {end}={table.get(end)!r}, expected RUN:SCORE with a run of the plan, as in "
        "base:ast.bleu."
      )
    ends.append((run, score))
  expect = table.get("expect")
  if expect not in ("more", "less"):
    raise ConfigError(f"{what} has expect={expect!r}, expected more or less.")
  return Comparison(name, table.get("question", ""), *ends, expect, table.get("paper", ""))


def _ordered(runs: Mapping[str, SweepRun]) -> Iterator[SweepRun]:
  """Yields each run after its dependencies, otherwise in the order of the file."""
  waiting, done = dict(runs), set()
  while waiting:
    ready = [run for run in waiting.values() if set(run.dependencies) <= done]
    if not ready:
      run = next(iter(waiting.values()))
      raise ConfigError(
        f"run {run.name!r} depends on {', '.join(run.dependencies)}, which must be other runs of "
        "the plan that do not depend on it."
      )
    done.add(ready[0].name)
    yield waiting.pop(ready[0].name)


def _check_keys(what: str, table: Table, known: set[str]) -> None:
  unknown = sorted(set(table) - known)
  if unknown:
    raise ConfigError(
      f"{what} has unknown keys: {', '.join(unknown)}. Known: {', '.join(sorted(known))}."
    )


def result_path(results: Path, run: SweepRun, seed: int) -> Path:
  return results / f"{run.name}-{seed}.json"


def made_from(run: SweepRun, seed: int) -> dict[str, Any]:
  """Returns the inputs of a run with a seed, which its result file must repeat."""
  return {
    "config": hashlib.sha256(run.config.read_bytes()).hexdigest()[:16],
    "settings": dict(run.settings),
    "seed": seed,
    "evaluate": list(run.evaluate),
    "at": [[step, list(tasks)] for step, tasks in run.at],
  }


def result(results: Path, run: SweepRun, seed: int) -> dict[str, Any] | None:
  """Returns the result of a run, None if not finished; DataError for a result of other inputs."""
  path = result_path(results, run, seed)
  if not path.is_file():
    return None
  contents = files.read_json(path)
  expected, actual = made_from(run, seed), dict(contents.get("made_from", {}))
  if actual.get("config") in run.earlier:
    actual["config"] = expected["config"]
  if contents.get("format") != FORMAT or actual != expected:
    changed = [key for key in expected if actual.get(key) != expected[key]] or ["format"]
    raise DataError(
      f"{path} belongs to another plan: its {changed[0]} is {actual.get(changed[0])!r}, expected "
      f"{expected.get(changed[0], FORMAT)!r}. Restore the plan, or move the result away."
    )
  return contents


def write_result(results: Path, run: SweepRun, seed: int, contents: Mapping[str, Any]) -> Path:
  """Writes the result of a finished run, and returns its path."""
  path = result_path(results, run, seed)
  head = {"format": FORMAT, "run": run.name, "made_from": made_from(run, seed)}
  with files.replacing(path) as part:
    text = json.dumps({**head, **contents}, indent=1, ensure_ascii=False)
    part.write_text(text + "\n", encoding="utf-8")
  return path


@dataclasses.dataclass(frozen=True)
class Outcome:
  """The scores of a comparison by seed, their mean difference, and its standard error."""

  compare: Comparison
  source: tuple[float, ...]
  to: tuple[float, ...]

  @property
  def differences(self) -> list[float]:
    return [b - a for a, b in zip(self.source, self.to, strict=True)]

  @property
  def difference(self) -> float:
    return statistics.fmean(self.differences)

  @property
  def error(self) -> float | None:
    count = len(self.differences)
    return statistics.stdev(self.differences) / math.sqrt(count) if count > 1 else None

  @property
  def verdict(self) -> Literal["as expected", "opposite", "not significant", "one seed"]:
    """Whether the difference exceeds STANDARD_ERRORS standard errors, and in which direction."""
    if self.error is None:
      return "one seed"
    if abs(self.difference) <= STANDARD_ERRORS * self.error:
      return "not significant"
    is_more = self.difference > 0
    return "as expected" if is_more == (self.compare.expect == "more") else "opposite"


def outcomes(plan: SweepPlan, results: Path) -> Iterator[Outcome]:
  """Yields the outcome of each comparison with at least one seed for which both runs finished."""
  for compare in plan.compare:
    pairs = []
    for seed in plan.seeds:
      ends = [(result(results, plan.run(run), seed), path) for run, path in
              (compare.source, compare.to)]  # fmt: skip
      if all(contents is not None for contents, _ in ends):
        pairs.append([score(contents["scores"], path) for contents, path in ends])
    if pairs:
      yield Outcome(compare, *zip(*pairs, strict=True))


def score(scores: Mapping[str, Any], path: str) -> float:
  """Returns the number at a dotted path; DataError listing the known keys if it is missing. Quotes
  enclose a name with a dot in it, as in "target.text"."""
  value: Any = scores
  for quoted, plain in re.findall(r'"([^"]+)"|([^."]+)', path):
    step = quoted or plain
    if not isinstance(value, Mapping) or step not in value:
      keys = ", ".join(value) if isinstance(value, Mapping) else repr(value)
      raise DataError(f"There is no score {path!r}: expected {step!r}, found {keys}.")
    value = value[step]
  return float(value)
