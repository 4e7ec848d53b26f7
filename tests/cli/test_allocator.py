import platform
import sys

import pytest

from audiopalm.cli import allocator

pytestmark = pytest.mark.skipif(
  platform.libc_ver()[0] != "glibc", reason="these settings are glibc's"
)


def executed(environment):
  calls = []
  allocator.settle(["train", "x"], environment, lambda *call: calls.append(call))
  return calls


def test_the_command_starts_again_with_the_settings(capsys):
  ((program, command, environment),) = executed({"HOME": "/somewhere"})
  assert program == sys.executable and command[1:] == ["-m", "audiopalm", "train", "x"]
  assert environment == {"HOME": "/somewhere", **allocator.SETTINGS}
  assert "MALLOC_ARENA_MAX=1" in capsys.readouterr().out


def test_a_setting_of_the_users_is_left_alone():
  assert executed({"MALLOC_ARENA_MAX": "8"}) == []
  assert executed(allocator.SETTINGS) == []
