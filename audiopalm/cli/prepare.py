"""`audiopalm prepare`: turns recordings into token streams and an index of rows."""

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
  3. lay out the tasks, assign the token ids       DIR/manifest.json
  4. pack the examples into rows                   DIR/rows/
  5. write the resolved config                     DIR/config.json

Prints hours, tokens, packing efficiency and speed per task. If interrupted, run the
same command again: it keeps what is finished and continues. A record that cannot be
used is left out and listed with the reason in DIR/prepare.json. It is an error if a
task has no records left, or if more than --max-bad of a split are left out.

  audiopalm prepare quickstart --workdir runs/quickstart
  audiopalm prepare my_config.py --workdir runs/mine --max-bad 0.1%

Apache Beam can do step 2, on as many machines as its runner has. The options after --
are Beam's own (docs/prepare_at_scale.md).

  audiopalm prepare my_config.py --workdir /shared/mine --executor beam -- \\
    --runner=DirectRunner --direct_num_workers=8 --direct_running_mode=multi_processing"""


def add_options(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `prepare`."""
  config.add_arguments(parser, "prepare")
  hardware.add_arguments(
    parser,
    "the hardware that will train, to check now that the rows of a step divide over its devices",
    "no check",
  )
  summary = "folder of the token streams, which runs may share (default: WORKDIR/streams)"
  options.add(parser, "--streams DIR", summary, type=Path)
  options.add_workers(parser, "tokenize", none="which runs encoders on its accelerators")
  options.add_max_bad(parser)
  summary = (
    "what tokenizes: local processes, or Apache Beam with the options after --; --workers then "
    "only fit the tokenizers (default: %(default)s)"
  )
  options.add(parser, "--executor", summary, choices=("local", "beam"), default="local")


def run(args: argparse.Namespace) -> int:
  """Returns the exit code of `audiopalm prepare`."""
  experiment = config.load(args.config, args.settings, args.trust)
  machine = hardware.machine(args, Machine)
  if machine is not None:
    # The size of an axis of -1 depends on the number of devices, unknown here: it counts as 1.
    ways = max(machine.data, 1) * max(machine.fsdp, 1)
    sharding.check_batch_rows(experiment.data.batch_rows, ways)
  outputs.check_workdir(args.workdir, config.find(args.config), experiment.to_json())
  if args.passed_on and args.executor != "beam":
    raise ConfigError(
      f"Options after -- are for Apache Beam, got {' '.join(args.passed_on)}: add --executor beam, "
      "or leave them out."
    )
  executor = contextlib.nullcontext()  # this machine's processes
  if args.executor == "beam":
    executor = beam.Beam(args.passed_on, args.workdir)
  with lock.held(args.workdir, "prepare"), executor as executor:
    prepare.prepare(
      experiment, args.workdir, args.streams, args.workers, executor=executor, max_bad=args.max_bad
    )
    if not runs.steps(args.workdir):  # else config.json is that of the newest checkpoint
      with experiments.replacing_config(args.workdir, experiment.to_json()):
        pass
  return EXIT_DONE
