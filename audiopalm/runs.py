"""The settings and checkpoints of a run, for every reader; nothing here imports JAX.

The settings of a run are those of its newest checkpoint. WORKDIR/config.json is a copy of them for
people, and is read only before the first checkpoint.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from audiopalm.errors import ConfigError

CONFIG = "config.json"
CHECKPOINTS = "checkpoints"


def holds(folder: str) -> bool:
  """Returns whether a folder is the workdir of a run, not a Hugging Face folder; ConfigError where
  it is neither."""
  path = Path(folder) / CONFIG
  if not path.is_file():
    raise ConfigError(
      f"There is no model in {folder}: {path} is missing. Give the folder of a text model, or that "
      f"of a run, after audiopalm train CONFIG --workdir {folder}"
    )
  try:
    fields = json.loads(path.read_text(encoding="utf-8"))
  except ValueError as error:
    raise ConfigError(f"{path} is no JSON ({error}). Copy the folder again.") from error
  return isinstance(fields, dict) and str(fields.get("class", "")).startswith("audiopalm.")


def config(workdir: str | Path) -> str:
  """Returns the settings of a run as JSON: of its newest checkpoint, else of config.json;
  ConfigError where there is neither."""
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
  """Returns the metadata (`fields`) of the newest readable checkpoint with its "step"; None without
  one. `say` gets a line for each that cannot be read; by default stderr does."""
  for step in reversed(steps(workdir)):
    path = Path(workdir) / CHECKPOINTS / str(step)
    try:
      return {**fields(path), "step": step}
    except (OSError, ValueError) as error:
      text = f"Checkpoint {path}: {error}. It is damaged or half written: skipped."
      say(text) if say else print(text, file=sys.stderr)
  return None


def steps(workdir: str | Path) -> list[int]:
  """Returns the steps of all complete checkpoints of a run, oldest first."""
  folder = Path(workdir) / CHECKPOINTS
  return sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal())


def fields(checkpoint: Path) -> dict[str, Any]:
  """Returns the metadata of a checkpoint; OSError or ValueError where it is damaged."""
  meta = json.loads((checkpoint / "meta" / "metadata").read_text(encoding="utf-8"))
  if not isinstance(meta, dict) or "digest" not in meta:
    raise ValueError("meta has no digest: audiopalm wrote none before checkpoints had sums")
  if meta.pop("digest") != digest(meta):
    raise ValueError("meta is not what was saved")
  return meta


def digest(fields: Mapping[str, Any]) -> str:
  """Returns 16 hex digits of the metadata of a checkpoint."""
  text = json.dumps(fields, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]
