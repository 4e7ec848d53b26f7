"""`audiopalm sweep`: the runs of a plan, one after another, and what they say together."""

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

DESCRIPTION = """Train and evaluate every run of a plan, each with every seed, those first that
others begin with. A plan is a TOML file; audiopalm/cluster/sweep.py shows one.

  audiopalm sweep configs/ablations/plan.toml --workdir runs/ablations --results results \\
    --set captions=DIR

Each finished run leaves a small JSON in RESULTS, with its scores, the curve of its held-out losses,
its seconds and versions. A run that has one is not run again: commit these files, and a sweep goes
on from them on another machine. Stopped in the middle (SIGTERM, Ctrl-C), it goes on where it was.

It ends with a table of what is finished, and of the comparisons that the plan expects: paired by
seed, a difference counts if it exceeds twice its standard error.

What follows -- are options of `audiopalm launch`, which then trains, as in -- --on slurm --nodes 2
--gpus-per-node 8. A run that is submitted and not finished is looked for when the sweep is called
again."""

SHOWN_SCORES = ("wer", "cer", "bleu", "chrf", "asr_bleu", "mcd", "nll")


def add_parser(commands: argparse._SubParsersAction) -> None:
  """Adds `sweep` to the command line."""
  parser = options.command(commands, "sweep", DESCRIPTION, run)
  parser.add_argument("plan", metavar="PLAN", type=Path, help="a TOML file")
  parser.add_argument(
    "--workdir", metavar="DIR", type=options.folder, required=True,
    help="the folder of all workdirs, DIR/RUN-SEED, and of the streams they share",
  )  # fmt: skip
  parser.add_argument(
    "--results", metavar="DIR", type=Path, required=True, help="where RUN-SEED.json are written"
  )
  parser.add_argument(
    "--only", metavar="A,B", help="these runs, and those they begin with (default: all)"
  )
  parser.add_argument(
    "--seeds", metavar="0,1", help="these seeds of the plan (default: all)"
  )  # fmt: skip
  parser.add_argument(
    "--hours", metavar="H", type=float, help="begin no run after so many hours (default: go on)"
  )
  parser.add_argument(
    "--set", metavar="PATH=VALUE", action="append", default=[], dest="settings",
    help="where things lie on this machine: a setting of every run that the results do not hold",
  )  # fmt: skip
  parser.add_argument(
    "--show", action="store_true", help="print the tables of what is finished, and run nothing"
  )
  options.add_trust(parser)


def run(args: argparse.Namespace) -> int:
  """Returns the exit code of `audiopalm sweep`."""
  plan = sweep.read(args.plan)
  todo = list(_chosen(plan, args))
  if not args.show:
    # Here and not an hour later; a file of a result's name is read, and refused if it is none.
    outputs.check_folder("--results", args.results, outputs.inputs())
    _run_all(todo, args)
  _show(plan, args.results)
  return EXIT_DONE


def _chosen(plan: sweep.Plan, args: argparse.Namespace) -> list[tuple[sweep.Run, int]]:
  """Returns the runs that are asked for, seed by seed, those first that others begin with."""
  names = {one.name for one in plan.runs}
  if args.only is not None:
    names = {plan.run(name.strip()).name for name in args.only.split(",")}
    for one in reversed(plan.runs):
      names |= set(one.after) if one.name in names else set()
  seeds = list(plan.seeds)
  if args.seeds is not None:
    seeds = [seed for seed in plan.seeds if str(seed) in args.seeds.replace(" ", "").split(",")]
    if not seeds:
      raise ConfigError(f"--seeds {args.seeds} are none of the plan's {plan.seeds}.")
  return [(one, seed) for seed in seeds for one in plan.runs if one.name in names]


def _run_all(todo: list[tuple[sweep.Run, int]], args: argparse.Namespace) -> None:
  started_s = time.monotonic()
  finished = {(one.name, seed) for one, seed in todo if sweep.result(args.results, one, seed)}
  needed = {
    (name, seed) for one, seed in todo if (one.name, seed) not in finished for name in one.after
  }
  for number, (one, seed) in enumerate(todo, 1):
    done = (one.name, seed) in finished
    if done and ((one.name, seed) not in needed or _trained(_workdir(args, one, seed))):
      continue
    hours = (time.monotonic() - started_s) / 3600
    if args.hours is not None and hours >= args.hours:
      print(f"{hours:.1f} hours have passed: no other run is begun.")
      return
    print(f"== {one.name}, seed {seed} ({number} of {len(todo)})", flush=True)
    _run(one, seed, args, measure=not done)


def _run(one: sweep.Run, seed: int, args: argparse.Namespace, measure: bool) -> None:
  """Trains a run to its last step; with `measure` evaluates it and writes its result."""
  workdir = _workdir(args, one, seed)
  for name in one.after:
    if not _trained(args.workdir / f"{name}-{seed}"):
      print(f"waits for {name}-{seed}, which is not finished")
      return
  settings = _settings(one, seed, args)
  trust = options.trusted(args)
  seconds, line = {}, [str(one.config), "--workdir", str(workdir), *settings, *trust]
  started_s = time.perf_counter()
  _call("prepare", *line, "--streams", str(args.workdir / "streams"))
  seconds["prepare"] = time.perf_counter() - started_s
  if not args.passed_on:
    _call("train", *line)
  elif not _trained(workdir):
    if (workdir / "launch").is_dir():
      print(f"{workdir / 'launch'} was submitted and is not finished")
      return
    _call("launch", *args.passed_on, "--", "train", *line)
  if not _trained(workdir):
    return
  if not measure:
    return
  scores: dict[str, Any] = {"at": {}}
  started_s = time.perf_counter()
  for step, tasks in one.at:
    scores["at"][str(step)] = _scores(workdir, tasks, step, trust)
  scores |= _scores(workdir, one.evaluate, None, trust)
  seconds["evaluate"] = time.perf_counter() - started_s
  found = _found(workdir, one, seed, scores, seconds)
  path = sweep.write_result(args.results, one, seed, found)
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


def _found(workdir: Path, one: sweep.Run, seed: int, scores: dict, seconds: dict) -> dict[str, Any]:
  """Returns all that is kept of a finished run; no path of this machine is in it."""
  from audiopalm.cluster import preflight  # imports jax
  from audiopalm.training import checkpoint

  measured = [
    line for line in json_lines.read_grown(workdir / "metrics.jsonl") if "held_out" in line
  ]
  booked = json_lines.read_grown(workdir / "goodput.jsonl")
  meta = checkpoint.latest(workdir)
  told = [f"--set={path}={value}" for path, value in (*one.settings, ("seed", seed))]
  return {
    "command": shlex.join(["audiopalm", "train", one.config.name, *told]),
    "code": preflight.code(),
    "commit": _commit(one.config.parent),
    "versions": {"python": platform.python_version(), **meta.versions},
    "processor": platform.processor() or platform.machine(),
    "cores": os.cpu_count(),
    "steps": meta.step,
    "seen": meta.position["seen"],
    "seconds": {**seconds, "train": sum(sum(e.get("seconds", {}).values()) for e in booked)},
    "scores": scores,
    "curve": [[line["step"], line["held_out"]] for line in measured],
  }


def _settings(one: sweep.Run, seed: int, args: argparse.Namespace) -> list[str]:
  names = {name: str(args.workdir / f"{name}-{seed}") for name in one.after}
  told = [f"{path}={value.format(**names)}" for path, value in one.settings]
  return [f"--set={setting}" for setting in (*told, *args.settings, f"seed={seed}")]


def _workdir(args: argparse.Namespace, one: sweep.Run, seed: int) -> Path:
  return args.workdir / f"{one.name}-{seed}"


def _trained(workdir: Path) -> bool:
  """Returns whether a run is at its last step."""
  have = runs.steps(workdir)
  return bool(have) and json.loads(runs.config(workdir))["steps"] in have


def _call(*line: str) -> None:
  """Runs a command of audiopalm in a process of its own; an error with its exit code."""
  process = subprocess.Popen([sys.executable, "-m", "audiopalm", *line])
  try:
    code = process.wait()
  except BaseException:  # asked to stop: so is what runs, which saves
    process.terminate()
    process.wait()
    raise
  if code == Requeue.exit_code:
    raise Requeue("The run was stopped and has saved. Start the same sweep again: it goes on.")
  if code != EXIT_DONE:
    error = AudiopalmError(f"audiopalm {line[0]} ended with {code}; what it said is above.")
    error.exit_code = code
    raise error


def _commit(folder: Path) -> str | None:
  """Returns the commit of the checkout that a config lies in, None outside of one."""
  git = ["git", "-C", str(folder)]
  found = subprocess.run(
    [*git, "rev-parse", "--short", "HEAD"], capture_output=True, encoding="utf-8"
  )
  if found.returncode:
    return None
  changed = subprocess.run(
    [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, encoding="utf-8"
  )
  return found.stdout.strip() + (" with changes" if changed.stdout.strip() else "")


def _show(plan: sweep.Plan, results: Path) -> None:
  """Prints what is finished, and what the comparisons came to."""
  console = Console()
  drawn = Table("run", "seeds finished", "minutes", "scores", box=None, pad_edge=False)
  for one in plan.runs:
    found = {seed: sweep.result(results, one, seed) for seed in plan.seeds}
    there = [result for result in found.values() if result is not None]
    minutes = [sum(result["seconds"].values()) / 60 for result in there]
    drawn.add_row(
      one.name,
      f"{len(there)} of {len(plan.seeds)}",
      f"{sum(minutes):.0f}" if there else "",
      "  ".join(_means(one, there)),
    )
  console.print(drawn)
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
      f"± is the standard error over seeds; a difference of more than {sweep.ERRORS:g} counts."
    )


def _means(one: sweep.Run, results: list[dict[str, Any]]) -> Iterator[str]:
  for task in one.evaluate:
    for name in SHOWN_SCORES:
      values = [result["scores"].get(task, {}).get(name) for result in results]
      if values and None not in values:
        yield f"{task} {name} {statistics.fmean(values):.3g}"
