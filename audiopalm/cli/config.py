"""Builds an Experiment from a config file and `--set` options."""

import argparse
import contextlib
import hashlib
import importlib.util
import inspect
import sys
import traceback
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType

from audiopalm import experiment as experiments
from audiopalm import trust as trusts
from audiopalm import values
from audiopalm.cli import options
from audiopalm.errors import AudiopalmError, ConfigError
from audiopalm.experiment import Experiment

# Inside the installed package, or beside it in a checkout.
_PACKAGE = Path(experiments.__file__).parent
SHIPPED = (_PACKAGE / "configs", _PACKAGE.parent / "configs")


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
  """Adds CONFIG, --workdir and --set, which `prepare` and `train` share."""
  add_config(parser)
  options.add_workdir(parser, "where the run is stored", changed_by=command)


def add_config(parser: argparse.ArgumentParser) -> None:
  """Adds CONFIG, and --set and --trust, which change how it is read."""
  summary = (
    "a Python file with a function experiment(), the config.json of a run, or a name: "
    f"{', '.join(shipped())}"
  )
  parser.add_argument("config", metavar="CONFIG", help=summary)
  summary = (
    "change one setting: a parameter of the config's experiment() by its name, or a field of its "
    "result by its dotted path (optimizer.peak_lr=3e-4, tokenizers.units.size=512, "
    "mixture.tasks.asr=2). May be repeated; the last value of a path wins"
  )
  options.add(parser, "--set PATH=VALUE", summary, action="append", default=[], dest="settings")
  options.add_trust(parser)


def shipped() -> tuple[str, ...]:
  """Returns the names of the configs that come with the package."""
  folder = next(filter(Path.is_dir, SHIPPED), SHIPPED[0])
  names = (path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.py"))
  return tuple(sorted(name for name in names if not name.endswith("__init__")))


def load(config: str, settings: Sequence[str] = (), trust: Sequence[str] = ()) -> Experiment:
  """Returns the experiment of a config file, with `settings` ("path=value") applied.

  A name without folder and extension, such as "quickstart", is a config that comes with the
  package; a .json file is the config.json of a run. `settings` change parameters of
  `experiment(...)` by name, and fields of its result by dotted path. A config may import modules
  beside it; other configs do not see them. `trust` names packages outside of audiopalm whose
  classes the config may use; ConfigError for classes of other packages.
  """
  path, changes = find(config), {}
  for setting in settings:
    name, equals, value = setting.partition("=")
    if not equals or not name:
      raise ConfigError(f"--set takes PATH=VALUE, as in optimizer.peak_lr=3e-4, not {setting!r}.")
    changes[name.strip()] = value.strip()
  if path.suffix == ".json":
    saved = _at(path, lambda: experiments.from_json(path.read_text(encoding="utf-8"), trust))
    return experiments.trusting(_changed(saved, changes, ()), trust)
  # Checked without the config's folder in sys.path: other processes do not search it.
  trusts.check_found(trusts.packages(trust))
  with _beside(path, kept=trust):
    return experiments.trusting(_called(path, changes), trust)


def _called(path: Path, changes: dict[str, str]) -> Experiment:
  """Returns the result of a config's experiment(), with parameters and fields changed."""
  function = getattr(_module(path), "experiment", None)
  if not inspect.isfunction(function):
    raise ConfigError(f"{path}: has no function experiment(). A config defines one.")
  parameters = inspect.signature(function).parameters
  ambiguous = [name for name in parameters if name in Experiment.__dataclass_fields__]
  if ambiguous:
    raise ConfigError(
      f"{path}: {ambiguous[0]!r} is a parameter of experiment() and a field of Experiment, so "
      f"--set {ambiguous[0]}=... could mean either. Rename the parameter."
    )
  kinds = _at(path, lambda: typing.get_type_hints(function))
  arguments = {
    name: values.parse(changes.pop(name), kinds.get(name, type(parameters[name].default)), name)
    for name in parameters
    if name in changes
  }
  missing = [n for n, p in parameters.items() if p.default is p.empty and n not in arguments]
  if missing:
    raise ConfigError(
      f"{path}: experiment() needs a value for {missing[0]!r}. Give it with --set {missing[0]}=..."
    )
  result = _at(path, lambda: function(**arguments))
  if not isinstance(result, Experiment):
    raise ConfigError(f"{path}: experiment() must return an Experiment, not {values.a(result)}.")
  return _changed(result, changes, parameters)


def _changed(
  result: Experiment, changes: Mapping[str, str], parameters: Collection[str]
) -> Experiment:
  """Returns the experiment with fields set by dotted path; ConfigError for an unknown path."""
  known = list(values.paths(result))
  for name in changes:
    is_path = any(path == name or path.startswith(f"{name}.") for path in known)
    if name.split(".")[0] in parameters or not is_path:
      raise ConfigError(values.unknown_path(name, [*parameters, *known]))
  return experiments.with_values(result, changes)


def find(config: str) -> Path:
  """Returns the file of a config, given by its path or its name; ConfigError if there is none."""
  path = Path(config)
  if path.is_file():
    return path
  if path.suffix != ".py":
    for folder in SHIPPED:
      if (folder / f"{config}.py").is_file():
        return folder / f"{config}.py"
  raise ConfigError(
    f"There is no config {config!r}. Give the path of a Python file with a function experiment(), "
    f"or one of the names that come with audiopalm: {', '.join(shipped())}."
  )


@contextlib.contextmanager
def _beside(path: Path, kept: Collection[str]) -> Iterator[None]:
  """Makes the modules in a config's folder importable within the block, and unloads them after it.

  Another config may have modules of the same names. Packages in `kept` stay loaded.
  """
  folder = path.absolute().parent
  dont_write_bytecode = sys.dont_write_bytecode
  # Stale bytecode is detected by file size and second, too coarse for a file being edited.
  sys.dont_write_bytecode = True
  sys.path.insert(0, str(folder))
  importlib.invalidate_caches()
  loaded = set(sys.modules)
  try:
    yield
  finally:
    sys.path.remove(str(folder))
    sys.dont_write_bytecode = dont_write_bytecode
    new = set(sys.modules) - loaded
    # Only modules directly in the folder: it may also contain an installation, which stays loaded.
    ours = {name for name in new if "." not in name and _lies_in(folder, sys.modules[name])}
    for name in new:
      if name.partition(".")[0] in ours - {package.partition(".")[0] for package in kept}:
        del sys.modules[name]


def _lies_in(folder: Path, module: ModuleType) -> bool:
  """Returns whether a module is folder/name.py, or a package folder/name."""
  file = getattr(module, "__file__", None)
  places = [file] if file and not hasattr(module, "__path__") else getattr(module, "__path__", ())
  is_config = module.__name__.startswith(trusts.CONFIG_FILE)
  return not is_config and folder in {Path(place).parent for place in places}


def _module(path: Path) -> ModuleType:
  # A name unique to this file, because dataclasses look a module up by its name.
  digest = hashlib.sha256(bytes(path.absolute())).hexdigest()[:12]
  name = f"{trusts.CONFIG_FILE}{path.stem}_{digest}"
  spec = importlib.util.spec_from_file_location(name, path.absolute())
  if spec is None:
    raise ConfigError(f"{path}: a config is a Python file, with a name that ends in .py.")
  module = sys.modules[name] = importlib.util.module_from_spec(spec)
  _at(path, lambda: spec.loader.exec_module(module))
  return module


def _at(path: Path, call: typing.Callable[[], typing.Any]) -> typing.Any:
  """Returns call(); an exception in the config becomes an error that names its file and line."""
  try:
    return call()
  except AudiopalmError as error:
    raise type(error)(f"{error}\n  in {_where(path, error)}") from error
  except (Exception, SystemExit) as error:  # the config is user code and may raise anything
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    raise ConfigError(f"{_where(path, error)}: {type(error).__name__}: {text}") from error


def _where(path: Path, error: BaseException) -> str:
  """Returns "file:line" of the config, after that of a module beside it if the error is in one.

  Frames of libraries are skipped, because the user cannot change those.
  """
  folder = path.absolute().parent
  places = [
    (file, frame.lineno)
    for frame in traceback.extract_tb(error.__traceback__)
    if folder in (file := Path(frame.filename)).parents
    and _PACKAGE not in file.parents
    and "site-packages" not in file.parts
  ]
  if isinstance(error, SyntaxError) and error.filename and error.lineno:
    places.append((Path(error.filename), error.lineno))
  of_config = [line for file, line in places if file == path.absolute()]
  where = f"{path}:{of_config[-1]}" if of_config else str(path)
  if not places or places[-1][0] == path.absolute():
    return where
  file, line = places[-1]
  shown = path.parent / file.relative_to(folder) if folder in file.parents else file
  return f"{shown}:{line}, from {where}"
