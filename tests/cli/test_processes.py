import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from audiopalm.cli import main, processes
from audiopalm.errors import EXIT_USER, ConfigError
from audiopalm.settings import Machine

ROOT = Path(__file__).parents[2]
JOIN = """
import argparse, sys
from audiopalm.cli import processes
parser = argparse.ArgumentParser()
processes.add_arguments(parser)
processes.join(parser.parse_args(sys.argv[1:]), meeting_s=2)
"""


@pytest.mark.parametrize(
  "given",
  [
    ["--num-processes", "2"],
    ["--coordinator-address", "host:1234"],
    ["--coordinator-address", "host:1234", "--num-processes", "2"],
    ["--coordinator-address", "host:1234", "--num-processes", "2", "--process-id", "2"],
    ["--coordinator-address", "host:1234", "--num-processes", "2", "--process-id", "-1"],
    ["--coordinator-address", "host", "--num-processes", "2", "--process-id", "0"],
    ["--coordinator-address", "host:99999", "--num-processes", "2", "--process-id", "0"],
    ["--coordinator-address", "auto", "--num-processes", "2"],
  ],
)
def test_options_that_do_not_fit_say_what_to_give(given, tmp_path, capsys):
  line = ["train", "quickstart", "--workdir", str(tmp_path / "run"), *given]
  assert main.main(line) == EXIT_USER
  said = capsys.readouterr().err
  assert "ConfigError: To train with several processes, start each with --coordinator" in said
  assert said.strip().endswith(f"; got {' '.join(given)}.")
  assert not (tmp_path / "run").exists()


def test_a_port_that_is_taken_is_one_error():
  with socket.create_server(("", 0)) as taken:
    address = f"localhost:{taken.getsockname()[1]}"
    with pytest.raises(ConfigError, match="cannot listen on port .* Give a free port of its host"):
      processes._check_port(address)


@pytest.mark.parametrize(
  ("index", "why"),
  [("0", "process 0 is running, but others are missing"), ("1", "process 0 does not answer")],
)
def test_a_meeting_that_nobody_else_comes_to_is_one_error(index, why):
  with socket.create_server(("", 0)) as free:
    port = free.getsockname()[1]
  address = f"127.0.0.1:{port}"
  given = ["--coordinator-address", address, "--num-processes", "3", "--process-id", index]
  alone = subprocess.run(
    [sys.executable, "-c", JOIN, *given],
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert alone.returncode == EXIT_USER
  assert alone.stderr.startswith(
    f"ConfigError: The 3 processes did not meet at {address} within 2 s: {why}"
  )
  assert len(alone.stderr.splitlines()) == 1


def test_processes_that_differ_are_refused(monkeypatch):
  here = {"config": "aa", "code": "audiopalm 1, code 12"}
  others = [here, here, {**here, "code": "audiopalm 1, code 34"}]
  monkeypatch.setattr(processes.together, "gathered", lambda mine: others)
  with pytest.raises(ConfigError) as error:
    processes.check_equal(here)
  assert (
    "the same code: audiopalm 1, code 12 on process 0, audiopalm 1, code 34 on process 2"
    in str(error.value)
  )
  others.pop()
  processes.check_equal(here)


def test_processes_that_multiply_in_several_types_are_refused(monkeypatch):
  def settle():
    return Machine(product_dtype="float32"), "why"

  monkeypatch.setattr(
    processes.together, "gathered", lambda mine: [["bfloat16", None], mine, ["bfloat16", None]]
  )
  with pytest.raises(ConfigError) as error:
    processes.agree(settle)
  assert str(error.value) == (
    "The processes use different dtypes for matrix products: bfloat16 on process 0, float32 on "
    "process 1. Start all of them with the same --products, such as --products float32, which "
    "every CPU supports."
  )


def test_what_one_process_lacks_is_said_on_all(monkeypatch):
  fault = [None, "this CPU lacks it"]
  monkeypatch.setattr(processes.together, "gathered", lambda mine: [mine, fault])
  with pytest.raises(ConfigError, match="^Process 1: this CPU lacks it$"):
    processes.agree(lambda: (Machine(), "why"))


def test_a_run_of_one_process_is_left_as_any_command_is():
  assert processes.leave(2) is None
