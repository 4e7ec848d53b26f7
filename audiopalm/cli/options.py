"""What commands have in common: their parsers, and options with one meaning."""

import argparse
import contextlib
import math
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from audiopalm import values
from audiopalm.data import store
from audiopalm.errors import ConfigError

TEXTS = "--text"


def command(
  commands: argparse._SubParsersAction,
  name: str,
  description: str,
  run: Callable[[argparse.Namespace], int] | None,
  summary: str | None = None,
) -> argparse.ArgumentParser:
  """Returns the parser of a new command, for its own options. `run` returns the exit code.

  `summary` is its line in the help of what it belongs to; those of `audiopalm` lie in `main`.
  """
  style = argparse.RawDescriptionHelpFormatter
  parser = commands.add_parser(
    name, help=summary, description=description, formatter_class=style, allow_abbrev=False
  )
  parser.set_defaults(run=run)
  return parser


def add(parser: argparse._ActionsContainer, option: str, summary: str, **how: Any) -> None:
  """Adds an option that is written as its help shows it, "--step N"; `how` is for argparse."""
  name, _, metavar = option.partition(" ")
  parser.add_argument(name, help=summary, **({"metavar": metavar} if metavar else {}), **how)


def folder(text: str) -> Path:
  """Returns the path that an option names; an error for the address of an object store."""
  if store.is_address(text):
    raise argparse.ArgumentTypeError(_needs_path(text, "this option"))
  try:
    text.encode()
  except UnicodeEncodeError as error:
    raise argparse.ArgumentTypeError(
      f"{text!r} is a name that is not UTF-8, and what is written there names it: rename the folder"
    ) from error
  return Path(text)


def workdir(text: str) -> Path | store.StoreAddress:
  """Returns the folder of a run, or its address in an object store."""
  return store.address(text) if store.is_address(text) else folder(text)


def at_least(least: int) -> Callable[[str], int]:
  """Returns the reader of an option that takes an integer of at least so much."""

  def read(text: str) -> int:
    if not re.fullmatch(r"-?\d+", text) or int(text) < least:
      raise argparse.ArgumentTypeError(f"expected an integer of at least {least}, not {text}")
    return int(text)

  return read


def share(text: str) -> float:
  """Returns the share in a text such as "0.1%" or "0.001"."""
  try:
    value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
  except ValueError:
    value = math.nan
  if not 0 <= value <= 1:
    raise argparse.ArgumentTypeError(
      f"expected a share of records from 0 to 1, such as 0.1% or 0.001, not {text!r}"
    )
  return value


def add_workdir(
  parser: argparse.ArgumentParser, summary: str, changed_by: str = "", metavar: str = "DIR"
) -> None:
  """Adds the workdir of a run; `changed_by` names a command that makes or changes the run."""
  where = "a folder, or its address in an object store, as in gs://bucket/run"
  add(parser, f"--workdir {metavar}", f"{summary}: {where}", type=workdir, required=True)
  summary = f"this machine's copy of a workdir in an object store (default: {store.SCRATCH})"
  add(parser, "--scratch DIR", summary, type=folder)
  parser.set_defaults(changed_by=changed_by)


def open_workdir(args: argparse.Namespace) -> contextlib.AbstractContextManager:
  """Gives a command the files of a workdir in an object store, and keeps the store up to date."""
  place = getattr(args, "workdir", None)
  if not isinstance(place, store.StoreAddress):
    return contextlib.nullcontext()
  if getattr(args, "coordinator_address", None) is not None:
    check_path(place, "a run of several processes")
  if getattr(args, "streams", None) is not None:
    raise ConfigError(
      f"--streams {args.streams} lies outside of {place}, where another machine does not find it. "
      "Leave --streams out, or give a --workdir that is a folder."
    )
  place = store.address(place.url, args.scratch)
  args.workdir = place.workdir
  return store.opened(place, args.changed_by, changes=bool(args.changed_by))


def check_path(place: Path | store.StoreAddress, what: str) -> None:
  """Raises ConfigError where `what` is given the address of an object store."""
  if isinstance(place, store.StoreAddress):
    raise ConfigError(f"{_needs_path(place, what)}.")


def _needs_path(place: object, what: str) -> str:
  return (
    f"{place} is the address of an object store, and {what} needs the path of a folder: mount the "
    "bucket (gcsfuse, mountpoint-s3) and give its path there; docs/launch.md says what to expect"
  )


def add_texts(parser: argparse._ActionsContainer, summary: str) -> None:
  """Adds texts that a command is given; `dashed_texts` reads those that begin with a dash."""
  add(parser, f"{TEXTS} TEXT", summary, nargs="+", action="extend")


def dashed_texts(arguments: Sequence[str]) -> list[str]:
  """Returns a command line in which texts may begin with a dash, as "-hello" does.

  argparse takes them for options. All of ours begin with two dashes, but for -h.

      --text -5 euros --seed 1      --text=-5 --text=euros --seed 1
  """
  result, texts = [], False
  for argument, after in zip(arguments, [*arguments[1:], "-h"], strict=False):
    if argument == TEXTS:
      texts = not _is_option(after)
      result += [] if texts else [argument]
    else:
      texts = texts and not _is_option(argument)
      result.append(f"{TEXTS}={argument}" if texts else argument)
  return result


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
  """Returns the options of a command line; what none of them is ends it, as in `parse_args`.

  Of a command that takes --set the text says how the setting of such a name is changed:
  ["--lr", "1e-3"] is not known, but --set optimizer.peak_lr=1e-3 is.
  """
  args, unknown = parser.parse_known_args(arguments)
  if not unknown:
    return args
  settings = []
  for argument, after in zip(arguments, [*arguments[1:], ""], strict=True):
    option, equals, value = argument.partition("=")
    path = values.usual_path(option.removeprefix("--").replace("-", "_"))
    if argument in unknown and _is_option(argument) and path and hasattr(args, "settings"):
      value = value if equals else "..." if _is_option(after) or not after else after
      settings.append(f"--set {shlex.quote(f'{path}={value}')}")
  how = f". Settings of the config are given by {' '.join(settings)}" if settings else ""
  parser.error(f"unrecognized arguments: {' '.join(unknown)}{how}")


def _is_option(argument: str) -> bool:
  name = argument.partition("=")[0]  # none has a space in it, as a text like "--help me" has
  return (name.startswith("--") and not set(name) & set(" \n\t")) or argument == "-h"


def add_trained(parser: argparse.ArgumentParser) -> None:
  """Adds the run a command works on."""
  add_workdir(parser, "where a trained run lies")
  add_trust(parser)


def add_step(parser: argparse.ArgumentParser) -> None:
  """Adds which checkpoint of the run a command opens."""
  add(parser, "--step N", "the step of its checkpoint (default: the newest)", type=int)


def add_trust(parser: argparse.ArgumentParser) -> None:
  """Adds which packages outside of audiopalm may be imported to read a config."""
  summary = (
    "let the config name classes of this package, whose code is imported (docs/extend.md). May be "
    "repeated; a run that was made with it is opened with it"
  )
  add(parser, "--trust PACKAGE", summary, action="append", default=[])


def trusted(args: argparse.Namespace) -> list[str]:
  """Returns the options that give another command the packages that this one was given."""
  return [f"--trust={package}" for package in args.trust]


def add_workers(parser: argparse.ArgumentParser, work: str, *, none: str | None = None) -> None:
  """Adds how many processes do the work, None for one per core. `none` is what 0 of them is good
  for; without it there is at least one."""
  about = f"; 0: this process itself, {none}" if none else ""
  summary = f"processes that {work} at one time (default: one for each core{about})"
  add(parser, "--workers N", summary, type=at_least(0 if none else 1))


def add_max_bad(parser: argparse.ArgumentParser) -> None:
  """Adds the share of records that may be left out, None for any."""
  summary = (
    "the share of the records of a split that may be left out for their faults, 0.1%% or 0.001; "
    "more is an error that names the most frequent (default: any)"
  )
  add(parser, "--max-bad SHARE", summary, type=share)


def add_beams(
  parser: argparse._ActionsContainer, beams: int | None = None, length_penalty: float | None = None
) -> None:
  """Adds `--num-beams` and `--length-penalty`; a default of None defers to the config."""
  defaults = ["that of the config" if value is None else value for value in (beams, length_penalty)]
  summary = (
    "beam search with N beams, for tasks whose outputs lie on one column of the grid; 1 takes the "
    f"likeliest token each time (default: {defaults[0]})"
  )
  add(parser, "--num-beams N", summary, type=int, default=beams)
  summary = (
    "of several beams: an answer of n tokens scores log P / ((5 + n) / 6)^A, so that more likes "
    f"longer answers (default: {defaults[1]})"
  )
  add(parser, "--length-penalty A", summary, type=float, default=length_penalty)


def add_products(parser: argparse.ArgumentParser) -> None:
  """Adds the dtype of matrix products."""
  summary = (
    "the type to which operands of matrix products are cast; sums and results stay float32 on a "
    "CPU (default: that of the run's checkpoint; at a first start bfloat16 on a CPU with "
    "avx512_bf16 or amx_bf16 and on accelerators, else float32)"
  )
  add(parser, "--products", summary, choices=("float32", "bfloat16"))
