"""The hardware a command runs on: a machine by its name or from a file, and what options change.

Nothing of it is kept in a workdir but the dtype of matrix products, which is the run's: the options
are given at each start, and may be others than before.
"""

import argparse
import dataclasses
import re
import typing
from collections.abc import Callable
from pathlib import Path

from audiopalm import values
from audiopalm.cli import options
from audiopalm.errors import ConfigError
from audiopalm.settings import Machine

KINDS = typing.get_type_hints(Machine)
AXES = tuple(Machine().mesh_sizes)
OPTIONS = ("machine", "mesh", "remat", "attention", "micro_batch_tokens")


def add_arguments(
  parser: argparse.ArgumentParser,
  use: str = "the hardware to run on",
  default: str = "chosen by the first device",
) -> None:
  """Adds the options of the machine; `machine` reads them."""
  summary = (
    f"{use}: mesh, precision, remat, by its name (an unknown one lists the known ones) or in a "
    f"JSON file, as plan --json writes it (default: {default})"
  )
  options.add(parser, "--machine NAME|FILE", summary)
  summary = (
    f"sizes of mesh axes ({', '.join(AXES)}) in place of the machine's; those left out are 1, fsdp "
    "what is left of the devices"
  )
  options.add(parser, "--mesh AXIS=N,...", summary)
  summaries = {"remat": "what the backward pass keeps", "attention": "how attention is computed"}
  for name, summary in summaries.items():
    options.add(parser, f"--{name}", summary, choices=typing.get_args(KINDS[name]))
  summary = "rows of the grid that a device takes at once, to need less memory; none: all of them"
  options.add(parser, "--micro-batch-tokens N", summary)


def machine(
  args: argparse.Namespace, default: Callable[[], Machine] | None = None
) -> Machine | None:
  """Returns the machine that the options describe, None where none is given.

  Without --machine they change what `default` returns: by default the machine of the first device.
  """
  if not repeat_options(args):
    return None
  from audiopalm.parts import machines  # imports jax

  choose = default or machines.default
  named = choose() if args.machine is None else machines.named(args.machine)
  return dataclasses.replace(named, **_changes(args))


def repeat_options(args: argparse.Namespace) -> list[str]:
  """Returns the options of the machine as they were given, for another command line."""
  named = [(name, getattr(args, name)) for name in OPTIONS if getattr(args, name) is not None]
  return [word for name, value in named for word in (f"--{name.replace('_', '-')}", value)]


def files(args: argparse.Namespace) -> list[Path]:
  """Returns the file that --machine names, none where it names a machine."""
  if args.machine is None:
    return []
  from audiopalm.parts import machines  # imports jax

  return [] if args.machine in machines.TABLE else [Path(args.machine)]


def _changes(args: argparse.Namespace) -> dict[str, str | int | None]:
  """Returns what the options put in the place of fields of a machine."""
  named = ("remat", "attention")
  changes = {name: getattr(args, name) for name in named if getattr(args, name) is not None}
  if (tokens := args.micro_batch_tokens) is not None:
    kind = KINDS["micro_batch_tokens"]
    changes["micro_batch_tokens"] = values.parse(tokens, kind, "--micro-batch-tokens")
  if args.mesh is None:
    return changes
  sizes: dict[str, int] = {}
  for part in args.mesh.split(","):
    axis, _, size = part.strip().partition("=")
    if axis not in AXES or axis in sizes or not re.fullmatch(r"-1|[1-9]\d*", size):
      raise ConfigError(
        f"--mesh takes sizes of {', '.join(AXES)}, each once, as in fsdp=64,tensor=4, not {part!r} "
        f"in {args.mesh!r}."
      )
    sizes[axis] = int(size)
  rest = {} if -1 in sizes.values() else {"fsdp": -1}
  return changes | dict.fromkeys(AXES, 1) | rest | sizes
