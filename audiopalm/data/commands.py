"""The user's command lines, each run for one recording or text. Needs no jax."""

import dataclasses
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping

from audiopalm.errors import ConfigError

LIMIT_S = 600  # for one run, in case a program hangs
KEPT = 1_000  # last characters of a program's error output that errors quote


@dataclasses.dataclass(frozen=True)
class Ended:
  """The output of a program; `fault` is why it failed, None if it did not."""

  output: bytes
  fault: str | None = None


@dataclasses.dataclass(frozen=True)
class CommandLine:
  """A command line with placeholders such as {wav}. It is not passed to a shell.

  `option` names where it was set, for errors.
  """

  line: str
  option: str

  def check(self, usage: str) -> None:
    """Raises ConfigError for a line that cannot be started. `usage` names its arguments."""
    words = self.words(usage)
    if shutil.which(words[0]) is None:
      raise ConfigError(
        f"{self.option} {self.line!r} cannot be started: {words[0]!r} is not an executable "
        "program. Name its path, or make it executable."
      )

  def run(self, places: Mapping[str, str]) -> Ended:
    """Runs the program with placeholders replaced by their values in `places`."""
    words = self.words(" ".join(places))
    if places:  # in one pass: a value may look like another placeholder
      pattern = re.compile("|".join(map(re.escape, places)))
      words = [pattern.sub(lambda match: places[match[0]], word) for word in words]
    try:
      done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_S, check=False
      )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
      return Ended(b"", f"{words[0]}: {error}")
    if done.returncode:
      error_text = done.stderr.decode("utf-8", "replace").strip()[-KEPT:] or "no error output"
      return Ended(b"", f"{words[0]} ended with code {done.returncode}: {error_text}")
    return Ended(done.stdout)

  def words(self, usage: str) -> list[str]:
    """Returns the words of the line; raises ConfigError if it is empty or has an open quote."""
    try:
      words = shlex.split(self.line)
    except ValueError as error:
      raise ConfigError(
        f"{self.option} {self.line!r} cannot be read as a command line: {error}. Close its quotes."
      ) from error
    if not words:
      raise ConfigError(f"{self.option} is empty: name a program and {usage}.")
    return words
