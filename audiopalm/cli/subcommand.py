"""A command of audiopalm that another one runs, in a process of its own."""

import os
import subprocess
import sys


def run(*words: str, **environment: str) -> int:
  """Returns the exit code of `audiopalm WORDS`; a signal that stops this process stops it too."""
  command = [sys.executable, "-m", "audiopalm", *words]
  process = subprocess.Popen(command, env={**os.environ, **environment})
  try:
    return process.wait()
  except KeyboardInterrupt:  # Ctrl-C, which came to both
    process.wait()
    raise
  except BaseException:  # SIGTERM, which came to this process alone
    process.terminate()
    process.wait()
    raise
