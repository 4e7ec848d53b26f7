"""Checks of the paths that commands write to: no output may overwrite an input."""

import json
import os
from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from audiopalm import runs
from audiopalm.errors import ConfigError

# The files of a run that later commands need. Other files in its workdir may be overwritten.
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


# The files that a command reads, by real path and by (device, inode), so that links are recognized.
Inputs = Mapping[Hashable, Path]


def inputs(*paths: str | Path) -> Inputs:
  """Returns the files a command reads."""
  return {key: Path(path) for path in paths for key in _keys(Path(path))}


def named_in(config: str) -> list[Path]:
  """Returns the existing files that a resolved config names, such as manifests of corpora."""
  paths = (os.path.expanduser(text) for text in _strings(json.loads(config)))
  return [Path(path) for path in paths if os.path.isfile(path)]


def of_run(workdir: Path) -> list[Path]:
  """Returns the files named in a run's config, [] if the workdir has no run."""
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

  It may not if `path` is an input, a file that the run in `workdir` needs, a folder or device, an
  existing file of another `kind` (an earlier result may be replaced), or not writable.
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
      f"{option} {path} would overwrite a file that is not {kind}; expected no file, or {kind} of "
      "an earlier call. Give another name, or move that file away."
    )
  _check_writable(option, path.parent)


def check_folder(
  option: str, folder: Path, read: Inputs, names: Iterable[str] = (), workdir: Path | None = None
) -> None:
  """Raises ConfigError unless a command may write files of these names into a folder.

  It may not if `folder` is a file or contains an input, or if `check_file` refuses a file.
  """
  _check_name(option, folder)
  if folder.exists() and not folder.is_dir():
    raise ConfigError(f"{option} takes a folder, but {folder} is a file.")
  real = os.path.realpath(folder)
  for taken in read.values():
    if os.path.realpath(taken.parent) == real:
      raise ConfigError(
        f"{option} {folder} is the folder of {taken}, which this command reads and might then "
        "overwrite. Name another folder."
      )
  for name in names:
    check_file(option, folder / name, read, workdir)
  _check_run(option, folder, workdir)
  _check_writable(option, folder)


def check_workdir(workdir: Path, config: Path, experiment: str) -> None:
  """Raises ConfigError if a run would overwrite its inputs.

  The inputs are the files that its config names, and the config file itself, unless that is the
  config.json of the same run.
  """
  read = inputs(config, *named_in(experiment))
  for name in RUN_FILES:
    taken = _find(workdir / name, read)
    if taken is not None and not (name == "config.json" and _find(taken, inputs(config))):
      raise ConfigError(
        f"--workdir {workdir} would overwrite {taken}, an input of the run, with the run's own "
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
  needed = _find(path, inputs(*(workdir / name for name in RUN_FILES)))
  for name in RUN_FOLDERS:
    if real.is_relative_to(os.path.realpath(workdir / name)):
      needed = workdir / name
  if needed is not None:
    raise ConfigError(
      f"{option} {path} would change {needed}, which the run in {workdir} needs. Write elsewhere."
    )


def _check_writable(option: str, folder: Path) -> None:
  """Raises ConfigError if a folder is not writable, or cannot be created."""
  parent = next(place for place in (folder, *folder.absolute().parents) if place.exists())
  if not parent.is_dir():
    raise ConfigError(f"{option} takes a path in a folder, but {parent} is a file.")
  if not os.access(parent, os.W_OK | os.X_OK):
    raise ConfigError(
      f"{option} needs a writable folder, but {parent} is read-only or belongs to another user. "
      "Name another folder."
    )


def _is_of(path: Path, kind: str) -> bool:
  """Returns whether a file is empty or its contents are of this kind."""
  data = path.read_bytes()
  if kind == "HTML":
    return not data or data[: len(HTML)].lower() == HTML
  try:
    return not data or json.loads(data) is not None
  except ValueError:  # UnicodeDecodeError is one too
    return False


def _find(path: Path, read: Inputs) -> Path | None:
  """Returns the input that a path leads to, None if it is not an input."""
  return next((read[key] for key in _keys(path) if key in read), None)


def _keys(path: Path) -> Iterator[Hashable]:
  """Yields what identifies a file: its real path, and (device, inode) if it exists."""
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
