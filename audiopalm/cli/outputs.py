"""Checks of the paths that commands write to: no output may overwrite an input."""

import json
import os
from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from audiopalm import runs
from audiopalm.errors import ConfigError

# What later commands need of a run. Anything else in its workdir may be written again.
RUN_FILES = (
  "config.json", "manifest.json", "prepare.json", "metrics.jsonl", "goodput.jsonl",
  "evaluation/results.json", "evaluation/checkpoint.json", "evaluation/pairs.json",
  "evaluation/transcripts.jsonl",
)  # fmt: skip
RUN_FOLDERS = (
  "checkpoints", "tokenizers", "streams", "rows",
  "evaluation/outputs", "evaluation/waves", "evaluation/pairs", "evaluation/recordings",
)  # fmt: skip
HTML = b"<!doctype html"


# Files that a command reads, by all that identifies each: links, `..` and hard links lead to it.
Inputs = Mapping[Hashable, Path]


def inputs(*paths: str | Path) -> Inputs:
  """Returns the files a command reads."""
  return {key: Path(path) for path in paths for key in _keys(Path(path))}


def named_in(config: str) -> list[Path]:
  """Returns the files that a resolved config names: manifests and whatever else corpora read."""
  paths = (os.path.expanduser(text) for text in _strings(json.loads(config)))
  return [Path(path) for path in paths if os.path.isfile(path)]


def of_run(workdir: Path) -> list[Path]:
  """Returns the files named in a run's config; empty without a run."""
  exists = (workdir / runs.CONFIG).is_file() or runs.steps(workdir)
  return named_in(runs.config(workdir)) if exists else []


def check_file(
  option: str,
  path: Path,
  read: Inputs,
  workdir: Path | None = None,
  kind: Literal["JSON", "HTML"] | None = None,
) -> None:
  """Raises ConfigError unless a command may write a file.

  Refused are an input, a file that the run in `workdir` needs, anything but a file, an existing
  file that is not of the `kind` written here (an earlier result is replaced), and a place that
  cannot be written.
  """
  _check_name(option, path)
  if (taken := _find(path, read)) is not None:
    raise ConfigError(
      f"{option} {path} would overwrite {taken}, which this command reads. Give it another name."
    )
  _check_run(option, path, workdir)
  if path.exists() and not path.is_file():
    what = "folder." if path.is_dir() else "device or a pipe. Give it the name of a file."
    raise ConfigError(f"{option} takes the file to write, but {path} is a {what}")
  if kind is not None and path.is_file() and not _is_of(path, kind):
    raise ConfigError(
      f"{option} {path} would overwrite a file that holds something else, expected none, or {kind} "
      "of an earlier call. Give another name, or move that file away."
    )
  _check_writable(option, path.parent)


def check_folder(
  option: str, folder: Path, read: Inputs, names: Iterable[str] = (), workdir: Path | None = None
) -> None:
  """Raises ConfigError unless a command may write files of these names into a folder.

  Refused are what is no folder, one that holds an input, and what `check_file` refuses.
  """
  _check_name(option, folder)
  if folder.exists() and not folder.is_dir():
    raise ConfigError(f"{option} takes a folder, but {folder} is a file.")
  real = os.path.realpath(folder)
  for taken in read.values():
    if os.path.realpath(taken.parent) == real:
      raise ConfigError(
        f"{option} {folder} is the folder of {taken}, which this command reads, and what is "
        "written there could take its place. Name another folder."
      )
  for name in names:
    check_file(option, folder / name, read, workdir)
  _check_run(option, folder, workdir)
  _check_writable(option, folder)


def check_workdir(workdir: Path, config: Path, experiment: str) -> None:
  """Raises ConfigError where the files of a run would take the place of what it is made from.

  These are its config file, unless it is the config.json of this very run, and the files it names.
  """
  read = inputs(config, *named_in(experiment))
  for name in RUN_FILES:
    taken = _find(workdir / name, read)
    if taken is not None and not (name == "config.json" and _find(taken, inputs(config))):
      raise ConfigError(
        f"--workdir {workdir} would overwrite {taken}, from which the run is made, with its own "
        f"{name}. Name another folder."
      )


def _check_name(option: str, path: Path) -> None:
  try:
    os.fspath(path).encode()
  except UnicodeEncodeError as error:
    raise ConfigError(f"{option} {path}: the name of an output must be UTF-8.") from error


def _check_run(option: str, path: Path, workdir: Path | None) -> None:
  if workdir is None:
    return
  real = Path(os.path.realpath(path))
  kept = _find(path, inputs(*(workdir / name for name in RUN_FILES)))
  for name in RUN_FOLDERS:
    if real.is_relative_to(os.path.realpath(workdir / name)):
      kept = workdir / name
  if kept is not None:
    raise ConfigError(
      f"{option} {path} would change {kept}, which the run in {workdir} needs. Write elsewhere."
    )


def _check_writable(option: str, folder: Path) -> None:
  """Raises ConfigError where nothing can be written into a folder, or it cannot be made."""
  parent = next(place for place in (folder, *folder.absolute().parents) if place.exists())
  if not parent.is_dir():
    raise ConfigError(f"{option} takes a place in a folder, but {parent} is a file.")
  if not os.access(parent, os.W_OK | os.X_OK):
    raise ConfigError(
      f"{option} takes a place to write to, but {parent} cannot be written: it is read-only, or "
      "not this user's. Name another."
    )


def _is_of(path: Path, kind: str) -> bool:
  """Returns whether a file is empty or holds what is written as this kind."""
  data = path.read_bytes()
  if kind == "HTML":
    return not data or data[: len(HTML)].lower() == HTML
  try:
    return not data or json.loads(data) is not None
  except ValueError:  # UnicodeDecodeError is one too
    return False


def _find(path: Path, read: Inputs) -> Path | None:
  """Returns the input that a path leads to, None for another file."""
  return next((read[key] for key in _keys(path) if key in read), None)


def _keys(path: Path) -> Iterator[Hashable]:
  """Yields what identifies a file: its name without links, and its number on a device."""
  yield os.path.realpath(path)
  if os.path.exists(path):
    status = os.stat(path)
    yield status.st_dev, status.st_ino


def _strings(value: object) -> Iterator[str]:
  if isinstance(value, str):
    yield value
  elif isinstance(value, dict | list):
    for child in value.values() if isinstance(value, dict) else value:
      yield from _strings(child)
