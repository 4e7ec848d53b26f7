"""What the workers of a Beam runner are given to do in tests, importable by name."""

import os
import signal

from audiopalm.errors import DataError


def square(number):
  """Returns the square, and what decides how many threads linear algebra has."""
  return number**2, os.environ.get("OMP_NUM_THREADS")


def refuse(number):
  raise DataError(f"Job {number}: expected another, got this one. Leave it out.")


def fail(number):
  raise ZeroDivisionError("made up")


def read(path):
  with open(path, "rb") as file:
    return file.read()


def die(number):
  os.kill(os.getpid(), signal.SIGKILL)
