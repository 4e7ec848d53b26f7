"""`audiopalm report`: one page about a run, to read and to hear."""

import argparse

from audiopalm import quantities
from audiopalm.cli import options
from audiopalm.errors import EXIT_DONE

DESCRIPTION = """Write DIR/report.html, one page that needs nothing beside it: scores, examples with
spectrograms and players of source, reference and generated speech, curves by
task, tokens by task, where the time went, config and manifest. It works
offline, without JavaScript, on a phone.

  audiopalm report --workdir runs/quickstart

A run that is half trained or not evaluated gets a page too: it says what is
missing and the command that makes it."""


def add_parser(commands: argparse._SubParsersAction) -> None:
  """Adds `report` to the command line."""
  parser = options.command(commands, "report", DESCRIPTION, run)
  options.add_trained(parser)


def run(args: argparse.Namespace) -> int:
  """Returns the exit code of `audiopalm report`."""
  from audiopalm.report import run as run_files  # these import jax
  from audiopalm.report import single

  found = run_files.read(args.workdir, args.trust)
  path = single.write(found)
  print(f"Report: {path} ({quantities.size(path.stat().st_size)})")
  for what, command in found.gaps():
    print(f"{what} {command}")
  return EXIT_DONE
