"""From a config file and `--set` to an Experiment."""

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

# Installed inside the package; in a checkout beside it.
_PACKAGE = Path(experiments.__file__).parent
SHIPPED = (_PACKAGE / "configs", _PACKAGE.parent / "configs")


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
  """Gives `parser` the CONFIG, --workdir and --set that `prepare` and `train` share."""
  add_config(parser)
  options.add_workdir(parser, "where everything of the run lies", changed_by=command)


def add_config(parser: argparse.ArgumentParser) -> None:
  """Gives `parser` the CONFIG and the --set that change it."""
  summary = (
    "a Python file with a function experiment(), the config.json of a run, or a name: "
    f"{', '.join(shipped())}"
  )
  parser.add_argument("config", metavar="CONFIG", help=summary)
  summary = (
    "change one setting: a parameter of the config's experiment() by its name, a field of its "
    "result by its dotted path (optimizer.peak_lr=3e-4, tokenizers.units.size=512, "
    "mixture.tasks.asr=2). May be repeated; of two for one path the last counts"
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

  Classes outside of audiopalm are those of packages in `trust`; ConfigError for others.

  A name without a folder and ending, as in "quickstart", is a config that comes with the package;
  a file that ends in .json is the resolved config of a run, its config.json.
  Parameters of `experiment(...)` are set by their name, fields of what it returns by dotted path.
  A config may import the modules beside it; no other config sees them.
  """
  path, changes = find(config), {}
  for setting in settings:
    name, equals, value = setting.partition("=")
    if not equals or not name:
      raise ConfigError(f"--set takes PATH=VALUE, as in optimizer.peak_lr=3e-4, not {setting!r}.")
    changes[name.strip()] = value.strip()
  if path.suffix == ".json":
    made = _at(path, lambda: experiments.from_json(path.read_text(encoding="utf-8"), trust))
    return experiments.trusting(_changed(made, changes, ()), trust)
  # Without the config's folder on the path: other processes would not find a package there.
  trusts.check_found(trusts.packages(trust))
  with _beside(path, kept=trust):
    return experiments.trusting(_called(path, changes), trust)


def _called(path: Path, changes: dict[str, str]) -> Experiment:
  """Returns what the function of a config makes, with parameters and fields changed."""
  function = getattr(_module(path), "experiment", None)
  if not inspect.isfunction(function):
    raise ConfigError(f"{path}: has no function experiment(). A config defines one.")
  parameters = inspect.signature(function).parameters
  both = [name for name in parameters if name in Experiment.__dataclass_fields__]
  if both:
    raise ConfigError(
      f"{path}: {both[0]!r} is a parameter of experiment() and a field of Experiment, so --set "
      f"{both[0]}=... could mean either. Rename the parameter."
    )
  kinds = _at(path, lambda: typing.get_type_hints(function))
  given = {
    name: values.parse(changes.pop(name), kinds.get(name, type(parameters[name].default)), name)
    for name in parameters
    if name in changes
  }
  missing = [n for n, p in parameters.items() if p.default is p.empty and n not in given]
  if missing:
    raise ConfigError(
      f"{path}: experiment() needs a value for {missing[0]!r}. Give it by --set {missing[0]}=..."
    )
  result = _at(path, lambda: function(**given))
  if not isinstance(result, Experiment):
    raise ConfigError(f"{path}: experiment() must return an Experiment, not {values.a(result)}.")
  return _changed(result, changes, parameters)


def _changed(
  result: Experiment, changes: Mapping[str, str], parameters: Collection[str]
) -> Experiment:
  """Returns the experiment with fields set by dotted path."""
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
  """Lets the modules in a config's folder be imported until the block ends, and forgets them then.

  Another config may have modules of the same names. Packages `kept` are found without the folder.
  """
  folder = path.absolute().parent
  wrote_bytecode = sys.dont_write_bytecode
  # Bytecode is told from its source by size and second: too coarse for a file that is being edited.
  sys.dont_write_bytecode = True
  sys.path.insert(0, str(folder))
  importlib.invalidate_caches()
  before = set(sys.modules)
  try:
    yield
  finally:
    sys.path.remove(str(folder))
    sys.dont_write_bytecode = wrote_bytecode
    new = set(sys.modules) - before
    # Of a folder that holds an installation too, what was imported from there stays.
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
  # The name is of this file alone: what looks a module up by name (dataclasses) must find this one.
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
  except (Exception, SystemExit) as error:  # the user's code: whatever it raises is their input
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    raise ConfigError(f"{_where(path, error)}: {type(error).__name__}: {text}") from error


def _where(path: Path, error: BaseException) -> str:
  """Returns "file:line" of the config, after that of a module beside it where the error is there.

  What a library does below them is not what the user can change.
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
