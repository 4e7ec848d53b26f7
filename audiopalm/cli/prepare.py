"""`audiopalm prepare`: from recordings to token streams and an index of rows."""

import argparse
import contextlib
from pathlib import Path

from audiopalm import sharding
from audiopalm.cli import config, hardware, options, outputs
from audiopalm.data import beam, corpora, lock, prepare
from audiopalm.data.manifest import corpus
from audiopalm.data.records import Source
from audiopalm.errors import EXIT_DONE, ConfigError
from audiopalm.settings import Machine

# Who makes or reads the records of each corpus: the only place that knows both sides.
SOURCES = {
  corpora.Synthetic: Source("data_pipelines.synthetic"),
  corpora.SyntheticDialogue: Source("data_pipelines.synthetic"),
  corpora.SyntheticText: Source("data_pipelines.synthetic"),
  corpora.SyntheticTranslations: Source("data_pipelines.synthetic"),
  corpora.SpokenDigit: Source("data_pipelines.spoken_digit"),
  corpora.SeqioText: Source("data_pipelines.seqio_text"),
  corpus.Manifest: Source("data_pipelines.manifest"),
}

DESCRIPTION = """Turn the corpora of a config into what training reads:

  1. fit the tokenizers on the training split      DIR/tokenizers/
  2. tokenize every record once                    DIR/streams/
  3. lay the tasks out and give every id a place   DIR/manifest.json
  4. pack the examples into rows                   DIR/rows/

It prints hours, tokens, packing efficiency and speed per task. Started again it
goes on where it stopped; what is there already is kept. A record that cannot be
used is left out and named with its reason in DIR/prepare.json; a task left with
no records is an error, and so are more than --max-bad of a split.

  audiopalm prepare quickstart --workdir runs/quickstart
  audiopalm prepare my_config.py --workdir runs/mine --max-bad 0.1%

Step 2 can be done by Apache Beam, on as many machines as its runner has: what
stands after -- are Beam's own options (docs/prepare_at_scale.md).

  audiopalm prepare my_config.py --workdir /shared/mine --executor beam -- \\
    --runner=DirectRunner --direct_num_workers=8 --direct_running_mode=multi_processing"""


def add_parser(commands: argparse._SubParsersAction) -> None:
  """Adds `prepare` to the command line."""
  parser = options.command(commands, "prepare", DESCRIPTION, run)
  config.add_arguments(parser)
  hardware.add_arguments(
    parser,
    "the hardware that will train, among whose devices the rows of a step must divide, which is "
    "checked now rather than hours later",
    "nothing is checked",
  )
  parser.add_argument(
    "--streams",
    metavar="DIR",
    type=Path,
    help="where the token streams lie, to share them between runs (default: WORKDIR/streams)",
  )
  options.add_workers(parser, "tokenize")
  options.add_max_bad(parser)
  parser.add_argument(
    "--executor",
    choices=("local", "beam"),
    default="local",
    help="what tokenizes: processes of this machine, or Apache Beam, with the options that follow "
    "--; --workers fit the tokenizers then (default: %(default)s)",
  )


def run(args: argparse.Namespace) -> int:
  """Returns the exit code of `audiopalm prepare`."""
  experiment = config.load(args.config, args.settings)
  machine = hardware.machine(args, Machine)
  if machine is not None:
    # An axis left open (-1) takes the devices there will be: here it counts as one.
    sharding.check_batch_rows(
      experiment.data.batch_rows, max(machine.data, 1) * max(machine.fsdp, 1)
    )
  outputs.check_workdir(args.workdir, config.find(args.config), experiment.to_json())
  workers, max_bad = options.workers(args), options.max_bad(args)
  with lock.held(args.workdir, "prepare"), _executor(args) as executor:
    prepare.prepare(
      experiment, args.workdir, SOURCES, args.streams, workers, executor=executor, max_bad=max_bad
    )
  return EXIT_DONE


def _executor(args: argparse.Namespace) -> contextlib.AbstractContextManager:
  """Returns the context of what tokenizes in place of this machine's processes, if anything."""
  if args.executor == "beam":
    return beam.Beam(args.passed_on, args.workdir)
  if args.passed_on:
    raise ConfigError(
      f"What follows -- are options of Apache Beam, got {' '.join(args.passed_on)}: add "
      "--executor beam, or leave them out."
    )
  return contextlib.nullcontext()
