"""A training job, and the texts of the files that launch it. Nothing is written or run here.

The templates are in launch/. `{{name}}` is replaced by a value as it is, `{{sh name}}` by the value
quoted for a shell, `{{json name}}` by the value as JSON; a line with only `{{name}}` is replaced by
a list of lines.
"""

import dataclasses
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from audiopalm.errors import ConfigError

# Inside the installed package, or beside it in a checkout.
_PACKAGE = Path(__file__).parents[1]
TEMPLATES = (_PACKAGE / "launch", _PACKAGE.parent / "launch")

CONFIG, MACHINE = "config.json", "machine.json"

Values = Mapping[str, str | int | Sequence[str] | None]


@dataclasses.dataclass(frozen=True)
class TrainingJob:
  """What to launch, in any place.

  `config` is the experiment as JSON, and `machine` the contents of a machine file, None without
  one. Both are read and checked before the launch, so later changes to their files have no effect.
  `options` are further options of `audiopalm train`. `python` and `folder` are paths of this
  machine, for places that share its disks.
  """

  name: str
  workdir: str
  config: str
  options: tuple[str, ...]
  python: str
  folder: str
  machine: str | None = None

  def __post_init__(self):
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", self.name):
      raise ConfigError(
        f"A job name has at most 40 lower-case letters, digits and dashes and begins with a "
        f"letter, as clouds require, not {self.name!r}. Give another by --name."
      )

  def train(self, prefix: str) -> tuple[str, ...]:
    """Returns the arguments of `audiopalm`; `prefix` begins the paths of its files there."""
    machine = ("--machine", f"{prefix}{MACHINE}") if self.machine else ()
    return ("train", f"{prefix}{CONFIG}", *self.options, *machine)

  def files(self, folder: Path) -> dict[Path, str]:
    """Returns the config, and the machine if it came from a file, as files in `folder`."""
    machine = {folder / MACHINE: self.machine} if self.machine else {}
    return {folder / CONFIG: self.config, **machine}


@dataclasses.dataclass(frozen=True)
class Launch:
  """The files of a job, the command that submits them, and folders that must exist before."""

  files: Mapping[Path, str]
  command: tuple[str, ...]
  folders: tuple[Path, ...] = ()


def fill(name: str, values: Values) -> str:
  """Returns a template with its values inserted; ConfigError for control characters in one."""
  for value in values.values():
    for text in value if isinstance(value, list | tuple) else (value,):
      if not str(text).isprintable():
        raise ConfigError(
          f"{str(text)!r} contains a line break or another control character, which scripts cannot "
          "represent: choose another name."
        )
  quote = {None: str, "json": json.dumps, "sh": _shell}
  lines = []
  for line in template(name).splitlines():
    alone = re.fullmatch(r"( *)\{\{(\w+)\}\}", line)
    if alone:
      lines += [alone[1] + inserted for inserted in values[alone[2]]]
    else:
      insert = lambda match: quote[match[1]](values[match[2]])  # noqa: E731
      lines.append(re.sub(r"\{\{(?:(sh|json) )?(\w+)\}\}", insert, line))
  return "\n".join(lines) + "\n"


def template(name: str) -> str:
  """Returns the text of a file in launch/."""
  folder = next(filter(Path.is_dir, TEMPLATES), TEMPLATES[0])
  return (folder / name).read_text(encoding="utf-8")


def _shell(value: str | Sequence[str]) -> str:
  return shlex.quote(value) if isinstance(value, str) else shlex.join(value)
