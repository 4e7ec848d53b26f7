"""`audiopalm align`: adds the times of words and phones to a manifest."""

import argparse
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from rich import console, table

from audiopalm.cli import hardware, options, outputs
from audiopalm.data.manifest import published
from audiopalm.data.manifest.lines import Reading
from audiopalm.errors import EXIT_DONE

if TYPE_CHECKING:  # imports jax
  from audiopalm.inference import timing

DESCRIPTION = """Write a copy of a manifest with columns for the times of words and phones.

  audiopalm align train.jsonl --workdir runs/aligner --out train.timed.jsonl

The run must be trained with CTC on phonemes or text (configs/systems/aligner.py); only phonemes
give times of phones. The new manifest is JSON Lines with all lines and columns of the old one;
`confidence` is the mean probability of the aligned symbols, from 0 to 1. A line with a fault, or
whose recording cannot be aligned, is copied unchanged and counted with its reason.

If interrupted, run the same command again to continue."""


def add_options(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `align`."""
  add = functools.partial(options.add, parser)
  summary = "a JSONL or TSV file, or a folder; several make one manifest"
  parser.add_argument("manifest", metavar="MANIFEST", nargs="+", help=summary)
  options.add_trained(parser)
  options.add_step(parser)
  add("--out FILE", "the new manifest, .jsonl; it must not exist", type=Path, required=True)
  add("--corpus", "read the tables of this published corpus", choices=published.READINGS)
  add("--language CODE", "the language of lines that do not name one (en, fr, ...)")
  add("--translation-language CODE", "the same for their translations")
  add("--audio-dir DIR", "the folder of relative audio paths (default: the manifest's)")
  options.add_workers(parser, "read recordings")
  hardware.add_arguments(parser)
  options.add_products(parser)


def run(args: argparse.Namespace) -> int:
  """Returns the exit code of `audiopalm align`."""
  from audiopalm import session  # imports jax
  from audiopalm.inference import alignment, timing

  read = outputs.inputs(*args.manifest, *hardware.files(args), *outputs.of_run(args.workdir))
  outputs.check_file("--out", args.out, read, workdir=args.workdir)
  kind = published.READINGS.get(args.corpus, Reading)
  reading = kind(args.language, args.translation_language, args.audio_dir)
  trained = session.load(args.workdir, hardware.machine(args), args.step, args.products, args.trust)
  aligner = alignment.aligner(trained)
  summary = timing.write(aligner, tuple(args.manifest), reading, args.out, args.workers)
  show(summary, console.Console())
  return EXIT_DONE


def show(summary: "timing.TimingSummary", out: console.Console) -> None:
  """Prints how many lines were aligned, and why the others were not."""
  mean = f", with a mean confidence of {summary.confidence:.3f}" if summary.aligned else ""
  out.print(f"{summary.aligned:,} of {summary.lines:,} lines were aligned{mean}.", highlight=False)
  if summary.kinds:
    rows = table.Table("lines", "copied unchanged: the first of each kind", box=None)
    for about in summary.kinds.values():
      rows.add_row(f"{about['records']:,}", about["first"])
    out.print(rows, markup=False, highlight=False)
