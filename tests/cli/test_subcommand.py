"""A command run by another one: what a signal to stop does to it."""

import signal

import pytest

from audiopalm.cli import subcommand


class Process:
  """A command that ends with 75 once it was waited for again, as one that saves first."""

  def __init__(self, stopped_by):
    self.stopped_by, self.terminated, self.waits = stopped_by, False, 0

  def wait(self):
    self.waits += 1
    if self.waits == 1:
      raise self.stopped_by
    return 75

  def terminate(self):
    self.terminated = True


@pytest.mark.parametrize(
  ("stopped_by", "passed_on"),
  [(KeyboardInterrupt(), False), (SystemExit(128 + signal.SIGTERM), True)],
  ids=["Ctrl-C, which the terminal sends to both", "SIGTERM to the one that waits"],
)
def test_a_command_gets_one_signal_and_is_waited_for(monkeypatch, stopped_by, passed_on):
  process = Process(stopped_by)
  monkeypatch.setattr(subcommand.subprocess, "Popen", lambda *command, **options: process)
  with pytest.raises(type(stopped_by)):
    subcommand.run("train", "quickstart")
  assert (process.terminated, process.waits) == (passed_on, 2)
