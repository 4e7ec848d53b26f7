"""`audiopalm compare`: several runs side by side on one page."""

import argparse
from pathlib import Path

from audiopalm import quantities
from audiopalm.cli import options, outputs
from audiopalm.errors import EXIT_DONE, ConfigError

DESCRIPTION = """Write one page that compares runs: the settings in which they differ, their scores
with the best of each marked, and their curves over the tokens they were trained
on. Like a report it works offline and needs nothing beside it.

  audiopalm compare runs/small runs/large --out compare.html

Runs may have different tasks and may be half trained or not evaluated: what one
lacks is said. A score is marked as best only among runs that answered the same
examples."""


def add_parser(commands: argparse._SubParsersAction) -> None:
  """Adds `compare` to the command line."""
  parser = options.command(commands, "compare", DESCRIPTION, run)
  parser.add_argument(
    "workdirs",
    metavar="DIR",
    nargs="+",
    type=options.folder,
    help="the folders of two or more runs",
  )
  parser.add_argument(
    "--out", metavar="FILE", type=Path, required=True, help="the page to write, an HTML file"
  )
  options.add_trust(parser)


def run(args: argparse.Namespace) -> int:
  """Returns the exit code of `audiopalm compare`."""
  from audiopalm.data import files  # these import jax
  from audiopalm.report import comparison
  from audiopalm.report import run as run_files

  if len(args.workdirs) < 2:
    raise ConfigError(
      f"Give two or more runs to compare, not only {args.workdirs[0]}. For a page about one run: "
      f"audiopalm report --workdir {args.workdirs[0]}"
    )
  for workdir in args.workdirs:
    read = outputs.inputs(*outputs.of_run(workdir))
    outputs.check_file("--out", args.out, read, workdir, "HTML")
  if not args.out.parent.is_dir():
    raise ConfigError(
      f"--out takes a file in a folder that exists, but there is no {args.out.parent}. Make it, or "
      "name another."
    )
  text = comparison.page([run_files.read(workdir, args.trust) for workdir in args.workdirs])
  with files.replacing(args.out) as part:
    part.write_text(text, encoding="utf-8")
  print(f"Comparison: {args.out} ({quantities.size(len(text.encode()))})")
  return EXIT_DONE
