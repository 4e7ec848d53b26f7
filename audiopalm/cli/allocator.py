"""Settings of glibc's allocator for training on a CPU; a process reads them as it starts."""

import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence

# XLA frees and asks again for the same large blocks in each step. By default glibc hands them back
# to the kernel, which then fills every page with zeros anew.
SETTINGS = {
  "MALLOC_MMAP_MAX_": "0",
  "MALLOC_TRIM_THRESHOLD_": "20000000000",
  "MALLOC_TOP_PAD_": "1000000000",
  "MALLOC_ARENA_MAX": "1",
}


def settle(
  arguments: Sequence[str],
  environment: Mapping[str, str] = os.environ,
  execute: Callable = os.execve,
  *,
  quiet: bool = False,
) -> None:
  """Starts this command again with the settings, in the same process, unless one of them is set.

  Whoever sets one chooses all: MALLOC_ARENA_MAX=8 audiopalm train ... keeps things as they are.
  Does nothing where the C library is not glibc.
  """
  if platform.libc_ver()[0] != "glibc" or SETTINGS.keys() & environment.keys():
    return
  shown = " ".join(f"{name}={value}" for name, value in SETTINGS.items())
  if not quiet:
    print(f"started again with {shown}: fewer page faults", flush=True)
  command = [sys.executable, "-m", "audiopalm", *arguments]
  execute(sys.executable, command, {**environment, **SETTINGS})
