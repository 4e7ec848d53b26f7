"""Every error a user can meet, and the exit code each ends a command with.

A message says what was expected, what came, and what to do. Raised at borders only (config, file,
layout, shapes at trace time); a bug of ours is an `assert`.
"""

EXIT_DONE = 0
EXIT_DOES_NOT_FIT = 1  # a plan, which was made and says so
EXIT_USER = 2  # the user's input
EXIT_WATCHDOG = 70  # a step hung
EXIT_BAD_STEPS = 71  # too many bad steps in a row
EXIT_HARDWARE = 72  # a step computed twice is not the same twice
EXIT_REQUEUE = 75  # saved, please requeue


class AudiopalmError(Exception):
  """Base of errors for the user: the command line prints the text and exits with `exit_code`."""

  exit_code = EXIT_USER


class ConfigError(AudiopalmError):
  """A config file, a `--set` path, a machine or an option that cannot be used."""


class DataError(AudiopalmError):
  """A corpus, a cache or a record that cannot be used, or a machine that cannot make one."""


class RecordError(DataError):
  """A fault of one record: `prepare` leaves the record out. Any other error ends `prepare`."""


class AudioError(RecordError):
  """A recording that is truncated, empty, silent, not finite or not audio."""


class LayoutError(AudiopalmError):
  """A layout that does not fit its streams, or a grid that does not fit its layout."""


class ManifestError(AudiopalmError):
  """Token ids, tokenizers or layouts that are not those a run or an export was made with."""


class CheckpointError(AudiopalmError):
  """A checkpoint that is missing, damaged or of another shape."""


class FullDevice(CheckpointError):
  """A checkpoint for which there is no room; those before it are as they were."""


class DamagedSave(CheckpointError):
  """A checkpoint that is not what was saved; those before it are as they were."""


class Requeue(AudiopalmError):
  """The run was asked to stop (SIGTERM): its state is saved, start it again."""

  exit_code = EXIT_REQUEUE


class BadSteps(AudiopalmError):
  """Too many steps in a row had gradients that are not finite."""

  exit_code = EXIT_BAD_STEPS


class HardwareFault(AudiopalmError):
  """A device that gives other bits for the same work."""

  exit_code = EXIT_HARDWARE
