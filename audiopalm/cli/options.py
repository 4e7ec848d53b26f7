"""Parsers of commands, and the options that several commands share."""

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
  """Returns the parser of a new command, to which its options are added.

  `run` does the command and returns its exit code. `summary` is its line in the help of the parent
  command, None for no line.
  """
  style = argparse.RawDescriptionHelpFormatter
  parser = commands.add_parser(
    name, help=summary, description=description, formatter_class=style, allow_abbrev=False
  )
  parser.set_defaults(run=run)
  return parser


def add(parser: argparse._ActionsContainer, option: str, summary: str, **how: Any) -> None:
  """Adds an option given as its help shows it, "--step N"; `how` goes to add_argument()."""
  name, _, metavar = option.partition(" ")
  parser.add_argument(name, help=summary, **({"metavar": metavar} if metavar else {}), **how)


def folder(text: str) -> Path:
  """Returns the path that an option names; ArgumentTypeError for an address in an object store."""
  if store.is_address(text):
    raise argparse.ArgumentTypeError(_needs_path(text, "this option"))
  try:
    text.encode()
  except UnicodeEncodeError as error:
    raise argparse.ArgumentTypeError(
      f"{text!r} is not UTF-8, and files written there contain the name: rename the folder"
    ) from error
  return Path(text)


def workdir(text: str) -> Path | store.StoreAddress:
  """Returns the folder of a run, or its address in an object store."""
  return store.address(text) if store.is_address(text) else folder(text)


def at_least(least: int) -> Callable[[str], int]:
  """Returns the `type` of an option that takes an integer of at least `least`."""

  def read(text: str) -> int:
    if not re.fullmatch(r"-?\d+", text) or int(text) < least:
      raise argparse.ArgumentTypeError(f"expected an integer of at least {least}, not {text}")
    return int(text)

  return read


def share(text: str) -> float:
  """Returns the share, from 0 to 1, in a text such as "0.1%" or "0.001"."""
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
  """Adds --workdir; `changed_by` is the command if it writes to the run, "" if it only reads."""
  where = "a folder, or an address in an object store, as in gs://bucket/run"
  add(parser, f"--workdir {metavar}", f"{summary}: {where}", type=workdir, required=True)
  summary = f"this machine's copy of a workdir in an object store (default: {store.SCRATCH})"
  add(parser, "--scratch DIR", summary, type=folder)
  parser.set_defaults(changed_by=changed_by)


def open_workdir(args: argparse.Namespace) -> contextlib.AbstractContextManager:
  """Returns a context in which the workdir is a local folder.

  If `args.workdir` is an address in an object store, a local copy takes its place, and the changes
  of the command are written to the store.
  """
  place = getattr(args, "workdir", None)
  if not isinstance(place, store.StoreAddress):
    return contextlib.nullcontext()
  if getattr(args, "coordinator_address", None) is not None:
    check_path(place, "a run of several processes")
  if getattr(args, "streams", None) is not None:
    raise ConfigError(
      f"--streams {args.streams} is outside of {place}, where other machines do not find it. Leave "
      "out --streams, or give a --workdir that is a folder."
    )
  place = store.address(place.url, args.scratch)
  args.workdir = place.workdir
  return store.opened(place, args.changed_by, changes=bool(args.changed_by))


def check_path(place: Path | store.StoreAddress, what: str) -> None:
  """Raises ConfigError if `place` is in an object store, which `what` does not support."""
  if isinstance(place, store.StoreAddress):
    raise ConfigError(f"{_needs_path(place, what)}.")


def _needs_path(place: object, what: str) -> str:
  return (
    f"{place} is an address in an object store, but {what} needs the path of a folder: mount the "
    "bucket (gcsfuse, mountpoint-s3) and give its path there; docs/launch.md lists the limits"
  )


def add_texts(parser: argparse._ActionsContainer, summary: str) -> None:
  """Adds --text; `dashed_texts` handles texts that begin with a dash."""
  add(parser, f"{TEXTS} TEXT", summary, nargs="+", action="extend")


def dashed_texts(arguments: Sequence[str]) -> list[str]:
  """Returns a command line with each text after --text as an argument --text=TEXT.

  argparse would take a text that begins with a dash, such as "-hello", for an option. All options
  but -h begin with two dashes.

      --text -5 euros --seed 1  ->  --text=-5 --text=euros --seed 1
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
  """Returns the parsed options; exits with an error for unknown ones, as `parse_args` does.

  If the command takes --set and an unknown option has the name of a setting, the error shows how
  to change it: for ["--lr", "1e-3"] it proposes --set optimizer.peak_lr=1e-3.
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
  how = f". To change a setting of the config use {' '.join(settings)}" if settings else ""
  parser.error(f"unrecognized arguments: {' '.join(unknown)}{how}")


def _is_option(argument: str) -> bool:
  name = argument.partition("=")[0]  # a name has no spaces, but a text such as "--help me" does
  return (name.startswith("--") and not set(name) & set(" \n\t")) or argument == "-h"


def add_trained(parser: argparse.ArgumentParser) -> None:
  """Adds --workdir and --trust of a trained run."""
  add_workdir(parser, "the trained run")
  add_trust(parser)


def add_step(parser: argparse.ArgumentParser) -> None:
  """Adds --step, the checkpoint of the run to open."""
  add(parser, "--step N", "the checkpoint's step (default: the newest)", type=int)


def add_trust(parser: argparse.ArgumentParser) -> None:
  """Adds --trust, the packages outside of audiopalm that a config may import."""
  summary = (
    "let the config use classes of this package, whose code is imported (docs/extend.md). May be "
    "repeated; needed again whenever the run is opened"
  )
  add(parser, "--trust PACKAGE", summary, action="append", default=[])


def trusted(args: argparse.Namespace) -> list[str]:
  """Returns the --trust options of this command, to pass on to another."""
  return [f"--trust={package}" for package in args.trust]


def add_workers(parser: argparse.ArgumentParser, work: str, *, none: str | None = None) -> None:
  """Adds --workers, None for one per core. 0 is allowed if `none` gives the reason for it."""
  about = f"; 0: this process itself, {none}" if none else ""
  summary = f"parallel processes that {work} (default: one per core{about})"
  add(parser, "--workers N", summary, type=at_least(0 if none else 1))


def add_max_bad(parser: argparse.ArgumentParser) -> None:
  """Adds --max-bad, the share of records that may be left out, None for any."""
  summary = (
    "the largest share of a split's records that may be left out because they are faulty, 0.1%% or "
    "0.001; more is an error that names the most frequent fault (default: any)"
  )
  add(parser, "--max-bad SHARE", summary, type=share)


def add_beams(
  parser: argparse._ActionsContainer, beams: int | None = None, length_penalty: float | None = None
) -> None:
  """Adds `--num-beams` and `--length-penalty`; a default of None defers to the config."""
  defaults = ["that of the config" if value is None else value for value in (beams, length_penalty)]
  summary = (
    "beam search with N beams, for tasks whose outputs use one column of the grid; 1 is greedy "
    f"decoding (default: {defaults[0]})"
  )
  add(parser, "--num-beams N", summary, type=int, default=beams)
  summary = (
    "beam search scores an output of n tokens by log P / ((5 + n) / 6)^A; larger values favor "
    f"longer outputs (default: {defaults[1]})"
  )
  add(parser, "--length-penalty A", summary, type=float, default=length_penalty)


def add_products(parser: argparse.ArgumentParser) -> None:
  """Adds --products, the dtype of matrix products."""
  summary = (
    "the dtype to which operands of matrix products are cast; on a CPU, sums and results stay "
    "float32 (default: that of the run's checkpoint; for a new run bfloat16 on accelerators and on "
    "CPUs with avx512_bf16 or amx_bf16, else float32)"
  )
  add(parser, "--products", summary, choices=("float32", "bfloat16"))
