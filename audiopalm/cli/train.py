"""`audiopalm train`: a run from its config to its last step, started or resumed."""

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

DESCRIPTION = """Train a model, or go on training it: a workdir that holds a checkpoint is resumed
from it, and the result is the same to the bit as if the run had never stopped.
What `prepare` makes is made first where it is missing.

  audiopalm train quickstart --workdir runs/quickstart
  audiopalm train my_config.py --workdir runs/mine --set optimizer.peak_lr=3e-4
  audiopalm train my_config.py --workdir runs/mine --mesh data=2,fsdp=4 --remat full
  audiopalm train my_config.py --workdir runs/mine --machine plan.json   # of plan --json

A workdir may lie in an object store. Its files are then worked on in a folder of
this machine (--scratch) and written there every minute and at the end, so that
another machine goes on from them:

  audiopalm train my_config.py --workdir gs://bucket/mine   # pip install 'audiopalm[gcs]'

Several processes, on one host or many, train one model on all of their devices
if each is started so, with a workdir that all of them see:

  audiopalm train my_config.py --workdir /shared/mine \\
    --coordinator-address HOST:PORT --num-processes 4 --process-id 0   # then 1, 2 and 3

Process 0 prepares, prints and writes the logs; all of them save. SIGTERM to any
stops all after the same step.

The workdir holds all of the run: config.json (every setting, as the newest
checkpoint was trained with), checkpoints/, metrics.jsonl and event files for
TensorBoard, goodput.jsonl (where the time went) and what `prepare` made.

A resumed run may have other steps, rates of the mixture, learning rates, evaluation
and seed: what changed is printed. Arrays of other shapes are refused, and so are
tokenizers, tasks or a layout that would move the ids of tokens: such a run needs a
workdir of its own. The hardware is no part of a run: --machine, --mesh, --remat,
--attention and --micro-batch-tokens are given at each start.

The first start chooses the type of matrix products and says so: bfloat16 where
the CPU has avx512_bf16 or amx_bf16. The checkpoints keep it, and a machine that
lacks it does not go on, unless --products names another type."""


def add_options(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `train`."""
  config.add_arguments(parser, "train")
  hardware.add_arguments(parser)
  options.add_products(parser)
  options.add_max_bad(parser)
  summary = (
    "seconds that one step, one wait for data or one save may take before the run shows where it "
    "hangs and ends with 70; 0: any time (default: %(default).0f)"
  )
  options.add(parser, "--hang-s S", summary, type=float, default=1_800.0)
  summary = (
    "compute each N-th step twice, and end with 72 if that gives other bits: a check of the "
    "hardware that takes memory for a second state (default: never)"
  )
  options.add(parser, "--recheck-every N", summary, type=int, default=0)
  processes.add_arguments(parser)


def checked(args: argparse.Namespace) -> Experiment:
  """Returns what will be trained; the options of the hardware are read too. Touches no device."""
  from audiopalm.exports import folder  # imports jax
  from audiopalm.training import checkpoint, state

  processes.check(args)
  if not args.hang_s >= 0:
    raise ConfigError(f"--hang-s takes seconds, 0 for any time, not {args.hang_s:g}.")
  if args.recheck_every < 0:
    raise ConfigError(f"--recheck-every takes steps, 0 for never, not {args.recheck_every}.")
  checkpoint.check_place(args.workdir)
  experiment = config.load(args.config, args.settings, args.trust)
  outputs.check_workdir(args.workdir, config.find(args.config), experiment.to_json())
  if experiment.export is not None:
    folder.check(experiment)
  state.learners_of(experiment)  # reports impossible optimizers before anything is prepared
  hardware.machine(args, Machine)
  return experiment


def run(args: argparse.Namespace) -> int:
  """Returns the exit code of `audiopalm train`."""
  from audiopalm.cluster import preflight
  from audiopalm.training import loop, together  # orbax: seconds that --help should not take

  def dtype_of_checkpoint() -> str | None:
    # What cannot be read is said when the state is restored.
    newest = runs.newest(args.workdir, say=lambda text: None)
    # Checkpoints of before the dtype was kept have the one that the machine computes in.
    return newest and (newest.get("products") or machine.compute_dtype)

  experiment = checked(args)
  processes.join(args)
  machine = hardware.machine(args) or machines.default()
  alike = {
    "config": experiment.digest,
    "code": preflight.code(experiment.trust),
    "machine": values.stable_repr(machine),
  }
  processes.check_alike(alike)
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

  In a process of its own, because what reads corpora may load TensorFlow, which would take memory
  and devices from training. Stopped with this one, it keeps what it finished.
  """
  words = ["prepare", args.config, "--workdir", str(args.workdir), *hardware.repeat_options(args)]
  words += [] if args.max_bad is None else [f"--max-bad={args.max_bad}"]
  words += [*(f"--set={setting}" for setting in args.settings), *options.trusted(args)]
  # What is imported here is found there: packages of the user's too.
  return subcommand.run(*words, PYTHONPATH=os.pathsep.join(map(os.path.abspath, sys.path)))
