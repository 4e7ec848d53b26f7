"""A run as its files describe it: no checkpoint is opened, nothing is computed again."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from audiopalm import experiment as experiments
from audiopalm import runs
from audiopalm.data import cache, files, json_lines
from audiopalm.errors import ConfigError, DataError
from audiopalm.evaluation import answers, saved, scoring
from audiopalm.evaluation.answers import Answer
from audiopalm.experiment import Experiment
from audiopalm.metrics.tally import Scores
from audiopalm.tokens import space as token_space
from audiopalm.types import Task

JsonObject = Mapping[str, Any]  # an object of JSON as it was read


@dataclasses.dataclass(frozen=True, eq=False)
class RunFiles:
  """What lies in a workdir. Parts that are not there yet are empty, or None.

  `steps` are the lines of metrics.jsonl with a loss, `measured` those with held-out losses;
  `goodput` the seconds by bucket of all starts together, `lost_steps` how many steps were done
  twice; `scores` are those of evaluation/results.json, of the checkpoint of `scored_step`.
  """

  workdir: Path
  experiment: Experiment
  manifest: JsonObject
  space: token_space.TokenSpace
  prepared: JsonObject
  steps: Sequence[JsonObject]
  measured: Sequence[JsonObject]
  goodput: Mapping[str, float]
  lost_steps: int
  ended: float | None  # seconds since 1970
  scores: Scores | None
  scored_step: int | None

  @property
  def step(self) -> int:
    return self.steps[-1]["step"] if self.steps else 0

  @property
  def seen(self) -> Mapping[str, Mapping[str, float]]:
    """Rows, examples, tokens and epochs by task as of the last measurement; {} before the first."""
    return self.measured[-1]["seen"] if self.measured else {}

  def modality(self, stream: str) -> str:
    """Returns "text" or "speech"; `stream` may have its role before it."""
    return self.space.streams[stream.rpartition(".")[2]].modality

  def entries(self, task: Task, split: str) -> cache.Entries:
    """Returns the entries of a split as evaluation read them; DataError where they are gone."""
    if "streams_dir" not in self.prepared:
      raise DataError(f"{self.workdir / 'prepare.json'} is missing, which says where they lie.")
    streams_dir = self.workdir / self.prepared["streams_dir"]
    folder = cache.folder_of(streams_dir, task.corpus, self.space.streams)
    if not (folder / "cache.json").is_file():
      raise DataError(f"{folder} is missing.")
    return cache.open_split(folder, split)

  def answers(self, system: str, split: str, task: str) -> tuple[Answer, ...]:
    """Returns the answers of a system to a split of a task; () where there are none."""
    path = saved.path_of(saved.folder_of(self.workdir), system, split, task)
    return answers.read(path) if path.is_file() else ()

  def gaps(self) -> list[tuple[str, str]]:
    """Returns (what is missing, the command that makes it) for a run that is not finished."""
    gaps = []
    steps = self.experiment.steps
    train = f"audiopalm train CONFIG --workdir {self.workdir}"
    evaluate = f"audiopalm evaluate --workdir {self.workdir}"
    if not self.steps:
      gaps.append(("Nothing has been trained yet: there are no curves. Begin with", train))
    elif self.step < steps:
      gaps.append((f"Training stands at step {self.step:,} of {steps:,}. Go on with", train))
    if self.scores is None:
      gaps.append(("Nothing has been scored yet: no table, no examples. Score it with", evaluate))
    else:
      names = [task.name for task in self.experiment.tasks if task.name not in self.scores]
      if names:
        gaps.append((f"Not scored: {', '.join(names)}. Score the whole mixture with", evaluate))
      if self.scored_step not in (None, self.step):
        old = f"The scores are of step {self.scored_step:,}, training is at {self.step:,}."
        gaps.append((f"{old} Score it again with", evaluate))
    return gaps


def step_seconds(line: JsonObject) -> float:
  """Returns the seconds that a step took, from its line of metrics.jsonl."""
  return line["tokens"] / line["tokens_per_s"] if line["tokens_per_s"] else 0.0


def read(workdir: Path, trust: Sequence[str] = ()) -> RunFiles:
  """Returns the run in a workdir; ConfigError where there is none, or one of packages that `trust`
  does not name, DataError for damaged files."""
  workdir = Path(workdir)
  train = f"Train one: audiopalm train CONFIG --workdir {workdir}"
  if not workdir.is_dir():
    raise ConfigError(f"There is no run in {workdir}: no such folder. {train}")
  for name in ("config.json", "manifest.json"):
    if not (workdir / name).is_file():
      raise ConfigError(
        f"There is no run in {workdir}: it holds no {name}, which `audiopalm train` writes. {train}"
      )
  manifest = files.read_json(workdir / "manifest.json")
  metrics = json_lines.read_grown(workdir / "metrics.jsonl", "step")
  spent = json_lines.read_grown(workdir / "goodput.jsonl", "time")
  prepared, evaluation = workdir / "prepare.json", saved.folder_of(workdir)
  results = evaluation / saved.RESULTS
  return RunFiles(
    workdir,
    experiments.from_json(runs.config(workdir), trust),
    manifest,
    token_space.from_manifest(manifest),
    files.read_json(prepared) if prepared.is_file() else {},
    [line for line in metrics if "loss" in line],
    [line for line in metrics if "held_out" in line],
    goodput(spent),
    sum(line.get("lost_steps", 0) for line in spent),
    spent[-1]["time"] if spent else None,
    _scores(results) if results.is_file() else None,
    saved.scored_step(evaluation),
  )


def goodput(spent: Sequence[JsonObject]) -> dict[str, float]:
  """Returns the seconds by bucket of all starts of a run, from the lines of its goodput.jsonl.

  The last line of a start holds its sums; one that was killed has none, only the lines before it.
  Lines of earlier versions do not say which start they are of: all of them up to one with sums are
  counted as one start, so that at most what killed starts spent is counted too low.
  """
  by_start: dict[float, collections.Counter[str]] = collections.defaultdict(collections.Counter)
  ends = 0
  for line in spent:
    start = by_start[line.get("start", ends)]
    if "total" in line:
      start |= collections.Counter(line["total"])  # the larger of the two in each bucket
      ends += 1
    else:
      start.update(line["seconds"])
  return dict(sum(by_start.values(), collections.Counter()))


def _scores(path: Path) -> Scores:
  scores = files.read_json(path)
  if not isinstance(scores, dict) or not {scoring.HELD_OUT, "baselines"} <= set(scores):
    raise DataError(
      f"{path}: expected the scores of an evaluation, which hold {scoring.HELD_OUT!r} and "
      "'baselines'. Run `audiopalm evaluate` again."
    )
  return scores
