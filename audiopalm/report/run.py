"""The files of a run that its report needs; no checkpoint is opened."""

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

JsonObject = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class RunFiles:
  """The contents of a workdir. Parts that do not exist yet are empty, or None.

  `steps` are the lines of metrics.jsonl with a loss, `measured` those with held-out losses.
  `goodput` are the seconds of each bucket over all starts, `lost_steps` the steps done again after
  a stop, `ended` the time of the last line of goodput.jsonl. `scores` are those of
  evaluation/results.json, for the checkpoint of `scored_step`.
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
    """Returns "text" or "speech" for "stream" or "role.stream"."""
    return self.space.streams[stream.rpartition(".")[2]].modality

  def entries(self, task: Task, split: str) -> cache.Entries:
    """Returns the entries of a split as evaluation read them; DataError if they are missing."""
    if "streams_dir" not in self.prepared:
      raise DataError(f"{self.workdir / 'prepare.json'} is missing, which names their folder.")
    streams_dir = self.workdir / self.prepared["streams_dir"]
    folder = cache.folder_of(streams_dir, task.corpus, self.space.streams)
    if not (folder / "cache.json").is_file():
      raise DataError(f"{folder} is missing.")
    return cache.open_split(folder, split)

  def answers(self, system: str, split: str, task: str) -> tuple[Answer, ...]:
    """Returns the answers of a system to a split of a task, () if there are none."""
    path = saved.path_of(saved.folder_of(self.workdir), system, split, task)
    return answers.read(path) if path.is_file() else ()

  def gaps(self) -> list[tuple[str, str]]:
    """Returns (what is missing, the command that makes it), [] for a finished run."""
    gaps = []
    steps = self.experiment.steps
    train = f"audiopalm train CONFIG --workdir {self.workdir}"
    evaluate = f"audiopalm evaluate --workdir {self.workdir}"
    if not self.steps:
      gaps.append(("Nothing has been trained yet: there are no curves. Begin with", train))
    elif self.step < steps:
      gaps.append((f"Training is at step {self.step:,} of {steps:,}. Continue with", train))
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
  """Returns the run in a workdir. ConfigError if there is none or if its config needs packages that
  `trust` does not name, DataError for damaged files."""
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

  The last line of a start has its totals, but a killed start has none, only periodic lines.
  Lines of earlier versions do not name their start: those up to a line with totals count as one
  start, which can only undercount the time of killed starts.
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
      f"{path}: expected the scores of an evaluation with the keys {scoring.HELD_OUT!r} and "
      "'baselines'. Run `audiopalm evaluate` again."
    )
  return scores
