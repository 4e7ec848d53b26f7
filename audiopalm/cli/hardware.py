"""The hardware a command runs on: a machine by name or from a file, changed by options.

A workdir does not store it, except for the dtype of matrix products: the options are given at each
start and may differ from those of earlier starts.
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
    f"{use} (mesh, precision, remat): a name (an unknown one lists the known ones) or a JSON "
    f"file, as plan --json writes it (default: {default})"
  )
  options.add(parser, "--machine NAME|FILE", summary)
  summary = (
    f"sizes of mesh axes ({', '.join(AXES)}) instead of the machine's; by default fsdp takes all "
    "remaining devices and the others are 1"
  )
  options.add(parser, "--mesh AXIS=N,...", summary)
  summaries = {
    "remat": "which activations the backward pass recomputes",
    "attention": "implementation of attention",
  }
  for name, summary in summaries.items():
    options.add(parser, f"--{name}", summary, choices=typing.get_args(KINDS[name]))
  summary = "grid rows that a device processes at once, fewer to save memory; none: all of them"
  options.add(parser, "--micro-batch-tokens N", summary)


def machine(
  args: argparse.Namespace, default: Callable[[], Machine] | None = None
) -> Machine | None:
  """Returns the machine that the options describe, None if no option is given.

  Without --machine they change `default()`, or the machine of the first device if that is None.
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
  """Returns the file that --machine names; [] if it names a known machine or is not given."""
  if args.machine is None:
    return []
  from audiopalm.parts import machines  # imports jax

  return [] if args.machine in machines.TABLE else [Path(args.machine)]


def _changes(args: argparse.Namespace) -> dict[str, str | int | None]:
  """Returns the fields of a machine that the options change."""
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
