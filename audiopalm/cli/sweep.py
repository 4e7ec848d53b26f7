"""`audiopalm sweep`: trains and evaluates the runs of a plan, and compares their scores."""

import argparse
import dataclasses
import functools
import json
import os
import platform
import shlex
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from audiopalm import runs
from audiopalm.cli import options, outputs, subcommand
from audiopalm.cluster import sweep
from audiopalm.data import files, json_lines
from audiopalm.errors import EXIT_DONE, AudiopalmError, Requeue

DESCRIPTION = """Train and evaluate every run of a plan with each seed, in the order of their
dependencies. A plan is a TOML file; audiopalm/cluster/sweep.py documents its format.

  audiopalm sweep configs/ablations/plan.toml --workdir runs/ablations --results results

Each finished run leaves a small JSON file in RESULTS with its scores, the curve of its held-out
losses, its run time and versions. A run with such a file is not repeated: commit these files to
continue a sweep on another machine. A sweep stopped by SIGTERM or Ctrl-C resumes where it stopped.

At the end it prints a table of the finished runs and one of the comparisons in the plan. These pair
scores by seed; a difference is significant if it exceeds twice its standard error."""

SHOWN_SCORES = ("wer", "cer", "bleu", "chrf", "asr_bleu", "mcd", "nll")


def add_options(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `sweep`."""
  add = functools.partial(options.add, parser)
  parser.add_argument("plan", metavar="PLAN", type=Path, help="a TOML file")
  summary = "folder of the workdirs, DIR/RUN-SEED, and of the streams they share"
  add("--workdir DIR", summary, type=options.folder, required=True)
  add("--results DIR", "folder for RUN-SEED.json", type=Path, required=True)
  summary = (
    "a setting of every run that depends on this machine, such as a folder; it is not written to "
    "the results"
  )
  add("--set PATH=VALUE", summary, action="append", default=[], dest="settings")
  options.add_trust(parser)


def run(args: argparse.Namespace) -> int:
  """Returns the exit code of `audiopalm sweep`."""
  plan = sweep.read(args.plan)
  # Checked before the first run; files with the name of a result are read by `sweep.result`.
  outputs.check_folder("--results", args.results, outputs.inputs())
  _run_all([SweepJob(run, seed, args) for seed in plan.seeds for run in plan.runs])
  _show(plan, args.results)
  return EXIT_DONE


@dataclasses.dataclass(frozen=True)
class SweepJob:
  """A run of a plan with one seed, on this machine; `args` are the options of the command."""

  run: sweep.SweepRun
  seed: int
  args: argparse.Namespace

  @property
  def workdir(self) -> Path:
    return self.args.workdir / f"{self.run.name}-{self.seed}"

  @property
  def dependencies(self) -> dict[str, Path]:
    """The workdirs of the runs that come first, by name."""
    return {name: self.args.workdir / f"{name}-{self.seed}" for name in self.run.dependencies}

  def is_finished(self) -> bool:
    return sweep.result(self.args.results, self.run, self.seed) is not None

  def prepare_and_train(self) -> dict[str, float]:
    """Returns the seconds of `prepare`, after the last step."""
    settings = [f"{path}={value.format(**self.dependencies)}" for path, value in self.run.settings]
    settings += [*self.args.settings, f"seed={self.seed}"]
    words = [str(self.run.config), "--workdir", str(self.workdir)]
    words += [*(f"--set={setting}" for setting in settings), *options.trusted(self.args)]
    started_s = time.perf_counter()
    _call("prepare", *words, "--streams", str(self.args.workdir / "streams"))
    seconds = {"prepare": time.perf_counter() - started_s}
    _call("train", *words)
    return seconds

  def evaluate(self, seconds: dict[str, float]) -> None:
    """Scores the trained run and writes its result."""
    started_s = time.perf_counter()
    at = {str(step): self._scores(tasks, "--step", str(step)) for step, tasks in self.run.at}
    scores = {"at": at, **self._scores(self.run.evaluate)}
    seconds["evaluate"] = time.perf_counter() - started_s
    contents = _contents(self, scores, seconds)
    path = sweep.write_result(self.args.results, self.run, self.seed, contents)
    print(f"Finished: {path}", flush=True)

  def _scores(self, tasks: tuple[str, ...], *words: str) -> dict[str, Any]:
    if not tasks:
      return {}
    path = self.workdir / "sweep_scores.json"
    _call(
      "evaluate", "--workdir", str(self.workdir), "--tasks", ",".join(tasks), "--json", str(path),
      "--no-baselines", *words, *options.trusted(self.args),
    )  # fmt: skip
    return files.read_json(path)


def _run_all(jobs: list[SweepJob]) -> None:
  waiting = [job for job in jobs if not job.is_finished()]
  needed = {path for job in waiting for path in job.dependencies.values()}
  for number, job in enumerate(jobs, 1):
    if job in waiting or (job.workdir in needed and not _is_trained(job.workdir)):
      print(f"== {job.run.name}, seed {job.seed} ({number} of {len(jobs)})", flush=True)
      seconds = job.prepare_and_train()
      if job in waiting:
        job.evaluate(seconds)


def _contents(job: SweepJob, scores: dict[str, Any], seconds: dict[str, float]) -> dict[str, Any]:
  """Returns the contents of a result file, which name no path of this machine."""
  from audiopalm.cluster import preflight  # imports jax
  from audiopalm.report import run as run_files
  from audiopalm.training import checkpoint

  run, meta = job.run, checkpoint.latest(job.workdir)
  metrics = json_lines.read_grown(job.workdir / "metrics.jsonl", "step")
  spent = json_lines.read_grown(job.workdir / "goodput.jsonl", "time")
  settings = [f"--set={path}={value}" for path, value in (*run.settings, ("seed", job.seed))]
  train_s = sum(run_files.goodput(spent).values())
  return {
    "command": shlex.join(["audiopalm", "train", run.config.name, *settings]),
    "code": preflight.code(),
    "commit": _commit(run.config.parent),
    "versions": {"python": platform.python_version(), **meta.versions},
    "processor": platform.processor() or platform.machine(),
    "cores": os.cpu_count(),
    "steps": meta.step,
    "seen": meta.position["seen"],
    "seconds": {**seconds, "train": train_s},
    "scores": scores,
    "curve": [[line["step"], line["held_out"]] for line in metrics if "held_out" in line],
  }


def _is_trained(workdir: Path) -> bool:
  """Returns whether a run has the checkpoint of its last step."""
  steps = runs.steps(workdir)
  return bool(steps) and json.loads(runs.config(workdir))["steps"] in steps


def _call(*words: str) -> None:
  """Runs a command of audiopalm in its own process; an AudiopalmError has its exit code."""
  code = subcommand.run(*words)
  if code == Requeue.exit_code:
    raise Requeue("The run was stopped and has saved. Start the same sweep again to resume it.")
  if code != EXIT_DONE:
    error = AudiopalmError(f"audiopalm {words[0]} failed with exit code {code}; see its output.")
    error.exit_code = code
    raise error


def _commit(folder: Path) -> str | None:
  """Returns the commit of the checkout that contains a config, None outside of a checkout."""

  def git(*words: str) -> str | None:
    process = subprocess.run(
      ["git", "-C", str(folder), *words], capture_output=True, encoding="utf-8"
    )
    return process.stdout.strip() if process.returncode == 0 else None

  commit = git("rev-parse", "--short", "HEAD")
  changes = git("status", "--porcelain", "--untracked-files=no") if commit else ""
  return f"{commit} with changes" if changes else commit


def _show(plan: sweep.SweepPlan, results: Path) -> None:
  """Prints the tables of the finished runs and of the comparisons."""
  console = Console()
  table = Table("run", "seeds finished", "minutes", "scores", box=None, pad_edge=False)
  for run in plan.runs:
    by_seed = [sweep.result(results, run, seed) for seed in plan.seeds]
    finished = [result for result in by_seed if result is not None]
    minutes = sum(sum(result["seconds"].values()) / 60 for result in finished)
    done = f"{len(finished)} of {len(plan.seeds)}"
    spent = f"{minutes:.0f}" if finished else ""
    table.add_row(run.name, done, spent, "  ".join(_means(run, finished)))
  console.print(table)
  titles = ("comparison", "expected", "from", "to", "difference", "")
  compared = Table(*titles, box=None, pad_edge=False)
  for outcome in sweep.outcomes(plan, results):
    compare, error = outcome.compare, outcome.error
    means = (f"{statistics.fmean(scores):.2f}" for scores in (outcome.source, outcome.to))
    difference = f"{outcome.difference:+.2f}" + ("" if error is None else f" ± {error:.2f}")
    title = f"{compare.name}: {compare.to[1]}"
    compared.add_row(title, compare.expect, *means, difference, outcome.verdict)
  if compared.row_count:
    console.print(compared)
    console.print(
      "± is the standard error over seeds; a difference is significant if it exceeds "
      f"{sweep.STANDARD_ERRORS:g} of them."
    )


def _means(run: sweep.SweepRun, results: list[dict[str, Any]]) -> Iterator[str]:
  for task in run.evaluate:
    for name in SHOWN_SCORES:
      values = [result["scores"].get(task, {}).get(name) for result in results]
      if values and None not in values:
        yield f"{task} {name} {statistics.fmean(values):.3g}"
