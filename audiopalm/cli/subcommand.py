"""Runs an audiopalm command in a subprocess."""

import os
import subprocess
import sys


def run(*words: str, **environment: str) -> int:
  """Runs `audiopalm WORDS` and returns its exit code; a signal to this process also stops it."""
  command = [sys.executable, "-m", "audiopalm", *words]
  process = subprocess.Popen(command, env={**os.environ, **environment})
  try:
    return process.wait()
  except KeyboardInterrupt:  # Ctrl-C, which reaches both processes
    process.wait()
    raise
  except BaseException:  # SIGTERM, which reaches this process only
    process.terminate()
    process.wait()
    raise
