"""`audiopalm plan`: compiles a config for hardware that need not be available."""

import argparse
import dataclasses
import functools
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich.console

from audiopalm.cli import config, hardware, options, outputs
from audiopalm.data import files
from audiopalm.errors import EXIT_DOES_NOT_FIT, EXIT_DONE, ConfigError
from audiopalm.experiment import Experiment
from audiopalm.parts import machines
from audiopalm.settings import Machine

if TYPE_CHECKING:  # initializes the devices of JAX
  from audiopalm.planning.topology import Topology

DESCRIPTION = """Compile the training step of a config for devices you may not have, and report
whether it fits in memory, what it sends between devices, and what limits its speed. Needs no
data; for TPUs run pip install 'audiopalm[aot]' first.

  audiopalm plan audiopalm_8b --topology v5e:16x16
  audiopalm plan audiopalm_8b --topology v5e:16x16 --mesh fsdp=64,tensor=4 --json plan.json
  audiopalm plan audiopalm_8b --topology v5e:16x16 --workdir runs/8b
  audiopalm plan audiopalm_8b --topology v5e:16x16 --generate 256x2048
  audiopalm plan audiopalm_8b --topology v5e:16x16 --search --json plan.json
  audiopalm train audiopalm_8b --workdir runs/8b --machine plan.json
  audiopalm plan quickstart --topology cpu:8

Memory, operations, and bytes over each mesh axis come from the compiled program. Times are lower
bounds computed from the published rates of the devices: nothing runs, and a real step is slower.
The rates of cpu:N (CPU devices of this machine) are guesses.
The exit code is 1 for a plan that does not fit."""


def add_options(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `plan`."""
  add = functools.partial(options.add, parser)
  config.add_config(parser)
  add("--topology KIND:SHAPE", "v5e:16x16, v5p:8x8x8, cpu:8, ...", required=True)
  add("--slices N", "number of TPU slices", type=int, default=1)
  hardware.add_arguments(parser, "the hardware to plan for", "that of the topology")
  summary = "plan decoding instead: ROWS sequences at once, each with a cache of SLOTS positions"
  add("--generate ROWSxSLOTS", summary)
  add("--search", "try meshes, remat policies and batch sizes", action="store_true")
  add("--budget-s S", "seconds for --search", type=float, default=600.0)
  add("--json FILE", "write the plan to this file", type=Path)
  summary = "store the plan in this workdir, where audiopalm preflight reads it"
  add("--workdir DIR", summary, type=options.folder)


def run(args: argparse.Namespace) -> int:
  """Returns the exit code of `audiopalm plan`."""
  console = rich.console.Console()
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  kind, _, count = args.topology.partition(":")
  flag = "--xla_force_host_platform_device_count"
  if kind == "cpu" and count.isdecimal() and flag not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}={count}".strip()
  if args.workdir is not None and (args.search or args.generate):
    raise ConfigError(
      "--workdir stores the plan of a training step: leave out --search and --generate."
    )
  from audiopalm.planning import plan, topology  # initialize the devices of JAX

  experiment = config.load(args.config, args.settings, args.trust)
  if args.json is not None:
    named = outputs.named_in(experiment.to_json())
    read = outputs.inputs(config.find(args.config), *hardware.files(args), *named)
    outputs.check_file("--json", args.json, read, args.workdir, "JSON")
  target = topology.named(args.topology, args.slices)
  # On CPUs the default machine shards over all devices.
  changes = {"fsdp": -1} if kind == "cpu" else {}
  default = lambda: dataclasses.replace(machines.named(kind), **changes)  # noqa: E731
  machine = hardware.machine(args, default) or default()
  result = {
    "config": experiment.name,
    "digest": experiment.digest,
    "topology": args.topology,
    "slices": args.slices,
    "rates": dataclasses.asdict(target.chip),
    **_planned(args, experiment, machine, target, console),
  }
  if args.json is not None:
    files.write_json(args.json, result)
    if result["fits"] and not args.generate:
      batch_rows = result.get("batch_rows", experiment.data.batch_rows)
      command = _train_command(args, batch_rows, experiment)
      console.print(f"To train on this plan: {command}", soft_wrap=True, markup=False)
  if args.workdir is not None:
    files.write_json(plan.path_in(args.workdir, args.topology, machine), result)
  return EXIT_DONE if result["fits"] else EXIT_DOES_NOT_FIT


def _planned(
  args: argparse.Namespace,
  experiment: Experiment,
  machine: Machine,
  target: "Topology",
  console: rich.console.Console,
) -> dict[str, Any]:
  """Prints the requested plan or search, and returns it as a JSON object."""
  from audiopalm.planning import plan, search, show

  if args.search:
    report = lambda candidate: console.print(" | ".join(show.cells(candidate)))  # noqa: E731
    ranked = search.search(experiment, machine, target, args.budget_s, report)
    console.print(show.ranking(ranked))
    return search.to_json(ranked)
  if args.generate:
    size = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", args.generate)
    if size is None:
      raise ConfigError(f"--generate takes ROWSxSLOTS, as in 256x2048, not {args.generate!r}.")
    result = plan.generation(experiment, machine, target, *map(int, size.groups()))
  else:
    result = plan.training(experiment, machine, target)
  show.show(console, result, target)
  return plan.to_json(result)


def _train_command(args: argparse.Namespace, batch_rows: int, experiment: Experiment) -> str:
  """Returns the command that trains on the machine of the plan in --json FILE."""
  settings = list(args.settings)
  if batch_rows != experiment.data.batch_rows:
    settings.append(f"data.batch_rows={batch_rows}")
  words = [word for setting in settings for word in ("--set", setting)]
  command = ["audiopalm", "train", args.config, "--workdir", "DIR", "--machine", str(args.json)]
  return shlex.join([*command, *words])
