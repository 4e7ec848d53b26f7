"""Plans kept in the workdir of a run, so that preflight reads in no time what took minutes.

WORKDIR/plans/v5e-16x16-v5e.json     of one topology and machine, by `audiopalm plan --workdir`
"""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from audiopalm.data import files
from audiopalm.errors import ConfigError
from audiopalm.settings import Machine

FOLDER = "plans"


def path_of(workdir: Path, topology: str, machine: Machine) -> Path:
  """Returns where the plan of a topology and machine is kept."""
  return workdir / FOLDER / f"{topology.replace(':', '-')}-{machine.name}.json"


def stale(found: dict[str, Any], experiment: Any, machine: Machine) -> str:
  """Returns what a plan was made for that is not so now, '' where it holds."""
  if found.get("digest") != experiment.digest:
    return f"another config (digest {found.get('digest')}, now {experiment.digest})"
  now = json.loads(json.dumps(dataclasses.asdict(machine)))
  changed = [name for name, value in now.items() if found.get("machine", {}).get(name) != value]
  return f"a machine with another {', '.join(changed)}" if changed else ""


def read(path: Path) -> dict[str, Any] | None:
  """Returns the plan in a file, None where there is none."""
  return files.read_json(path) if path.is_file() else None


def devices(topology: str) -> int:
  """Returns how many devices the name of a topology counts: 256 for v5e:16x16, 8 for cpu:8."""
  shape = topology.partition(":")[2]
  sizes = shape.split("x")
  if not all(size.isdecimal() for size in sizes):
    raise ConfigError(f"--topology takes KIND:SHAPE, as in v5e:16x16 or cpu:8, not {topology!r}.")
  return math.prod(map(int, sizes))
