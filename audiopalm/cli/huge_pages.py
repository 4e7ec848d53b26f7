"""Huge pages for a command that trains.

On a CPU each step of XLA allocates its memory anew, and page faults take a part of it
(docs/performance.md). glibc asks Linux for pages of 2 MiB in place of 4 KiB if a variable says so
as a process starts, so the command starts itself once more, in the same process.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "GLIBC_TUNABLES"  # glibc 2.35 and later; ignored by earlier ones, and by other libraries
TUNABLE = "glibc.malloc.hugetlb"
ON = f"{TUNABLE}=1"
STARTED = "AUDIOPALM_HUGE_PAGES"  # what GLIBC_TUNABLES was before, for the processes started later
ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def start() -> None:
  """Starts this command again with huge pages, where they help; returns where it has them, or has
  been told what to do by the user (GLIBC_TUNABLES=glibc.malloc.hugetlb=0)."""
  if STARTED in os.environ:
    before = os.environ.pop(STARTED)
    if before:
      os.environ[VARIABLE] = before
    else:
      os.environ.pop(VARIABLE, None)  # not for workers: what they use is small
    return
  environment = changed(os.environ, ENABLED)
  if environment is not None and sys.executable:  # none where Python is embedded in a program
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def changed(environment: Mapping[str, str], enabled: Path) -> dict[str, str] | None:
  """Returns the environment to start again with; None where nothing would change.

  `enabled` is Linux's file of the policy. A program must ask for huge pages where it is "madvise";
  "always" needs nothing, and "never" gives none.
  """
  before = environment.get(VARIABLE, "")
  if (
    TUNABLE in before
    or not enabled.exists()
    or "[madvise]" not in enabled.read_text(encoding="utf-8")
  ):
    return None
  tunables = f"{before}:{ON}" if before else ON
  return {**environment, VARIABLE: tunables, STARTED: before}
