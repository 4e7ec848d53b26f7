"""What is asked about every recording, and command lines of the user that answer. Needs no jax."""

import dataclasses
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from audiopalm import writing
from audiopalm.data.executors import Local
from audiopalm.errors import ConfigError, DataError

LIMIT_S = 600  # for one recording: a program that hangs would hold up all others
KEPT = 1_000  # characters of what a program said of its failure, the last ones


@dataclasses.dataclass(frozen=True)
class Printed:
  """What a program printed; `fault` says why it printed nothing that counts."""

  text: str
  fault: str | None = None


@dataclasses.dataclass(frozen=True)
class Program:
  """A command line in which {wav} and the like stand for what changes. No shell reads it.

  `option` is what gave it, for errors.
  """

  line: str
  option: str

  def check(self, needed: Sequence[str]) -> None:
    """Raises ConfigError for a line without one of the places `needed`, such as "{wav}", and for
    one that cannot be started."""
    words = self._words(needed)
    for place in needed:
      if place not in self.line:
        raise ConfigError(
          f"{self.option} needs {place} where the path of a recording is to stand, as in "
          f"'PROGRAM {' '.join(needed)}', but is {self.line!r}."
        )
    if shutil.which(words[0]) is None:
      raise ConfigError(
        f"{self.option} {self.line!r} cannot be started: {words[0]!r} is no program that can be "
        "run. Give its path, and look whether it is executable."
      )

  def run(self, places: Mapping[str, str]) -> Printed:
    """Returns what it prints for one recording, in one line."""
    words = self._words(tuple(places))
    for place, value in places.items():
      words = [word.replace(place, value) for word in words]
    try:
      done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_S, check=False
      )
      text = done.stdout.decode("utf-8")
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError) as error:
      return Printed("", f"{words[0]}: {error}")
    if done.returncode:
      said = done.stderr.decode("utf-8", "replace").strip()[-KEPT:]
      return Printed("", f"{words[0]} ended with code {done.returncode}: {said or 'no word'}")
    return Printed(writing.plain(text))

  def _words(self, needed: Sequence[str]) -> list[str]:
    try:
      words = shlex.split(self.line)
    except ValueError as error:
      raise ConfigError(
        f"{self.option} {self.line!r} cannot be read as a command line: {error}. Close its quotes."
      ) from error
    if not words:
      raise ConfigError(f"{self.option} is empty: give a program and {' '.join(needed)}.")
    return words


def of_each(
  ask: Callable[[Any], Any], recordings: Sequence[Any], executor: Local, done: str
) -> list[Any]:
  """Returns the answer to `ask` of each recording, by the workers of `executor`.

  DataError, with the first `fault`, where every answer has one; `done` is what was to be done.
  """
  found = list(executor.map(ask, recordings))
  faults = [one.fault for one in found if one.fault is not None]
  if found and len(faults) == len(found):
    raise DataError(f"Not one of {len(found)} recordings could be {done}. The first: {faults[0]}")
  return found
