import multiprocessing
import os
import signal

import pytest

from audiopalm.data import lock
from audiopalm.errors import ConfigError


def hold(workdir, ready):
  with lock.held(workdir, "train"):
    ready.send("held")
    signal.pause()


def test_a_second_run_is_refused_by_name_until_the_first_is_gone_even_by_sigkill(tmp_path):
  here, there = multiprocessing.Pipe()
  first = multiprocessing.get_context("fork").Process(target=hold, args=(tmp_path, there))
  first.start()
  assert here.recv() == "held"
  with (
    pytest.raises(ConfigError, match=rf"in use: process {first.pid} on .* runs audiopalm train"),
    lock.held(tmp_path, "train"),
  ):
    pass
  with lock.held(tmp_path, "prepare"):  # another command has a lock of its own
    pass
  os.kill(first.pid, signal.SIGKILL)
  first.join()
  with lock.held(tmp_path, "train"):
    assert f'"process": {os.getpid()}' in (tmp_path / "train.lock").read_text()
