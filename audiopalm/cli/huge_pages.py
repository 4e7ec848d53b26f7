"""Huge pages for a command that trains.

On a CPU each step of XLA allocates its memory again, and page faults take part of the step's time
(docs/performance.md). glibc asks Linux for pages of 2 MiB instead of 4 KiB if an environment
variable is set when a process starts, so the command sets it and re-executes itself.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "GLIBC_TUNABLES"  # glibc 2.35 and later; ignored by earlier ones, and by other libraries
TUNABLE = "glibc.malloc.hugetlb"
ON = f"{TUNABLE}=1"
STARTED = "AUDIOPALM_HUGE_PAGES"  # the earlier GLIBC_TUNABLES, restored after the re-execution
ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def start() -> None:
  """Re-executes this command with huge pages if that helps; returns if it has them already, or if
  the user decides about them (GLIBC_TUNABLES=glibc.malloc.hugetlb=0)."""
  if STARTED in os.environ:
    earlier = os.environ.pop(STARTED)
    if earlier:
      os.environ[VARIABLE] = earlier
    else:
      os.environ.pop(VARIABLE, None)  # not for workers, which use little memory
    return
  environment = changed(os.environ, ENABLED)
  if environment is not None and sys.executable:  # empty if Python is embedded in a program
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def changed(environment: Mapping[str, str], enabled: Path) -> dict[str, str] | None:
  """Returns the environment for the re-execution, None if it is not needed or would not help.

  `enabled` is Linux's policy file. With "madvise" a program must ask for huge pages; with "always"
  it gets them anyway, with "never" not at all.
  """
  earlier = environment.get(VARIABLE, "")
  if (
    TUNABLE in earlier
    or not enabled.exists()
    or "[madvise]" not in enabled.read_text(encoding="utf-8")
  ):
    return None
  tunables = f"{earlier}:{ON}" if earlier else ON
  return {**environment, VARIABLE: tunables, STARTED: earlier}
