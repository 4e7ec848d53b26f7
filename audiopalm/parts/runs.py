"""What a run says of itself: the one place where its settings and checkpoints are looked up.

The settings of a run are those of its newest checkpoint: with them it was trained up to there.
WORKDIR/config.json is a copy of them for people, and all there is before the first checkpoint.
Nothing here imports JAX.
"""

import contextlib
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from audiopalm.data import files
from audiopalm.errors import ConfigError

CONFIG = "config.json"
CHECKPOINTS = "checkpoints"


def holds(folder: str) -> bool:
  """Returns whether a folder is the workdir of a run; ConfigError where there is none of any kind.

  A Hugging Face folder has a config.json too, but another one.
  """
  path = Path(folder) / CONFIG
  if not path.is_file():
    raise ConfigError(
      f"There is no model in {folder}: {path} is missing. Give the folder of a text model, or that "
      f"of a run, after audiopalm train CONFIG --workdir {folder}"
    )
  try:
    found = json.loads(path.read_text(encoding="utf-8"))
  except ValueError as error:
    raise ConfigError(f"{path} is no JSON ({error}). Copy the folder again.") from error
  return isinstance(found, dict) and str(found.get("class", "")).startswith("audiopalm.")


def settings(workdir: str | Path, trust: Sequence[str] = ()) -> Any:
  """Returns the Experiment of the run in a workdir; `trust` as in `experiment.from_json`."""
  from audiopalm import experiment  # imports JAX

  return experiment.from_json(config(workdir), trust)


def config(workdir: str | Path) -> str:
  """Returns the settings of a run as JSON: those of its newest checkpoint, before there is one
  those of config.json; ConfigError where there is neither."""
  fields = newest(workdir)
  if fields is not None:
    return fields["experiment"]
  path = Path(workdir) / CONFIG
  if not path.is_file():
    raise ConfigError(
      f"There is no run in {workdir}: it holds no {CONFIG}, which `audiopalm train` writes. Train "
      f"one: audiopalm train CONFIG --workdir {workdir}"
    )
  return path.read_text(encoding="utf-8")


def newest(workdir: str | Path, say: Callable[[str], None] | None = None) -> dict | None:
  """Returns what the newest checkpoint that can be read says of itself (`fields`), with its
  "step"; None where there is none. `say` is told of those that cannot be read, by default on
  standard error."""
  for step in reversed(steps(workdir)):
    path = Path(workdir) / CHECKPOINTS / str(step)
    try:
      return {**fields(path), "step": step}
    except (OSError, ValueError) as error:
      text = f"Checkpoint {path}: {error}. It is damaged or half written: skipped."
      say(text) if say else print(text, file=sys.stderr)
  return None


def steps(workdir: str | Path) -> list[int]:
  """Returns the steps of all whole checkpoints of a run, oldest first."""
  folder = Path(workdir) / CHECKPOINTS
  return sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal())


def fields(checkpoint: Path) -> dict[str, Any]:
  """Returns what a checkpoint says of itself; OSError or ValueError where that is damaged."""
  found = json.loads((checkpoint / "meta" / "metadata").read_text(encoding="utf-8"))
  if not isinstance(found, dict) or "digest" not in found:
    raise ValueError("meta has no digest: audiopalm wrote none before checkpoints had sums")
  if found.pop("digest") != digest(found):
    raise ValueError("meta is not what was saved")
  return found


def digest(fields: Mapping[str, Any]) -> str:
  """Returns 16 hex digits of what a checkpoint says of itself."""
  text = json.dumps(fields, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextlib.contextmanager
def saying(workdir: Path, experiment: str) -> Iterator[None]:
  """Has config.json say `experiment` (JSON) once the block is done, by one rename after it."""
  value, path = json.loads(experiment), workdir / CONFIG
  if _says(path, value):
    yield
    return
  with files.replacing(path) as part:
    files.dump_json(part, value)
    yield


def _says(path: Path, value: Any) -> bool:
  try:
    return json.loads(path.read_text(encoding="utf-8")) == value
  except (OSError, ValueError):
    return False  # absent or damaged: it is written anew
