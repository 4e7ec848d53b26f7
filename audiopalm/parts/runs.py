"""Earlier runs that configs name, to go on from what they learned."""

import json
from pathlib import Path
from typing import Any

from audiopalm import values
from audiopalm.errors import ConfigError

CONFIG = "config.json"


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


def settings(workdir: str) -> Any:
  """Returns the Experiment of the run in a workdir."""
  return values.from_json((Path(workdir) / CONFIG).read_text(encoding="utf-8"))
