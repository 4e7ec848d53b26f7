import errno
import os
import subprocess
import sys

import pytest

from audiopalm.data import lock
from audiopalm.errors import ConfigError

HOLD = """
import pathlib, signal, sys
from audiopalm.data import lock
with lock.held(pathlib.Path(sys.argv[1]), "train"):
  print("held", flush=True)
  signal.pause()
"""


def test_a_second_run_is_refused_by_name_until_the_first_is_gone_even_by_sigkill(tmp_path):
  command = [sys.executable, "-c", HOLD, str(tmp_path)]
  paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
  with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | paths) as first:
    try:
      assert first.stdout.readline() == b"held\n"
      with (
        pytest.raises(ConfigError, match=rf"process {first.pid} on .* runs audiopalm train"),
        lock.held(tmp_path, "train"),
      ):
        pass
      with lock.held(tmp_path, "prepare"):  # another command has a lock of its own
        pass
    finally:
      first.kill()
  with lock.held(tmp_path, "train"):
    assert f'"process": {os.getpid()}' in (tmp_path / "train.lock").read_text()


def test_only_who_is_alone_in_a_shared_folder_may_clean_it(tmp_path):
  called = []
  with lock.shared(tmp_path, lambda: called.append("first")):
    with lock.shared(tmp_path, lambda: called.append("second")):
      pass
    assert called == ["first"]
  with lock.shared(tmp_path, lambda: called.append("third")):
    assert called == ["first", "third"]


def test_a_filesystem_without_locks_is_named(tmp_path, monkeypatch):
  def refuse(file, how):
    raise OSError(errno.ENOLCK, "No locks available")

  monkeypatch.setattr(lock.fcntl, "flock", refuse)
  text = (
    r"train.lock cannot be locked \(No locks available\): expected a filesystem with file locks"
  )
  with pytest.raises(ConfigError, match=text), lock.held(tmp_path, "train"):
    pass
