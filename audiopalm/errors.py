"""The errors that users see, and the exit codes of commands that end with them.

A message says what was expected, what was found, and what to do. Errors are raised at borders only
(config, file, layout, shapes at trace time); our own bugs are `assert`s.
"""

EXIT_DONE = 0
EXIT_DOES_NOT_FIT = 1  # a plan that does not fit its hardware
EXIT_USER = 2  # invalid input
EXIT_WATCHDOG = 70  # a step hung
EXIT_BAD_STEPS = 71  # too many consecutive bad steps
EXIT_HARDWARE = 72  # a step recomputed with a different result
EXIT_REQUEUE = 75  # state saved; start the run again


class AudiopalmError(Exception):
  """Base class of user errors: the command line prints the text and exits with `exit_code`."""

  exit_code = EXIT_USER


class ConfigError(AudiopalmError):
  """An invalid config file, `--set` path, machine or option."""


class DataError(AudiopalmError):
  """A corpus, cache or record that cannot be used, or a machine that cannot read or make it."""


class RecordError(DataError):
  """A fault of one record, which `prepare` leaves out. Any other error ends `prepare`."""


class AudioError(RecordError):
  """A recording that is truncated, empty, silent, not finite or not audio."""


class LayoutError(AudiopalmError):
  """A layout that does not fit its streams, or a grid that does not fit its layout."""


class TokenSpaceError(AudiopalmError):
  """Token ids, tokenizers or layouts that differ from those of a run or an export."""


class CheckpointError(AudiopalmError):
  """A checkpoint that is missing, damaged or has other shapes."""


class FullDevice(CheckpointError):
  """A checkpoint that does not fit on the device; earlier ones are unchanged."""


class DamagedSave(CheckpointError):
  """A checkpoint that differs from what was saved; earlier ones are unchanged."""


class Requeue(AudiopalmError):
  """The run was asked to stop (SIGTERM) and saved its state: start it again."""

  exit_code = EXIT_REQUEUE


class BadSteps(AudiopalmError):
  """Too many consecutive steps had gradients that are not finite."""

  exit_code = EXIT_BAD_STEPS


class HardwareFault(AudiopalmError):
  """A device that computes different results for the same work."""

  exit_code = EXIT_HARDWARE
