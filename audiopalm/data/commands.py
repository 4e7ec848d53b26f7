"""Command lines of the user that are run for one recording or one text. Needs no jax."""

import dataclasses
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping

from audiopalm.errors import ConfigError

LIMIT_S = 600  # for one run: a program that hangs would hold up all others
KEPT = 1_000  # last characters of the error output of a program


@dataclasses.dataclass(frozen=True)
class Ended:
  """What a program printed; `fault` says why it printed nothing that counts."""

  output: bytes
  fault: str | None = None


@dataclasses.dataclass(frozen=True)
class CommandLine:
  """A command line with placeholders such as {wav}. It is not passed to a shell.

  `option` is what gave it, for errors.
  """

  line: str
  option: str

  def check(self, usage: str) -> None:
    """Raises ConfigError for a line that cannot be started. `usage` is what follows PROGRAM."""
    words = self.words(usage)
    if shutil.which(words[0]) is None:
      raise ConfigError(
        f"{self.option} {self.line!r} cannot be started: {words[0]!r} is no program that can be "
        "run. Give its path, and look whether it is executable."
      )

  def run(self, places: Mapping[str, str]) -> Ended:
    """Returns what the program prints, run with `places` in the place of their names."""
    words = self.words(" ".join(places))
    if places:  # all at once: a value may hold what looks like another place
      pattern = re.compile("|".join(map(re.escape, places)))
      words = [pattern.sub(lambda match: places[match[0]], word) for word in words]
    try:
      done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_S, check=False
      )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
      return Ended(b"", f"{words[0]}: {error}")
    if done.returncode:
      error_text = done.stderr.decode("utf-8", "replace").strip()[-KEPT:] or "no word"
      return Ended(b"", f"{words[0]} ended with code {done.returncode}: {error_text}")
    return Ended(done.stdout)

  def words(self, usage: str) -> list[str]:
    """Returns the words of the line; ConfigError for one that has none, or an open quote."""
    try:
      words = shlex.split(self.line)
    except ValueError as error:
      raise ConfigError(
        f"{self.option} {self.line!r} cannot be read as a command line: {error}. Close its quotes."
      ) from error
    if not words:
      raise ConfigError(f"{self.option} is empty: give a program and {usage}.")
    return words
