"""`audiopalm compare`: writes one page that compares several runs."""

import argparse
from pathlib import Path

from audiopalm import quantities
from audiopalm.cli import options, outputs
from audiopalm.errors import EXIT_DONE, ConfigError

DESCRIPTION = """Write one page that compares runs: the settings that differ, the scores with the
best of each marked, and the curves over the number of training tokens. The page is
self-contained and works offline.

  audiopalm compare runs/small runs/large --out compare.html

Runs may have different tasks, and may still be training or not be evaluated; the page
lists what is missing. A score is marked as best only among runs that were evaluated on
the same examples."""


def add_options(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `compare`."""
  summary = "the folders of two or more runs"
  parser.add_argument("workdirs", metavar="DIR", nargs="+", type=options.folder, help=summary)
  options.add(parser, "--out FILE", "the HTML file to write", type=Path, required=True)
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
      f"--out takes a file in an existing folder, but {args.out.parent} does not exist. Create it, "
      "or give another path."
    )
  text = comparison.page([run_files.read(workdir, args.trust) for workdir in args.workdirs])
  with files.replacing(args.out) as part:
    part.write_text(text, encoding="utf-8")
  print(f"Comparison: {args.out} ({quantities.size(len(text.encode()))})")
  return EXIT_DONE
