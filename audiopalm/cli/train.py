"""`audiopalm train`: starts or resumes a run and trains it to its last step."""

import argparse
import contextlib
import os
import sys

from audiopalm import runs, values
from audiopalm.cli import config, hardware, options, outputs, processes, subcommand
from audiopalm.data import lock, prepare, summary
from audiopalm.errors import EXIT_DONE, ConfigError
from audiopalm.experiment import Experiment
from audiopalm.parts import machines
from audiopalm.settings import Machine

DESCRIPTION = """Train a model. If the workdir has a checkpoint, training resumes from it, and the
result is the same to the bit as if the run had never stopped. If the data of
`prepare` are missing, they are prepared first.

  audiopalm train quickstart --workdir runs/quickstart
  audiopalm train my_config.py --workdir runs/mine --set optimizer.peak_lr=3e-4
  audiopalm train my_config.py --workdir runs/mine --mesh data=2,fsdp=4 --remat full
  audiopalm train my_config.py --workdir runs/mine --machine plan.json   # of plan --json

The workdir may be in an object store. Training then works on a copy in a folder of
this machine (--scratch) and uploads changes every minute and at the end, so that
another machine can resume:

  audiopalm train my_config.py --workdir gs://bucket/mine   # pip install 'audiopalm[gcs]'

To train one model with several processes, on one host or many, start each of them
like this, with a workdir that all of them share:

  audiopalm train my_config.py --workdir /shared/mine \\
    --coordinator-address HOST:PORT --num-processes 4 --process-id 0   # then 1, 2 and 3

Process 0 prepares, prints and writes the logs; all of them save checkpoints. SIGTERM
to any of them stops all after the same step.

The workdir contains the whole run: config.json (all settings of the newest
checkpoint), checkpoints/, metrics.jsonl and event files for TensorBoard,
goodput.jsonl (where the time went) and the files of `prepare`.

A resumed run may change steps, mixture rates, learning rates, evaluation and seed;
the changes are printed. It may not change the shapes of arrays, nor the tokenizers,
tasks or layout if that moves token ids: such a run needs a workdir of its own. The
hardware is not part of a run: give --machine, --mesh, --remat, --attention and
--micro-batch-tokens at each start.

The first start chooses the dtype of matrix products and prints it: bfloat16 on
accelerators and on CPUs with avx512_bf16 or amx_bf16, else float32. Checkpoints
store it. A machine that lacks it does not resume the run, unless --products names
another dtype."""


def add_options(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `train`."""
  config.add_arguments(parser, "train")
  hardware.add_arguments(parser)
  options.add_products(parser)
  options.add_max_bad(parser)
  summary = (
    "seconds that one step, one wait for data or one save may take before the run prints where it "
    "hangs and exits with 70; 0: no limit (default: %(default).0f)"
  )
  options.add(parser, "--hang-s S", summary, type=float, default=1_800.0)
  summary = (
    "compute every Nth step twice, and exit with 72 if the results differ: a check of the "
    "hardware that needs memory for a second state (default: never)"
  )
  options.add(parser, "--recheck-every N", summary, type=int, default=0)
  processes.add_arguments(parser)


def checked(args: argparse.Namespace) -> Experiment:
  """Returns the experiment to train; ConfigError for any invalid option. Uses no device."""
  from audiopalm.exports import folder  # imports jax
  from audiopalm.training import checkpoint, state

  processes.check(args)
  if not args.hang_s >= 0:
    raise ConfigError(f"--hang-s takes seconds, 0 for no limit, not {args.hang_s:g}.")
  if args.recheck_every < 0:
    raise ConfigError(f"--recheck-every takes steps, 0 for never, not {args.recheck_every}.")
  checkpoint.check_place(args.workdir)
  experiment = config.load(args.config, args.settings, args.trust)
  outputs.check_workdir(args.workdir, config.find(args.config), experiment.to_json())
  if experiment.export is not None:
    folder.check(experiment)
  state.learners_of(experiment)  # ConfigError for an invalid optimizer, before hours of preparing
  hardware.machine(args, Machine)
  return experiment


def run(args: argparse.Namespace) -> int:
  """Returns the exit code of `audiopalm train`."""
  from audiopalm.cluster import preflight
  from audiopalm.training import loop, together  # orbax: seconds that --help should not take

  def dtype_of_checkpoint() -> str | None:
    # Checkpoints that cannot be read are reported when the state is restored.
    newest = runs.newest(args.workdir, say=lambda text: None)
    # Checkpoints of earlier versions store no dtype: products were in the machine's compute_dtype.
    return newest and (newest.get("products") or machine.compute_dtype)

  experiment = checked(args)
  processes.join(args)
  machine = hardware.machine(args) or machines.default()
  shared = {
    "config": experiment.digest,
    "code": preflight.code(experiment.trust),
    "machine": values.stable_repr(machine),
  }
  processes.check_equal(shared)
  saved_dtype = together.from_first(dtype_of_checkpoint)
  machine, why = processes.agree(
    lambda: machines.choose_products(machine, args.products, saved_dtype)
  )
  if together.is_first():
    print(f"matrix products in {machine.products}: {why}", flush=True)
  prepared = None

  def code_of_prepare() -> int:
    nonlocal prepared
    prepared = prepare.open_if_ready(experiment, args.workdir)
    return EXIT_DONE if prepared else _prepare(args)

  alone = lock.held(args.workdir, "train") if together.is_first() else contextlib.nullcontext()
  with alone:
    code = together.from_first(code_of_prepare)
    if code != EXIT_DONE:
      return code
    prepared = prepared or prepare.open_prepared(experiment, args.workdir)
    summary.check_left_out(prepared, args.max_bad)
    hang_s, recheck_every = args.hang_s or None, args.recheck_every
    loop.run(
      experiment, prepared, machine, args.workdir, hang_s=hang_s, recheck_every=recheck_every
    )
  return EXIT_DONE


def _prepare(args: argparse.Namespace) -> int:
  """Returns the exit code of `audiopalm prepare`.

  It runs in a subprocess because readers of corpora may load TensorFlow, which would take memory
  and devices from training. If it is stopped with this process, its finished files are kept.
  """
  words = ["prepare", args.config, "--workdir", str(args.workdir), *hardware.repeat_options(args)]
  words += [] if args.max_bad is None else [f"--max-bad={args.max_bad}"]
  words += [*(f"--set={setting}" for setting in args.settings), *options.trusted(args)]
  # Packages that this process can import, the user's too, must be importable there.
  return subcommand.run(*words, PYTHONPATH=os.pathsep.join(map(os.path.abspath, sys.path)))
