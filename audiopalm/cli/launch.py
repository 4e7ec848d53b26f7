"""`audiopalm launch`: starts training on a cluster, in a cloud, or in several local processes."""

import argparse
import dataclasses
import re
import shlex
import shutil
import subprocess
import sys
import types
import typing
from pathlib import Path

from audiopalm.cli import config, hardware, options, outputs, subcommand, train
from audiopalm.cluster import launch, local, places
from audiopalm.data import files
from audiopalm.errors import EXIT_DONE, ConfigError
from audiopalm.experiment import Experiment
from audiopalm.parts import machines

DESCRIPTION = f"""Start `audiopalm train` on many machines, or as several processes on this one. The
command line after -- is checked as `train` would check it, `audiopalm preflight` checks
the run, then the files for the chosen place are written and submitted. --dry-run prints
the files and the command instead.

  audiopalm launch --on local --num-processes 2 --gpus-per-process 4 -- \\
    train my_config.py --workdir runs/mine
  audiopalm launch --on slurm --nodes 4 --gpus-per-node 8 --partition gpu --time 24:00:00 -- \\
    train my_config.py --workdir /shared/mine
  audiopalm launch --on skypilot --nodes 2 --accelerator H100:8 --bucket gs://mine --spot \\
    --package dist/audiopalm-0.1.0-py3-none-any.whl[data,gpu] -- \\
    train my_config.py --workdir {places.STORAGE}/mine

A job that receives SIGTERM (at its time limit, or when its machine is preempted) saves and
restarts by itself. A job that hangs or crashes restarts a few times; one that ends with
exit code 2, 71 or 72 does not. The job uses the config and its --set as they are now.
docs/launch.md has an example of each place and lists which were tested."""


def add_options(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `launch`, among them the settings of all places."""
  options.add(parser, "--on", "where to train", choices=places.PLACES, required=True)
  summary = "print the files and the command, and change nothing"
  options.add(parser, "--dry-run", summary, action="store_true")
  options.add(parser, "--name NAME", "name of the job (default: the experiment's)")
  summary = (
    "folder for the files of the job (default: WORKDIR/launch, or runs/NAME/launch if the workdir "
    "is on other machines)"
  )
  options.add(parser, "--out DIR", summary, type=Path)
  for option, summary in places.OPTIONS.items():
    name, _, metavar = option.partition(" ")
    owners = _owners(name)
    how = _reading(typing.get_type_hints(places.PLACES[owners[0]])[name], metavar)
    parser.add_argument(places.option(name), help=f"{summary} ({', '.join(owners)})", **how)
  parser.add_argument(
    "command",
    metavar="-- train CONFIG --workdir DIR ...",
    nargs=argparse.REMAINDER,
    help="the training command, without --coordinator-address, --num-processes and --process-id",
  )


def _owners(name: str) -> list[str]:
  """Returns the places that have a setting."""
  return [place for place, kind in places.PLACES.items() if name in kind.__dataclass_fields__]


def _reading(kind: type, metavar: str) -> dict[str, typing.Any]:
  """Returns the arguments of add_argument() for a setting of type `kind`."""
  if isinstance(kind, types.UnionType):
    kind = next(part for part in typing.get_args(kind) if part is not types.NoneType)
  if kind is bool:
    return {"action": "store_const", "const": True}
  if typing.get_origin(kind) is typing.Literal:
    return {"choices": typing.get_args(kind)}
  if typing.get_origin(kind) is tuple:
    return {"action": "append", "metavar": metavar}
  return {"type": kind, "metavar": metavar}


def run(args: argparse.Namespace) -> int:
  """Returns the exit code of `audiopalm launch`; on this machine it is that of training."""
  command = args.command[1:] if args.command[:1] == ["--"] else args.command
  place, train_args = _place(args), _train_args(command)
  experiment = train.checked(train_args)
  if isinstance(place, places.LocalProcesses):
    program = (sys.executable, "-m", "audiopalm", *command)
    processes = local.processes(program, place, local.free_port())
    if args.dry_run:
      print(*processes, sep="\n")
      return EXIT_DONE
    return _preflight(train_args, place) or local.run(processes)
  job = _job(args, place, train_args, experiment)
  default = (Path("runs", job.name) if place.remote else Path(job.workdir)) / "launch"
  launched = place.render(job, (args.out or default).absolute())
  named = outputs.named_in(experiment.to_json())
  read = outputs.inputs(config.find(train_args.config), *hardware.files(train_args), *named)
  for path, text in launched.files.items():
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
      outputs.check_file("--out", path, read, None if place.remote else train_args.workdir)
  if args.dry_run:
    for path, text in launched.files.items():
      print(f"{path}:\n{text}")
    print(shlex.join(launched.command))
    return EXIT_DONE
  if shutil.which(launched.command[0]) is None:
    raise ConfigError(
      f"The command {launched.command[0]!r}, which submits the job, is not installed here. Run "
      "this on a machine that has it, or use --dry-run to see the files."
    )
  code = _preflight(train_args, place)
  if code != EXIT_DONE:
    return code
  for path, text in launched.files.items():
    with files.replacing(path) as part:
      part.write_text(text, encoding="utf-8")
  for folder in launched.folders:
    folder.mkdir(parents=True, exist_ok=True)
  print(shlex.join(launched.command), flush=True)
  return subprocess.run(launched.command).returncode


def _place(args: argparse.Namespace) -> places.LaunchPlace:
  """Returns the settings of the place; ConfigError for options it does not have or requires."""
  chosen = {name: getattr(args, name) for name in places.NAMES if getattr(args, name) is not None}
  for name in chosen:
    if args.on not in (owners := _owners(name)):
      raise ConfigError(
        f"{places.option(name)} is an option of --on {' and '.join(owners)}, not of --on {args.on}."
      )
  settings = places.PLACES[args.on]
  missing = [
    places.option(field.name)
    for field in dataclasses.fields(settings)
    if field.default is dataclasses.MISSING and field.name not in chosen
  ]
  if missing:
    raise ConfigError(f"--on {args.on} also needs {', '.join(missing)}.")
  if "sbatch" in chosen:
    chosen["sbatch"] = tuple(chosen["sbatch"])
  return settings(**chosen)


def _train_args(command: list[str]) -> argparse.Namespace:
  """Returns the options of the training command, parsed as `audiopalm train` does."""
  if command[:1] != ["train"]:
    raise ConfigError(
      "audiopalm launch starts `audiopalm train`. End the command line with -- train CONFIG "
      f"--workdir DIR, not {shlex.join(command) or 'nothing'!r}."
    )
  parser = argparse.ArgumentParser(prog="audiopalm train", allow_abbrev=False)
  train.add_options(parser)
  args = options.parse(parser, command[1:])
  options.check_path(args.workdir, "audiopalm launch")
  if (args.coordinator_address, args.num_processes, args.process_id) != (None, None, None):
    raise ConfigError(
      "audiopalm launch sets the coordinator of the training processes: leave out "
      "--coordinator-address, --num-processes and --process-id."
    )
  return args


def _preflight(train_args: argparse.Namespace, place: places.LaunchPlace) -> int:
  """Returns the exit code of `audiopalm preflight` for this place, in a process without devices.

  If the workdir is on other machines, `train` checks its contents there.
  """
  target = place.hardware
  words = ["preflight", train_args.config, *(f"--set={setting}" for setting in train_args.settings)]
  words += options.trusted(train_args)
  words += [] if train_args.machine else ["--machine", target.platform]
  words += [*hardware.repeat_options(train_args), "--devices", str(target.devices)]
  words += [] if target.processes is None else ["--num-processes", str(target.processes)]
  words += [] if place.remote else ["--workdir", str(train_args.workdir)]
  return subcommand.run(*words, JAX_PLATFORMS="cpu")


def _job(
  args: argparse.Namespace,
  place: places.SubmittedPlace,
  train_args: argparse.Namespace,
  experiment: Experiment,
) -> launch.TrainingJob:
  workdir = train_args.workdir
  if not place.remote:
    workdir = workdir.absolute()
  elif not workdir.is_relative_to(places.STORAGE):
    raise ConfigError(
      f"--workdir {workdir} would be deleted with the machines of {args.on}. Their shared storage "
      f"is mounted at {places.STORAGE}: give a folder in it, as in --workdir "
      f"{places.STORAGE}/{workdir.name or 'mine'}."
    )
  machine = hardware.machine(train_args) if hardware.files(train_args) else None
  words = ["--workdir", str(workdir), *([] if machine else hardware.repeat_options(train_args))]
  words += options.trusted(train_args)
  for name in ("products", "max_bad", "hang_s", "recheck_every"):
    value = getattr(train_args, name)
    words += [] if value is None else [places.option(name), str(value)]
  return launch.TrainingJob(
    name=args.name or re.sub(r"[^a-z0-9]+", "-", experiment.name.lower()).strip("-"),
    workdir=str(workdir),
    config=experiment.to_json(),
    machine=machine and machines.to_json(machine),
    options=tuple(words),
    python=sys.executable,
    folder=str(Path.cwd()),
  )
