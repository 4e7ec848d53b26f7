"""What is asked about every recording, and command lines of the user that answer. Needs no jax."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from audiopalm import orthography
from audiopalm.data import commands
from audiopalm.data.executors import Local
from audiopalm.errors import ConfigError, DataError


@dataclasses.dataclass(frozen=True)
class Printed:
  """What a program printed; `fault` says why it printed nothing that counts."""

  text: str
  fault: str | None = None


@dataclasses.dataclass(frozen=True)
class Program:
  """A command line in which {wav} and the like stand for what changes; `option` is what gave it."""

  line: str
  option: str

  def check(self, needed: Sequence[str]) -> None:
    """Raises ConfigError for a line without one of the places `needed`, such as "{wav}", and for
    one that cannot be started."""
    usage = " ".join(needed)
    self._command.words(usage)
    for place in needed:
      if place not in self.line:
        raise ConfigError(
          f"{self.option} needs {place} where the path of a recording is to stand, as in "
          f"'PROGRAM {usage}', but is {self.line!r}."
        )
    self._command.check(usage)

  def run(self, places: Mapping[str, str]) -> Printed:
    """Returns what it prints for one recording, in one line."""
    ended = self._command.run(places)
    try:
      text = ended.output.decode("utf-8")
    except UnicodeDecodeError as error:
      return Printed("", f"{self.line}: {error}")
    return Printed(orthography.plain(text), ended.fault)

  @property
  def _command(self) -> commands.CommandLine:
    return commands.CommandLine(self.line, self.option)


def of_each(
  ask: Callable[[Any], Any], recordings: Sequence[Any], executor: Local, done: str
) -> Iterator[Any]:
  """Yields the answer to `ask` of each recording, in order, as the workers of `executor` give it.

  DataError after the last, with the first `fault`, where every answer has one; `done` is what was
  to be done.
  """
  first, good = None, 0
  for answer in executor.map(ask, recordings):
    good += answer.fault is None
    first = first if first is not None else answer.fault
    yield answer
  if recordings and not good:
    raise DataError(f"Not one of {len(recordings)} recordings could be {done}. The first: {first}")
