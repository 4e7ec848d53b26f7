"""`audiopalm launch`: training started on a cluster, in a cloud, or in several processes here."""

import argparse
import dataclasses
import os
import re
import shlex
import shutil
import subprocess
import sys
import types
import typing
from pathlib import Path

from audiopalm.cli import config, hardware, options, outputs, train
from audiopalm.cluster import launch, local, places
from audiopalm.data import files
from audiopalm.errors import EXIT_DONE, ConfigError
from audiopalm.experiment import Experiment
from audiopalm.parts import machines

DESCRIPTION = f"""Start `audiopalm train` on many machines, or several processes of it on this one.
What follows -- is read and checked as `train` would, `audiopalm preflight` looks for
what is wrong, then the files of the place are written and submitted; --dry-run shows
them and the command, and does nothing.

  audiopalm launch --on local --num-processes 2 --gpus-per-process 4 -- \\
    train my_config.py --workdir runs/mine
  audiopalm launch --on slurm --nodes 4 --gpus-per-node 8 --partition gpu --time 24:00:00 -- \\
    train my_config.py --workdir /shared/mine
  audiopalm launch --on tpu_vm --accelerator v6e-16 --runtime v2-alpha-tpuv6e \\
    --zone us-east5-b --project mine --spot --bucket gs://mine \\
    --package dist/audiopalm-0.1.0-py3-none-any.whl[data,tpu] -- \\
    train my_config.py --workdir {places.STORAGE}/mine
  audiopalm launch --on gke --nodes 4 --accelerator tpu-v6e-slice --topology 4x4 \\
    --image IMAGE --claim runs -- train my_config.py --workdir {places.STORAGE}/mine
  audiopalm launch --on skypilot --nodes 2 --accelerator H100:8 --bucket gs://mine --spot \\
    --package dist/audiopalm-0.1.0-py3-none-any.whl[data,gpu] -- \\
    train my_config.py --workdir {places.STORAGE}/mine

A job that is asked to stop (SIGTERM: the time is up, its machine is wanted) saves
and starts again by itself; so does one that hung or crashed, a few times; one that
ends with 2, 71 or 72 does not. What is trained is the config as it is now, with its --set.
docs/launch.md says what each place does, and which of them were tried."""


def add_parser(commands: argparse._SubParsersAction) -> None:
  """Adds `launch` to the command line."""
  parser = options.command(commands, "launch", DESCRIPTION, run)
  parser.add_argument("--on", choices=places.PLACES, required=True, help="the place")
  parser.add_argument(
    "--dry-run", action="store_true", help="print what would be written and run, and do nothing"
  )
  parser.add_argument(
    "--name", metavar="NAME", help="what the job is called there (default: as the experiment)"
  )
  parser.add_argument(
    "--out",
    metavar="DIR",
    type=Path,
    help="where the files of the place are written (default: WORKDIR/launch, or runs/NAME/launch "
    "where the workdir is on other machines)",
  )
  for name, users in _options().items():
    _add_option(parser, name, users)
  parser.add_argument(
    "line",
    metavar="-- train CONFIG --workdir DIR ...",
    nargs=argparse.REMAINDER,
    help="what is started, without --coordinator-address, --num-processes and --process-id",
  )


def run(args: argparse.Namespace) -> int:
  """Returns the exit code of `audiopalm launch`; on this machine it is that of training."""
  line = args.line[1:] if args.line[:1] == ["--"] else args.line
  place, told = _place(args), _train(line)
  experiment = train.checked(told)
  if isinstance(place, places.Local):
    command = (sys.executable, "-m", "audiopalm", *line)
    started = local.processes(command, place, local.free_port())
    if args.dry_run:
      print(*started, sep="\n")
      return EXIT_DONE
    return _preflight(told, place) or local.run(started)
  job = _job(args, place, told, experiment)
  near = Path("runs", job.name) if place.remote else Path(job.workdir)
  made = launch.render(job, place, (args.out or near / "launch").absolute())
  named = outputs.named_in(experiment.to_json())
  read = outputs.inputs(config.find(told.config), *hardware.files(told), *named)
  for path, text in made.files.items():
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
      outputs.check_file("--out", path, read, None if place.remote else told.workdir)
  if args.dry_run:
    for path, text in made.files.items():
      print(f"{path}:\n{text}")
    print(shlex.join(made.command))
    return EXIT_DONE
  if shutil.which(made.command[0]) is None:
    raise ConfigError(
      f"There is no command {made.command[0]!r} here, which submits the job. Run this where it is "
      "installed, or see by --dry-run what it would be given."
    )
  return _preflight(told, place) or _submit(made)


def _options() -> dict[str, dict[str, dataclasses.Field]]:
  """Returns {name of a field: {place that has it: the field}}."""
  found: dict[str, dict[str, dataclasses.Field]] = {}
  for place, kind in places.PLACES.items():
    for field in dataclasses.fields(kind):
      found.setdefault(field.name, {})[place] = field
  return found


def _add_option(
  parser: argparse.ArgumentParser, name: str, users: dict[str, dataclasses.Field]
) -> None:
  place, field = next(iter(users.items()))
  kind = typing.get_type_hints(places.PLACES[place])[name]
  if isinstance(kind, types.UnionType):
    kind = next(each for each in typing.get_args(kind) if each is not types.NoneType)
  given: dict[str, typing.Any] = {"help": f"{field.metadata['help']} ({', '.join(users)})"}
  if kind is bool:
    given |= {"action": "store_const", "const": True}
  elif typing.get_origin(kind) is typing.Literal:
    given |= {"choices": typing.get_args(kind)}
  elif typing.get_origin(kind) is tuple:
    given |= {"action": "append", "metavar": field.metadata["metavar"]}
  else:
    given |= {"type": kind, "metavar": field.metadata["metavar"]}
  parser.add_argument(places.option(name), **given)


def _place(args: argparse.Namespace) -> typing.Any:
  """Returns the settings of the place; ConfigError for an option that it lacks or needs."""
  known = _options()
  given = {name: getattr(args, name) for name in known if getattr(args, name) is not None}
  for name in given:
    if args.on not in known[name]:
      raise ConfigError(
        f"{places.option(name)} means something on {' and '.join(known[name])}, but nothing on "
        f"{args.on}."
      )
  kind = places.PLACES[args.on]
  missing = [
    places.option(field.name)
    for field in dataclasses.fields(kind)
    if field.default is dataclasses.MISSING and field.name not in given
  ]
  if missing:
    raise ConfigError(f"--on {args.on} needs {', '.join(missing)} too.")
  if "sbatch" in given:
    given["sbatch"] = tuple(given["sbatch"])
  return kind(**given)


def _train(line: list[str]) -> argparse.Namespace:
  """Returns the options of `audiopalm train`, as it would read them itself."""
  if line[:1] != ["train"]:
    raise ConfigError(
      "audiopalm launch starts `audiopalm train`. Give its command line at the end, as in -- train "
      f"CONFIG --workdir DIR, not {shlex.join(line) or 'nothing'!r}."
    )
  parser = argparse.ArgumentParser(prog="audiopalm", allow_abbrev=False)
  train.add_parser(parser.add_subparsers())
  told = options.parse(parser, line)
  options.check_path(told.workdir, "audiopalm launch")
  if (told.coordinator_address, told.num_processes, told.process_id) != (None, None, None):
    raise ConfigError(
      "audiopalm launch itself tells the processes of training how they meet: leave out "
      "--coordinator-address, --num-processes and --process-id."
    )
  return told


def _preflight(told: argparse.Namespace, place: typing.Any) -> int:
  """Returns the exit code of `audiopalm preflight` for this place, in a process without devices.

  Where the workdir is on other machines, what lies in it is checked there, by `train`.
  """
  devices = place.hardware
  line = ["preflight", told.config, *(f"--set={setting}" for setting in told.settings)]
  line += options.trusted(told)
  line += [] if told.machine else ["--machine", devices.platform]
  line += [*hardware.given(told), "--devices", str(devices.devices)]
  line += [] if devices.processes is None else ["--num-processes", str(devices.processes)]
  line += [] if place.remote else ["--workdir", str(told.workdir)]
  command = [sys.executable, "-m", "audiopalm", *line]
  return subprocess.run(command, env={**os.environ, "JAX_PLATFORMS": "cpu"}).returncode


def _job(
  args: argparse.Namespace, place: typing.Any, told: argparse.Namespace, experiment: Experiment
) -> launch.Job:
  workdir = told.workdir
  if not place.remote:
    workdir = workdir.absolute()
  elif not workdir.is_relative_to(places.STORAGE):
    raise ConfigError(
      f"--workdir {workdir} would be gone with the machines of {args.on}. What they share and what "
      f"stays is mounted at {places.STORAGE}: give a folder in it, as in --workdir "
      f"{places.STORAGE}/{workdir.name or 'mine'}."
    )
  machine = hardware.machine(told) if hardware.files(told) else None
  products = ("--products", told.products) if told.products else ()
  bad = ("--max-bad", told.max_bad) if told.max_bad else ()
  return launch.Job(
    name=args.name or re.sub(r"[^a-z0-9]+", "-", experiment.name.lower()).strip("-"),
    workdir=str(workdir),
    config=experiment.to_json(),
    machine=machine and machines.to_json(machine),
    options=(
      "--workdir",
      str(workdir),
      *([] if machine else hardware.given(told)),
      *options.trusted(told),
      *products,
      *bad,
      "--hang-s",
      str(told.hang_s),
      "--recheck-every",
      str(told.recheck_every),
    ),  # fmt: skip
    python=sys.executable,
    folder=str(Path.cwd()),
  )


def _submit(made: launch.Launch) -> int:
  for path, text in made.files.items():
    with files.replacing(path) as part:
      part.write_text(text, encoding="utf-8")
  for folder in made.folders:
    folder.mkdir(parents=True, exist_ok=True)
  print(shlex.join(made.command), flush=True)
  return subprocess.run(made.command).returncode
