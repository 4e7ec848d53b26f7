"""`audiopalm report`: writes one page about a run, with audio."""

import argparse

from audiopalm import quantities
from audiopalm.cli import options
from audiopalm.errors import EXIT_DONE

DESCRIPTION = """Write DIR/report.html, one self-contained page: scores, examples with spectrograms
and audio players for source, reference and generated speech, curves and tokens by task,
how the time was spent, the config and the token space. It works offline, without JavaScript,
and on a phone.

  audiopalm report --workdir runs/quickstart

A run that is still training or not evaluated gets a page too, which lists what is missing
and the command that produces it."""


def add_options(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `report`."""
  options.add_trained(parser)


def run(args: argparse.Namespace) -> int:
  """Returns the exit code of `audiopalm report`."""
  from audiopalm.report import run as run_files  # these import jax
  from audiopalm.report import single

  files = run_files.read(args.workdir, args.trust)
  path = single.write(files)
  print(f"Report: {path} ({quantities.size(path.stat().st_size)})")
  for gap, command in files.gaps():
    print(f"{gap} {command}")
  return EXIT_DONE
