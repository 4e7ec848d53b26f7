"""`audiopalm sweep`: trains and evaluates the runs of a plan, and compares their scores."""

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from audiopalm.cli import options, outputs
from audiopalm.cluster import sweep
from audiopalm.data import files, json_lines
from audiopalm.errors import EXIT_DONE, AudiopalmError, ConfigError, Requeue
from audiopalm.parts import runs

DESCRIPTION = """Train and evaluate every run of a plan with each seed, in the order of their
dependencies. A plan is a TOML file; audiopalm/cluster/sweep.py documents its format.

  audiopalm sweep configs/ablations/plan.toml --workdir runs/ablations --results results

Each finished run leaves a small JSON file in RESULTS with its scores, the curve of its held-out
losses, its run time and versions. A run with such a file is not repeated: commit these files to
continue a sweep on another machine. A sweep that is stopped (SIGTERM, Ctrl-C) resumes where it was.

At the end it prints a table of the finished runs and one of the comparisons in the plan. These pair
scores by seed; a difference is significant if it exceeds twice its standard error.

Options after -- are those of `audiopalm launch`, which then trains, as in -- --on slurm --nodes 2
--gpus-per-node 8. Call the sweep again to continue after a submitted run has finished."""

SHOWN_SCORES = ("wer", "cer", "bleu", "chrf", "asr_bleu", "mcd", "nll")

SeededRun = tuple[sweep.SweepRun, int]  # a run, and its seed


def add_parser(commands: argparse._SubParsersAction) -> None:
  """Adds `sweep` to the command line."""
  parser = options.command(commands, "sweep", DESCRIPTION, run)
  parser.add_argument("plan", metavar="PLAN", type=Path, help="a TOML file")
  parser.add_argument(
    "--workdir", metavar="DIR", type=options.folder, required=True,
    help="folder of the workdirs, DIR/RUN-SEED, and of the streams they share",
  )  # fmt: skip
  parser.add_argument(
    "--results", metavar="DIR", type=Path, required=True, help="folder for RUN-SEED.json"
  )
  parser.add_argument(
    "--only", metavar="A,B", help="only these runs and their dependencies (default: all)"
  )
  parser.add_argument("--seeds", metavar="0,1", help="only these seeds of the plan (default: all)")
  parser.add_argument(
    "--hours", metavar="H", type=float, help="start no run after this time (default: no limit)"
  )
  parser.add_argument(
    "--set", metavar="PATH=VALUE", action="append", default=[], dest="settings",
    help="a setting of every run that depends on this machine, such as a folder; it is not written "
    "to the results",
  )  # fmt: skip
  parser.add_argument(
    "--show", action="store_true", help="run nothing; print the tables of finished runs"
  )
  options.add_trust(parser)


def run(args: argparse.Namespace) -> int:
  """Returns the exit code of `audiopalm sweep`."""
  plan = sweep.read(args.plan)
  selected = _selected(plan, args)
  if not args.show:
    # Checked before the first run; files with the name of a result are read by `sweep.result`.
    outputs.check_folder("--results", args.results, outputs.inputs())
    _run_all(selected, args)
  _show(plan, args.results)
  return EXIT_DONE


def _selected(plan: sweep.SweepPlan, args: argparse.Namespace) -> list[SeededRun]:
  """Returns the requested runs, seed by seed and each after its dependencies."""
  names = {run.name for run in plan.runs}
  if args.only is not None:
    names = {plan.run(name.strip()).name for name in args.only.split(",")}
    for run in reversed(plan.runs):
      names |= set(run.dependencies) if run.name in names else set()
  seeds = list(plan.seeds)
  if args.seeds is not None:
    seeds = [seed for seed in plan.seeds if str(seed) in args.seeds.replace(" ", "").split(",")]
    if not seeds:
      raise ConfigError(f"--seeds {args.seeds}: the plan has none of these, only {plan.seeds}.")
  return [(run, seed) for seed in seeds for run in plan.runs if run.name in names]


def _run_all(selected: list[SeededRun], args: argparse.Namespace) -> None:
  started_s = time.monotonic()
  finished = {(run.name, seed) for run, seed in selected if sweep.result(args.results, run, seed)}
  needed = {
    (name, seed)
    for run, seed in selected
    if (run.name, seed) not in finished
    for name in run.dependencies
  }
  for number, (run, seed) in enumerate(selected, 1):
    done = (run.name, seed) in finished
    if done and ((run.name, seed) not in needed or _trained(_workdir(args, run.name, seed))):
      continue
    hours = (time.monotonic() - started_s) / 3600
    if args.hours is not None and hours >= args.hours:
      print(f"{hours:.1f} hours have passed: no other run starts.")
      return
    print(f"== {run.name}, seed {seed} ({number} of {len(selected)})", flush=True)
    seconds = _train(run, seed, args)
    if seconds is not None and not done:
      _evaluate(run, seed, args, seconds)


def _train(run: sweep.SweepRun, seed: int, args: argparse.Namespace) -> dict[str, float] | None:
  """Prepares a run and trains it to its last step, and returns the seconds of `prepare`; None for a
  run that waits for a launched one."""
  workdir = _workdir(args, run.name, seed)
  for name in run.dependencies:
    if not _trained(_workdir(args, name, seed)):
      print(f"waits for {name}-{seed}, which is not finished")
      return None
  trust = options.trusted(args)
  words = [str(run.config), "--workdir", str(workdir), *_settings(run, seed, args), *trust]
  started_s = time.perf_counter()
  _call("prepare", *words, "--streams", str(args.workdir / "streams"))
  seconds = {"prepare": time.perf_counter() - started_s}
  if not args.passed_on:
    _call("train", *words)
  elif not _trained(workdir):
    if (workdir / "launch").is_dir():
      print(f"{workdir / 'launch'} was submitted and is not finished")
      return None
    _call("launch", *args.passed_on, "--", "train", *words)
  return seconds if _trained(workdir) else None


def _evaluate(
  run: sweep.SweepRun, seed: int, args: argparse.Namespace, seconds: dict[str, float]
) -> None:
  """Scores a trained run and writes its result."""
  workdir = _workdir(args, run.name, seed)
  started_s = time.perf_counter()
  trust = options.trusted(args)
  scores = {"at": {str(step): _scores(workdir, tasks, step, trust) for step, tasks in run.at}}
  scores |= _scores(workdir, run.evaluate, None, trust)
  seconds["evaluate"] = time.perf_counter() - started_s
  path = sweep.write_result(args.results, run, seed, _contents(workdir, run, seed, scores, seconds))
  print(f"Finished: {path}", flush=True)


def _scores(
  workdir: Path, tasks: tuple[str, ...], step: int | None, trust: Sequence[str]
) -> dict[str, Any]:
  if not tasks:
    return {}
  path = workdir / "sweep_scores.json"
  at = [] if step is None else ["--step", str(step)]
  _call(
    "evaluate", "--workdir", str(workdir), "--tasks", ",".join(tasks), "--json", str(path),
    "--no-baselines", *at, *trust,
  )  # fmt: skip
  return files.read_json(path)


def _contents(
  workdir: Path,
  run: sweep.SweepRun,
  seed: int,
  scores: dict[str, Any],
  seconds: dict[str, float],
) -> dict[str, Any]:
  """Returns the result of a finished run, without any path of this machine."""
  from audiopalm.cluster import preflight  # imports jax
  from audiopalm.training import checkpoint

  metrics = json_lines.read_grown(workdir / "metrics.jsonl")
  goodput = json_lines.read_grown(workdir / "goodput.jsonl")
  meta = checkpoint.latest(workdir)
  settings = [f"--set={path}={value}" for path, value in (*run.settings, ("seed", seed))]
  train_s = sum(sum(line.get("seconds", {}).values()) for line in goodput)
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


def _settings(run: sweep.SweepRun, seed: int, args: argparse.Namespace) -> list[str]:
  workdirs = {name: str(_workdir(args, name, seed)) for name in run.dependencies}
  own = [f"{path}={value.format(**workdirs)}" for path, value in run.settings]
  return [f"--set={setting}" for setting in (*own, *args.settings, f"seed={seed}")]


def _workdir(args: argparse.Namespace, name: str, seed: int) -> Path:
  return args.workdir / f"{name}-{seed}"


def _trained(workdir: Path) -> bool:
  """Returns whether a run has the checkpoint of its last step."""
  steps = runs.steps(workdir)
  return bool(steps) and json.loads(runs.config(workdir))["steps"] in steps


def _call(*words: str) -> None:
  """Runs a command of audiopalm in its own process; an AudiopalmError has its exit code."""
  process = subprocess.Popen([sys.executable, "-m", "audiopalm", *words])
  try:
    code = process.wait()
  except BaseException:  # a signal to stop: the command stops too, and saves
    process.terminate()
    process.wait()
    raise
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
    table.add_row(
      run.name,
      f"{len(finished)} of {len(plan.seeds)}",
      f"{minutes:.0f}" if finished else "",
      "  ".join(_means(run, finished)),
    )
  console.print(table)
  compared = Table(
    "comparison", "expected", "from", "to", "difference", "", box=None, pad_edge=False
  )
  for outcome in sweep.outcomes(plan, results):
    compare, error = outcome.compare, outcome.error
    compared.add_row(
      f"{compare.name}: {compare.to[1]}",
      compare.expect,
      f"{statistics.fmean(outcome.source):.2f}",
      f"{statistics.fmean(outcome.to):.2f}",
      f"{outcome.difference:+.2f}" + ("" if error is None else f" ± {error:.2f}"),
      outcome.verdict,
    )
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
