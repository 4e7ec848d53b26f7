"""Earlier runs that configs name, to go on from what they learned."""

from pathlib import Path
from typing import Any

from audiopalm import values
from audiopalm.errors import ConfigError

CONFIG = "config.json"


def settings(workdir: str) -> Any:
  """Returns the Experiment of the run in a workdir; ConfigError where there is none."""
  path = Path(workdir) / CONFIG
  if not path.is_file():
    raise ConfigError(
      f"There is no run in {workdir}: {path} is missing. Train it first: audiopalm train CONFIG "
      f"--workdir {workdir}"
    )
  return values.from_json(path.read_text(encoding="utf-8"))
