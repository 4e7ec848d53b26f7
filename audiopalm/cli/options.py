"""What the commands of the line have in common: how they are added, and options of one meaning."""

import argparse
from collections.abc import Callable
from pathlib import Path


def command(
  commands: argparse._SubParsersAction,
  name: str,
  summary: str,
  description: str,
  run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
  """Returns the parser of a new command, for its own options. `run` returns the exit code."""
  parser = commands.add_parser(
    name,
    help=summary,
    description=description,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  parser.set_defaults(run=run)
  return parser


def add_trained(parser: argparse.ArgumentParser) -> None:
  """Adds the run a command works on."""
  parser.add_argument(
    "--workdir", metavar="DIR", type=Path, required=True, help="the folder of a trained run"
  )


def add_machine(parser: argparse.ArgumentParser) -> None:
  """Adds the hardware a command runs on."""
  parser.add_argument(
    "--machine",
    metavar="NAME",
    help="the hardware to run on: mesh, precision, remat (default: chosen by the first device); "
    "an unknown name lists the known ones",
  )
