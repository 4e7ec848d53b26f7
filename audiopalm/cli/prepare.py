"""`audiopalm prepare`: from recordings to token streams and an index of rows."""

import argparse
import contextlib
from pathlib import Path

from audiopalm import experiment as experiments
from audiopalm import runs, sharding
from audiopalm.cli import config, hardware, options, outputs
from audiopalm.data import beam, lock, prepare
from audiopalm.errors import EXIT_DONE, ConfigError
from audiopalm.settings import Machine

DESCRIPTION = """Turn the corpora of a config into what training reads:

  1. fit the tokenizers on the training split      DIR/tokenizers/
  2. tokenize every record once                    DIR/streams/
  3. lay the tasks out and give every id a place   DIR/manifest.json
  4. pack the examples into rows                   DIR/rows/
  5. write the config, as it was resolved          DIR/config.json

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


def add_options(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `prepare`."""
  config.add_arguments(parser, "prepare")
  hardware.add_arguments(
    parser,
    "the hardware that will train, among whose devices the rows of a step must divide, which is "
    "checked now rather than hours later",
    "nothing is checked",
  )
  summary = "where the token streams lie, to share them between runs (default: WORKDIR/streams)"
  options.add(parser, "--streams DIR", summary, type=Path)
  options.add_workers(parser, "tokenize", none="which runs encoders on its accelerators")
  options.add_max_bad(parser)
  summary = (
    "what tokenizes: processes of this machine, or Apache Beam, with the options that follow --; "
    "--workers fit the tokenizers then (default: %(default)s)"
  )
  options.add(parser, "--executor", summary, choices=("local", "beam"), default="local")


def run(args: argparse.Namespace) -> int:
  """Returns the exit code of `audiopalm prepare`."""
  experiment = config.load(args.config, args.settings, args.trust)
  machine = hardware.machine(args, Machine)
  if machine is not None:
    # An axis left open (-1) takes the devices there will be: here it counts as one.
    ways = max(machine.data, 1) * max(machine.fsdp, 1)
    sharding.check_batch_rows(experiment.data.batch_rows, ways)
  outputs.check_workdir(args.workdir, config.find(args.config), experiment.to_json())
  if args.passed_on and args.executor != "beam":
    raise ConfigError(
      f"What follows -- are options of Apache Beam, got {' '.join(args.passed_on)}: add "
      "--executor beam, or leave them out."
    )
  executor = contextlib.nullcontext()  # this machine's processes
  if args.executor == "beam":
    executor = beam.Beam(args.passed_on, args.workdir)
  with lock.held(args.workdir, "prepare"), executor as executor:
    prepare.prepare(
      experiment, args.workdir, args.streams, args.workers, executor=executor, max_bad=args.max_bad
    )
    if not runs.steps(args.workdir):  # else it says what the newest checkpoint was trained with
      with experiments.replacing_config(args.workdir, experiment.to_json()):
        pass
  return EXIT_DONE
