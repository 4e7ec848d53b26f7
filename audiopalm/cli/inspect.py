"""`audiopalm inspect`: checks recordings before training, and shows the batch of a past step."""

import argparse
import functools
from pathlib import Path

from rich import console

from audiopalm import experiment as experiments
from audiopalm import runs
from audiopalm.cli import options, outputs
from audiopalm.data import past, prepare
from audiopalm.data import schedule as schedules
from audiopalm.data.executors import Local
from audiopalm.data.manifest import inspection, published
from audiopalm.data.manifest.lines import Reading
from audiopalm.errors import EXIT_DONE, EXIT_USER
from audiopalm.training import metrics

DESCRIPTION = """Check recordings before they are used, or look at the batch of a step of a run.

  audiopalm inspect data train.jsonl
  audiopalm inspect batch --workdir runs/quickstart --step 1200"""

DATA = """Read a manifest (JSONL or TSV) or a LibriSpeech-style folder, or several that make one
split, and every recording in them. --corpus reads tables of published corpora.
Prints hours, languages, speakers, lengths, ten examples, and two kinds of faults:
those of the manifest, which `prepare` refuses, and those of single recordings,
which it would leave out. The exit code is 2 if there are any.

  audiopalm inspect data train.jsonl
  audiopalm inspect data LibriSpeech/dev-clean --language en
  audiopalm inspect data covost_v2.fr_en.dev.tsv --language fr --translation-language en
  audiopalm inspect data data/en_us/dev.tsv data/fr_fr/dev.tsv --corpus fleurs"""


BATCH = """Rebuild the batch of a step and decode it: the record of each example, its words, and
with --out its speech as the model received it, as WAVs. Steps count from 1, as in
metrics.jsonl. Reads the files of `prepare`, and from the newest checkpoint the
settings and the steps at which they changed. If the data or the settings changed
since that step, the rebuilt batch differs; its digest is compared with that in
metrics.jsonl, and the exit code is 2 if they differ.

  audiopalm inspect batch --workdir runs/quickstart --step 1200
  audiopalm inspect batch --workdir runs/quickstart --step 1200 --out heard"""


def add_options(parser: argparse.ArgumentParser) -> None:
  """Adds `inspect data` and `inspect batch` with their options."""
  kinds = parser.add_subparsers(metavar="WHAT", required=True, help="what to look at")
  data = options.command(kinds, "data", DATA, _data, "a manifest, and all of its recordings")
  add = functools.partial(options.add, data)
  summary = "a JSONL or TSV file, or a folder"
  data.add_argument("manifest", metavar="MANIFEST", nargs="+", help=summary)
  add("--corpus", "read the tables of this published corpus", choices=published.READINGS)
  add("--language CODE", "the language of lines that do not name one (en, fr, ...)")
  add("--translation-language CODE", "the same for their translations")
  add("--audio-dir DIR", "the folder of relative audio paths (default: the manifest's)")
  options.add_workers(data, "read recordings")

  batch = options.command(kinds, "batch", BATCH, _batch, "the batch of a step of a run")
  options.add_workdir(batch, "the run")
  options.add_trust(batch)
  options.add(batch, "--step N", "the step, from 1", type=int, required=True)
  options.add(batch, "--out DIR", "where to write the speech, as WAVs", type=Path)


def _batch(args: argparse.Namespace) -> int:
  experiment, saved = experiments.of_run(args.workdir, args.trust), runs.newest(args.workdir)
  if args.out is not None:
    read = outputs.inputs(*outputs.of_run(args.workdir))
    outputs.check_folder("--out", args.out, read, workdir=args.workdir)
  prepared = prepare.open_prepared(experiment, args.workdir)
  lines = (line for line in metrics.read(args.workdir) if line["step"] == args.step)
  written = next((line["batch"] for line in lines if "batch" in line), None)
  saved_schedule = saved and saved["position"].get("schedule")
  schedule = schedules.from_json(saved_schedule) if saved_schedule else None
  batch = past.batch(prepared, experiment, args.step, written, schedule)
  past.show(batch, console.Console(), args.out)
  return EXIT_DONE if batch.is_the_one else EXIT_USER


def _data(args: argparse.Namespace) -> int:
  kind = published.READINGS.get(args.corpus, Reading)
  reading = kind(args.language, args.translation_language, args.audio_dir)
  with Local(args.workers) as executor:
    inspected = inspection.inspect(tuple(args.manifest), reading, executor)
  inspection.show(inspected, console.Console())
  return EXIT_USER if inspected.problems else EXIT_DONE
