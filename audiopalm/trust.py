"""The classes that a config may name: those of audiopalm and of packages that the user trusts.

A resolved config is JSON with names of classes. Reading it imports their modules, which runs code.
So a config.json can import a package outside of audiopalm only if the user names the package:
`--trust PACKAGE`, in Python `trust=("package",)`.
"""

import importlib
import importlib.util
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from audiopalm.errors import ConfigError

# Only frozen dataclasses of these modules, and of trusted packages, are built from JSON.
READABLE = (
  "audiopalm.data.augment",
  "audiopalm.data.clips",
  "audiopalm.data.corpora",
  "audiopalm.data.manifest",
  "audiopalm.data.mixtures",
  "audiopalm.data.packed",
  "audiopalm.data.synthesizers",
  "audiopalm.data.takes",
  "audiopalm.experiment",
  "audiopalm.layouts",
  "audiopalm.models",
  "audiopalm.nn",
  "audiopalm.objectives",
  "audiopalm.settings",
  "audiopalm.tokenizers",
  "audiopalm.types",
)
OURS = "audiopalm"
EVERYWHERE = (
  "It must be installed, or lie in a folder of PYTHONPATH, for this and every other process of the "
  "run: beside the config is not enough."
)
CONFIG_FILE = "audiopalm_config_"  # prefix of the module names of config files


def packages(names: Iterable[str]) -> tuple[str, ...]:
  """Returns the names of packages in order, each once; ConfigError for an invalid name."""
  if isinstance(names, str):
    raise ConfigError(f"trust takes names of packages, as in trust=({names!r},), not {names!r}.")
  unique = tuple(dict.fromkeys(names))
  for name in unique:
    if not isinstance(name, str) or not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", name):
      raise ConfigError(
        f"--trust takes the name of a package as Python imports it, as in my_package, not {name!r}."
      )
    if _lies_in(name, (OURS, "__main__")):
      raise ConfigError(
        f"--trust takes a package of yours, not {name!r}: classes of audiopalm need no trust, and "
        "those of a script cannot be imported again. Leave it out, or move them into a package."
      )
  return unique


def check_found(names: Iterable[str]) -> None:
  """Raises ConfigError for a package that is not installed. Imports none, because a package that
  registers tasks with SeqIO would import TensorFlow."""
  for name in names:
    if importlib.util.find_spec(name.partition(".")[0]) is None:
      raise ConfigError(f"The trusted package {name!r} is not there. {EVERYWHERE}")


def files(names: Iterable[str]) -> Iterator[tuple[str, Path]]:
  """Yields (name, path) of all Python files of packages, in a fixed order."""
  for name in sorted({name.partition(".")[0] for name in names}):
    spec = importlib.util.find_spec(name)
    for place in map(Path, spec.submodule_search_locations or (spec.origin,)):
      for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
        yield f"{name}/{path.relative_to(place)}", path


def readable(name: str, trusted: Iterable[str] = ()) -> type:
  """Returns the frozen dataclass called `name` of audiopalm or a trusted package; ConfigError,
  without an import, for any other name."""
  module, _, class_name = name.rpartition(".")
  ours = _lies_in(module, READABLE)
  if not ours and not _lies_in(module, trusted):
    raise ConfigError(_refusal(name, module))
  kind = getattr(_imported(module), class_name, None)
  if kind is None:
    whose = "this version" if ours else f"{module.partition('.')[0]} as it is installed here"
    raise ConfigError(f"A config names {name!r}, which is not in {whose}.")
  frozen = getattr(getattr(kind, "__dataclass_params__", None), "frozen", False)
  if not (isinstance(kind, type) and frozen):
    raise ConfigError(f"A config names {name!r}, which is not a frozen dataclass.")
  return kind


def check_given(recorded: Iterable[str], given: Iterable[str]) -> None:
  """Raises ConfigError unless all packages that a config was made with are trusted now."""
  missing = [name for name in recorded if not _lies_in(name, given)]
  if missing:
    raise ConfigError(
      f"This run uses code of {' and '.join(missing)}, outside of audiopalm, which is imported for "
      f"it. If you trust that code, add {' '.join(f'--trust {name}' for name in missing)} (in "
      f"Python: trust={tuple(missing)!r})."
    )


def _refusal(name: str, module: str) -> str:
  package = module.partition(".")[0]
  if not package or package == OURS:
    return f"A config may name classes of {', '.join(READABLE)}, not {name!r}."
  if package == "__main__" or package.startswith(CONFIG_FILE):
    return (
      f"A config may not name the class {name.rpartition('.')[2]!r} of a config file or a script: "
      "other processes could not import it. Move it into a package, and add --trust PACKAGE."
    )
  return (
    f"A config names the class {name!r}, which is not audiopalm's. If you trust the code of that "
    f"package, which is imported then, add --trust {package} (in Python: trust=({package!r},))."
  )


def _lies_in(module: str, packages: Iterable[str]) -> bool:
  return any(module == known or module.startswith(f"{known}.") for known in packages)


def _imported(module: str) -> ModuleType:
  try:
    return importlib.import_module(module)
  except Exception as error:  # the user's code may raise anything
    if _lies_in(module, (OURS,)):
      if not isinstance(error, ModuleNotFoundError) or not _lies_in(module, (error.name,)):
        raise
      raise ConfigError(f"A config names {module!r}, which is not in this version.") from error
    raise ConfigError(
      f"{module!r}, of a trusted package, cannot be imported: {type(error).__name__}: {error}. "
      f"{EVERYWHERE}"
    ) from error
