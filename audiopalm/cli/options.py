"""What the commands of the line have in common: how they are added, and options of one meaning."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

from audiopalm.errors import ConfigError


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


def folder(text: str) -> Path:
  """Returns the path that an option names; an error for the address of an object store."""
  if re.match(r"[a-z][a-z0-9+.-]*://", text):
    raise argparse.ArgumentTypeError(
      f"{text} is the address of an object store, and audiopalm reads and writes files by their "
      "path: mount the bucket (gcsfuse, mountpoint-s3) and give the path that it has then; "
      "docs/launch.md says what to expect of one"
    )
  return Path(text)


def add_trained(parser: argparse.ArgumentParser) -> None:
  """Adds the run a command works on."""
  parser.add_argument(
    "--workdir", metavar="DIR", type=folder, required=True, help="the folder of a trained run"
  )


def add_workers(parser: argparse.ArgumentParser, work: str) -> None:
  """Adds how many processes do the work; `workers` reads it."""
  parser.add_argument(
    "--workers",
    metavar="N",
    type=int,
    help=f"processes that {work} at one time (default: one for each core)",
  )


def workers(args: argparse.Namespace) -> int | None:
  """Returns how many processes were asked for, None for one per core."""
  if args.workers is not None and args.workers < 1:
    raise ConfigError(f"--workers takes a whole number of at least 1, not {args.workers}.")
  return args.workers


def add_machine(parser: argparse.ArgumentParser) -> None:
  """Adds the hardware a command runs on."""
  parser.add_argument(
    "--machine",
    metavar="NAME",
    help="the hardware to run on: mesh, precision, remat (default: chosen by the first device); "
    "an unknown name lists the known ones",
  )
