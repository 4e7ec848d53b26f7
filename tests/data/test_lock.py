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
