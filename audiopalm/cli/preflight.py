"""`audiopalm preflight`: what is wrong with a run before it is given its machines."""

import argparse
import functools
import os

import rich.console
import rich.text

from audiopalm.cli import config, hardware, options
from audiopalm.errors import EXIT_DONE, EXIT_USER, ConfigError
from audiopalm.parts import machines

DESCRIPTION = """Check a run in seconds, before it waits in a queue or holds a machine: its
config, how its batch and arrays divide among the devices, the memory a plan has
found, room in the workdir, the data, and from which checkpoint it goes on. One
line a check; exit code 2 if any is wrong. No device computes, nothing is compiled.

  audiopalm preflight quickstart --workdir runs/quickstart
  audiopalm preflight my_config.py --workdir /shared/mine --machine h100 --devices 64
  audiopalm plan audiopalm_8b --topology v5e:16x16 --workdir /shared/mine
  audiopalm preflight audiopalm_8b --workdir /shared/mine --topology v5e:16x16

That all hosts run the same code and config is checked by train itself, as it starts."""

COLOURS = {"ok": "green", "note": "yellow", "wrong": "bold red"}


def add_parser(commands: argparse._SubParsersAction) -> None:
  """Adds `preflight` to the command line."""
  parser = options.command(commands, "preflight", DESCRIPTION, run)
  config.add_config(parser)
  parser.add_argument(
    "--workdir",
    metavar="DIR",
    type=options.folder,
    help="where everything of the run lies; without it only config and mesh are checked",
  )
  hardware.add_arguments(parser)
  parser.add_argument(
    "--devices", metavar="N", type=int, help="how many there will be (default: those here)"
  )
  parser.add_argument(
    "--num-processes", metavar="N", type=int, default=1, help="over how many (default: 1)"
  )
  parser.add_argument(
    "--topology",
    metavar="KIND:SHAPE",
    help="what there will be, as `audiopalm plan` names it: the plan kept in the workdir says "
    "whether the run fits",
  )


def run(args: argparse.Namespace) -> int:
  """Returns the exit code of `audiopalm preflight`."""
  experiment = config.load(args.config, args.settings, args.trust)
  for option, count in (("--devices", args.devices), ("--num-processes", args.num_processes)):
    if count is not None and count < 1:
      raise ConfigError(f"{option} takes a whole number of at least 1, not {count}.")
  if args.devices is not None or args.topology is not None:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # those here are not those it will have
  import jax

  from audiopalm.cluster import preflight
  from audiopalm.planning import stored

  kind, devices = (args.topology or "").partition(":")[0], args.devices
  if args.topology is not None:
    counted = stored.devices(args.topology)
    if devices not in (None, counted):
      raise ConfigError(f"--topology {args.topology} has {counted} devices, not {devices}.")
    devices = counted
  default = functools.partial(machines.named, kind) if kind else machines.default
  given = preflight.Given(
    hardware.machine(args, default) or default(),
    devices or jax.device_count(),
    args.num_processes,
    args.topology,
  )
  console, wrong = rich.console.Console(), 0
  for each in preflight.checks(experiment, given, args.workdir):
    mark = (f"{each.state:<6}", COLOURS[each.state])
    console.print(rich.text.Text.assemble(mark, f"{each.name:<11}{each.text}"), soft_wrap=True)
    wrong += each.state == "wrong"
  return EXIT_USER if wrong else EXIT_DONE
