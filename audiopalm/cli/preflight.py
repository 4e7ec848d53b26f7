"""`audiopalm preflight`: finds faults of a run before it gets its machines."""

import argparse
import functools
import os

import rich.console
import rich.text

from audiopalm.cli import config, hardware, options
from audiopalm.errors import EXIT_DONE, EXIT_USER, ConfigError
from audiopalm.parts import machines

DESCRIPTION = """Check a run in seconds, before it waits in a queue or occupies a machine: the
config, whether its batch and arrays divide over the devices, the memory of a stored plan,
room in the workdir, the data, and the checkpoint it resumes from. Prints one line per check; the
exit code is 2 if any fails. Nothing is compiled or run on a device.

  audiopalm preflight quickstart --workdir runs/quickstart
  audiopalm preflight my_config.py --workdir /shared/mine --machine h100 --devices 64
  audiopalm plan audiopalm_8b --topology v5e:16x16 --workdir /shared/mine
  audiopalm preflight audiopalm_8b --workdir /shared/mine --topology v5e:16x16

When it starts, training itself checks that all hosts run the same code and config."""

COLORS = {"ok": "green", "note": "yellow", "wrong": "bold red"}


def add_options(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `preflight`."""
  add = functools.partial(options.add, parser)
  config.add_config(parser)
  summary = "the folder of the run; without it only code, config and mesh are checked"
  add("--workdir DIR", summary, type=options.folder)
  hardware.add_arguments(parser)
  at_least_1 = options.at_least(1)
  add("--devices N", "number of devices (default: those of this machine)", type=at_least_1)
  add("--num-processes N", "number of processes (default: 1)", type=at_least_1, default=1)
  summary = "the devices, as for `audiopalm plan`; checks memory against the plan in the workdir"
  add("--topology KIND:SHAPE", summary)


def run(args: argparse.Namespace) -> int:
  """Returns the exit code of `audiopalm preflight`."""
  experiment = config.load(args.config, args.settings, args.trust)
  if args.devices is not None or args.topology is not None:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # do not open the accelerators of this machine
  import jax

  from audiopalm.cluster import preflight
  from audiopalm.planning import topology

  kind, devices = (args.topology or "").partition(":")[0], args.devices
  if args.topology is not None:
    count = topology.device_count(args.topology)
    if devices not in (None, count):
      raise ConfigError(f"--topology {args.topology} has {count} devices, not {devices}.")
    devices = count
  default = functools.partial(machines.named, kind) if kind else machines.default
  machine, devices = hardware.machine(args, default) or default(), devices or jax.device_count()
  target = preflight.TargetHardware(machine, devices, args.num_processes, args.topology)
  console, code = rich.console.Console(), EXIT_DONE
  for check in preflight.checks(experiment, target, args.workdir):
    mark = (f"{check.state:<6}", COLORS[check.state])
    console.print(rich.text.Text.assemble(mark, f"{check.name:<11}{check.text}"), soft_wrap=True)
    code = EXIT_USER if check.state == "wrong" else code
  return code
