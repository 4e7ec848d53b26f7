"""`audiopalm plan`: a config compiled for hardware that need not be there."""

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

if TYPE_CHECKING:  # asks for the devices of JAX
  from audiopalm.planning import topology

DESCRIPTION = """Compile the training step of a config for devices you may not have, and say
whether it fits, what it sends between them and what binds its speed. Needs no
data; for TPUs pip install 'audiopalm[aot]'.

  audiopalm plan audiopalm_8b --topology v5e:16x16
  audiopalm plan audiopalm_8b --topology v5e:16x16 --mesh fsdp=64,tensor=4 --json plan.json
  audiopalm plan audiopalm_8b --topology v5e:16x16 --workdir runs/8b
  audiopalm plan audiopalm_8b --topology v5e:16x16 --generate 256x2048
  audiopalm plan audiopalm_8b --topology v5e:16x16 --search --json plan.json
  audiopalm train audiopalm_8b --workdir runs/8b --machine plan.json
  audiopalm plan --topology cpu:8 --measure-rates cpu.json
  audiopalm plan quickstart --topology cpu:8 --rates cpu.json

The memory, the operations and the bytes over each mesh axis are those of the
program that the compiler of those devices made. The seconds are bounds that follow
from the devices' published rates: no step is faster, and nothing was run. A plan that
does not fit ends with exit code 1."""


def add_parser(commands: argparse._SubParsersAction) -> None:
  """Adds `plan` to the command line."""
  parser = options.command(commands, "plan", DESCRIPTION, run)
  config.add_config(parser, nargs="?")
  parser.add_argument("--topology", metavar="KIND:SHAPE", help="v5e:16x16, v5p:8x8x8, cpu:8, ...")
  parser.add_argument("--slices", metavar="N", type=int, default=1, help="slices of a TPU")
  hardware.add_arguments(parser, "the hardware to plan for", "that of the topology")
  parser.add_argument(
    "--generate", metavar="ROWSxSLOTS", help="plan decoding of so many sequences with such caches"
  )
  parser.add_argument("--search", action="store_true", help="try meshes, remat policies, batches")
  parser.add_argument(
    "--budget-s", metavar="S", type=float, default=600.0, help="seconds to search for"
  )
  parser.add_argument("--json", metavar="FILE", type=Path, help="write the plan there")
  parser.add_argument(
    "--workdir",
    metavar="DIR",
    type=options.folder,
    help="keep the plan there, for audiopalm preflight",
  )
  parser.add_argument(
    "--measure-rates",
    metavar="FILE",
    type=Path,
    help="measure so many CPU devices of this machine, plan nothing, and write their rates there",
  )
  parser.add_argument(
    "--rates", metavar="FILE", type=Path, help="the rates of cpu:N, as --measure-rates wrote them"
  )


def run(args: argparse.Namespace) -> int:
  """Returns the exit code of `audiopalm plan`."""
  console = rich.console.Console()
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  kind, _, count = (args.topology or "").partition(":")
  if kind == "cpu" and count.isdecimal():
    _force_devices(int(count))
  if args.measure_rates is not None:
    return _measure_rates(args, console)
  if args.config is None or args.topology is None:
    raise ConfigError("audiopalm plan needs a config and --topology, as in v5e:16x16.")
  if args.workdir is not None and (args.search or args.generate):
    raise ConfigError("--workdir keeps the plan of a training step: not of --search or --generate.")
  from audiopalm.planning import stored, topology  # the devices of JAX

  experiment = config.load(args.config, args.settings, args.trust)
  if args.json is not None:
    named = outputs.named_in(experiment.to_json())
    rates = [args.rates] if args.rates is not None else []
    read = outputs.inputs(config.find(args.config), *rates, *hardware.files(args), *named)
    outputs.check_file("--json", args.json, read, args.workdir, "JSON")
  on = topology.named(args.topology, args.slices, args.rates)
  of_topology = functools.partial(_of_topology, kind)
  machine = hardware.machine(args, of_topology) or of_topology()
  about = {"config": experiment.name, "digest": experiment.digest, "topology": args.topology}
  about |= {"slices": args.slices, "rates": dataclasses.asdict(on.chip)}
  result = about | _planned(args, experiment, machine, on, console)
  if args.json is not None:
    files.write_json(args.json, result)
    if result["fits"] and not args.generate:
      line = _how_to_train(args, result.get("batch_rows", experiment.data.batch_rows), experiment)
      console.print(f"To train so: {line}", soft_wrap=True, markup=False)
  if args.workdir is not None:
    files.write_json(stored.path_of(args.workdir, args.topology, machine), result)
  return EXIT_DONE if result["fits"] else EXIT_DOES_NOT_FIT


def _planned(
  args: argparse.Namespace,
  experiment: Experiment,
  machine: Machine,
  on: "topology.Topology",
  console: rich.console.Console,
) -> dict[str, Any]:
  """Returns what was asked for as JSON, after it was printed."""
  from audiopalm.planning import plan, search, show

  if args.search:
    ranked = search.search(
      experiment, machine, on, args.budget_s, tried=lambda one: console.print(show.line(one))
    )
    console.print(show.ranking(ranked))
    return search.ranking(ranked)
  if args.generate:
    made = plan.generation(experiment, machine, on, *_rows_and_slots(args.generate))
  else:
    made = plan.training(experiment, machine, on)
  show.plan(console, made, on)
  return plan.to_json(made)


def _how_to_train(args: argparse.Namespace, batch_rows: int, experiment: Experiment) -> str:
  """Returns the command that trains on the machine of a plan that was written as JSON."""
  settings = list(args.settings)
  if batch_rows != experiment.data.batch_rows:
    settings.append(f"data.batch_rows={batch_rows}")
  given = [word for setting in settings for word in ("--set", setting)]
  line = ["audiopalm", "train", args.config, "--workdir", "DIR", "--machine", str(args.json)]
  return shlex.join([*line, *given])


def _measure_rates(args: argparse.Namespace, console: rich.console.Console) -> int:
  if not re.fullmatch(r"cpu:[1-9]\d*", args.topology or ""):
    raise ConfigError("--measure-rates measures CPU devices: say how many, as in --topology cpu:8.")
  outputs.check_file("--measure-rates", args.measure_rates, outputs.inputs(), args.workdir, "JSON")
  from audiopalm.planning import calibrate

  chip = calibrate.measure(args.measure_rates)
  console.print(
    f"{chip.name}: {chip.flops / 1e9:.1f} GFLOP/s and {chip.memory_bandwidth / 1e9:.1f} GB/s of "
    f"memory a device, {chip.link / 1e9:.2f} GB/s between them, {chip.latency_s * 1e6:.0f} us a "
    f"collective; in {args.measure_rates}"
  )
  return EXIT_DONE


def _force_devices(count: int) -> None:
  """Makes this process have so many CPU devices, if JAX has not started yet."""
  flag = "--xla_force_host_platform_device_count"
  if flag not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}={count}".strip()


def _of_topology(kind: str) -> Machine:
  """Returns the machine of a topology's kind; on CPUs one that splits over all devices."""
  machine = machines.named(kind)
  return dataclasses.replace(machine, fsdp=-1) if kind == "cpu" else machine


def _rows_and_slots(text: str) -> tuple[int, int]:
  found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
  if found is None:
    raise ConfigError(f"--generate takes ROWSxSLOTS, as in 256x2048, not {text!r}.")
  return int(found[1]), int(found[2])
