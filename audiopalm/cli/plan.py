"""`audiopalm plan`: a config compiled for hardware that need not be there."""

import argparse
import dataclasses
import os
import re
from pathlib import Path
from typing import Any

import rich.console

from audiopalm.cli import config, options, outputs
from audiopalm.data import files
from audiopalm.errors import EXIT_DOES_NOT_FIT, EXIT_DONE, ConfigError
from audiopalm.parts import machines

DESCRIPTION = """Compile the training step of a config for devices you may not have, and say
whether it fits, what it sends between them and what binds its speed. Needs no
data; for TPUs pip install 'audiopalm[aot]'.

  audiopalm plan audiopalm_8b --topology v5e:16x16
  audiopalm plan audiopalm_8b --topology v5e:16x16 --mesh fsdp=64,tensor=4 --json plan.json
  audiopalm plan audiopalm_8b --topology v5e:16x16 --workdir runs/8b
  audiopalm plan audiopalm_8b --topology v5e:16x16 --generate 256x2048
  audiopalm plan audiopalm_8b --topology v5e:16x16 --search
  audiopalm plan --topology cpu:8 --measure-rates cpu.json
  audiopalm plan quickstart --topology cpu:8 --rates cpu.json

The memory, the operations and the bytes over each mesh axis are those of the
program that the compiler of those devices made. The seconds are bounds that follow
from the devices' published rates: no step is faster, and nothing was run. A plan that
does not fit ends with exit code 1."""

AXES = ("data", "fsdp", "context", "tensor")


def add_parser(commands: argparse._SubParsersAction) -> None:
  """Adds `plan` to the command line."""
  parser = options.command(commands, "plan", DESCRIPTION, run)
  config.add_config(parser, nargs="?")
  parser.add_argument("--topology", metavar="KIND:SHAPE", help="v5e:16x16, v5p:8x8x8, cpu:8, ...")
  parser.add_argument("--slices", metavar="N", type=int, default=1, help="slices of a TPU")
  parser.add_argument(
    "--mesh",
    metavar="AXIS=N,...",
    help="sizes of mesh axes; those left out are 1, fsdp what is left",
  )
  options.add_machine(parser)
  parser.add_argument("--remat", metavar="POLICY", help="what the backward pass keeps")
  parser.add_argument("--attention", metavar="BACKEND", help="how attention is computed")
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
  from audiopalm.planning import plan, search, show, stored, topology  # the devices of JAX

  experiment = config.load(args.config, args.settings)
  if args.json is not None:
    named = outputs.named_in(experiment.to_json())
    rates = [args.rates] if args.rates is not None else []
    read = outputs.inputs(config.find(args.config), *rates, *named)
    outputs.check_file("--json", args.json, read, args.workdir, "JSON")
  on = topology.named(args.topology, args.slices, args.rates)
  machine = _machine(args, kind)
  if args.search:
    found = search.search(
      experiment, machine, on, args.budget_s, tried=lambda one: console.print(show.line(one))
    )
    console.print(show.ranking(found))
    result = search.ranking(found)
  else:
    if args.generate:
      made = plan.generation(experiment, machine, on, *_rows_and_slots(args.generate))
    else:
      made = plan.training(experiment, machine, on)
    show.plan(console, made, on)
    result = plan.to_json(made)
  about = {"config": experiment.name, "digest": experiment.digest, "topology": args.topology}
  result = {**about, "slices": args.slices, "rates": dataclasses.asdict(on.chip), **result}
  if args.json is not None:
    files.write_json(args.json, result)
  if args.workdir is not None:
    files.write_json(stored.path_of(args.workdir, args.topology, machine), result)
  return EXIT_DONE if result["fits"] else EXIT_DOES_NOT_FIT


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


def _machine(args: argparse.Namespace, kind: str) -> Any:
  """Returns the machine of the options: that of the topology's kind unless --machine names one."""
  machine = machines.named(args.machine or kind)
  if kind == "cpu" and args.machine is None:
    machine = dataclasses.replace(machine, fsdp=-1)
  changes = {name: getattr(args, name) for name in ("remat", "attention") if getattr(args, name)}
  if args.mesh:
    sizes = _mesh(args.mesh)
    changes |= {axis: 1 for axis in machine.mesh_sizes} | {"fsdp": -1} | sizes
  return dataclasses.replace(machine, **changes)


def _mesh(text: str) -> dict[str, int]:
  """Returns the sizes in "fsdp=64,tensor=4"."""
  sizes = {}
  for part in text.split(","):
    axis, equals, size = part.partition("=")
    if axis not in AXES or not equals or not re.fullmatch(r"-1|[1-9]\d*", size):
      raise ConfigError(
        f"--mesh takes sizes of {', '.join(AXES)}, as in fsdp=64,tensor=4, not {part!r}."
      )
    sizes[axis] = int(size)
  return sizes


def _rows_and_slots(text: str) -> tuple[int, int]:
  found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
  if found is None:
    raise ConfigError(f"--generate takes ROWSxSLOTS, as in 256x2048, not {text!r}.")
  return int(found[1]), int(found[2])
