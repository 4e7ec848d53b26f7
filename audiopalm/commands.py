"""The commands of the command line as functions of Python.

    audiopalm.train("quickstart", "runs/q", {"train_records": 2_000, "optimizer.peak_lr": 5e-4})
    audiopalm.evaluate("runs/q", tasks=["asr"])["asr"]["wer"]

A config is a name, the path of a file, or an Experiment. `settings` are what --set takes, by name
or path. `trust` names packages outside of audiopalm whose classes a config names (docs/extend.md).
`more` are other options of the command by name: `--max-bad 1%` is `max_bad="1%"`. Errors are those
of `audiopalm.errors`.
"""

import argparse
import contextlib
import io
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from audiopalm import experiment as experiments
from audiopalm import session
from audiopalm.cli import main, options
from audiopalm.errors import EXIT_DONE, AudiopalmError, ConfigError, Requeue
from audiopalm.experiment import Experiment
from audiopalm.inference.generate import Result
from audiopalm.settings import Machine

Config = str | os.PathLike | Experiment
Workdir = str | os.PathLike
Settings = Mapping[str, Any] | None
Trust = Sequence[str]
Hardware = Machine | str | None


def prepare(
  config: Config, workdir: Workdir, settings: Settings = None, *, trust: Trust = (), **more: Any
) -> None:
  """Makes the data of a config in WORKDIR, as `audiopalm prepare` does.

  It starts processes, so in a script call it, and `train`, under `if __name__ == "__main__":`.
  """
  _run("prepare", config, workdir, settings, trust, more)


def train(
  config: Config, workdir: Workdir, settings: Settings = None, *, trust: Trust = (), **more: Any
) -> None:
  """Trains a model to its last step in WORKDIR, or resumes it, as `audiopalm train` does.

  It prepares first where that is needed. Then `load` opens the run.
  """
  _run("train", config, workdir, settings, trust, more)


def evaluate(
  workdir: Workdir,
  *,
  machine: Hardware = None,
  step: int | None = None,
  trust: Trust = (),
  **more: Any,
) -> dict[str, Any]:
  """Returns the scores of a run, as `audiopalm evaluate` does; `more` is what `Session.evaluate`
  takes."""
  return session.load(workdir, machine, step, trust=trust).evaluate(**more)


def generate(
  workdir: Workdir,
  task: str,
  *,
  machine: Hardware = None,
  step: int | None = None,
  trust: Trust = (),
  **more: Any,
) -> list[Result]:
  """Returns what a run answers, as `audiopalm generate` does; `more` is what `Session.generate`
  takes. For more than one call `load` the run once."""
  return session.load(workdir, machine, step, trust=trust).generate(task, **more)


def export(workdir: Workdir, out: Workdir, *, step: int | None = None, trust: Trust = ()) -> str:
  """Writes a run as a folder for PyTorch, as `audiopalm export` does; returns the name of the class
  or file that runs it."""
  return session.load(workdir, step=step, trust=trust).export(out)


def _run(
  command: str,
  config: Config,
  workdir: Workdir,
  settings: Settings,
  trust: Trust,
  more: Mapping[str, Any],
) -> None:
  with _written(config, trust) as (file, packages):
    line = [command, file, f"--workdir={os.fspath(workdir)}"]
    line += [f"--set={path}={_text(value)}" for path, value in (settings or {}).items()]
    line += [f"--trust={package}" for package in packages]
    for name, value in more.items():
      flag = f"--{name.replace('_', '-')}"
      line.append(flag if value is True else f"{flag}={_text(value)}")
    args = _parsed(command, line)
    code = args.run(args)
  if code == EXIT_DONE:
    return
  if code == Requeue.exit_code:
    raise Requeue("The run was stopped and has saved. Call the same again: it goes on.")
  error = AudiopalmError(f"audiopalm {command} ended with {code}; what it said is above.")
  error.exit_code = code
  raise error


@contextlib.contextmanager
def _written(config: Config, trust: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
  """Yields (file or name, packages to trust) of a config; an Experiment is written as JSON, for the
  processes that are started."""
  if not isinstance(config, Experiment):
    yield os.fspath(config), trust
    return
  whole = experiments.trusting(config, trust)
  with tempfile.TemporaryDirectory(prefix="audiopalm-config-") as folder:
    path = Path(folder) / "config.json"
    path.write_text(whole.to_json(), encoding="utf-8")
    yield str(path), whole.trust


def _parsed(command: str, line: list[str]) -> argparse.Namespace:
  """Returns the options of a command line; ConfigError for unknown ones."""
  stderr = io.StringIO()
  try:
    with contextlib.redirect_stderr(stderr):
      args = options.parse(main.parser(command), line)
  except SystemExit:
    text = stderr.getvalue().rpartition("error: ")[2].strip()
    raise ConfigError(
      f"{command}() takes the options of `audiopalm {command}` by their names, without the dashes "
      f"in front and with _ for others, but: {text}."
    ) from None
  args.passed_on = []  # options of Beam's
  return args


def _text(value: Any) -> str:
  """Returns a value as the command line takes it: ("en", "fr") is "en,fr"."""
  if isinstance(value, bool):
    return str(value).lower()
  if isinstance(value, tuple | list):
    return ",".join(map(_text, value)) + ("," if len(value) == 1 else "")
  return str(value)
