"""Several local processes, with a few lines of Python in place of training."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audiopalm.cluster import local, places
from audiopalm.errors import ConfigError

ROOT = Path(__file__).parents[2]
# Prints a line, and exits with the given code: now, when SIGTERM arrives ("asked"), or never.
PROGRAM = """
import signal, sys, time
when, code = sys.argv[1], int(sys.argv[2])
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(code))
print("ready", flush=True)
print("trouble", file=sys.stderr, flush=True)
if when == "asked":
  time.sleep(60)
elif when == "never":
  signal.signal(signal.SIGTERM, signal.SIG_IGN)
  time.sleep(60)
sys.exit(code)
"""
LAUNCHER = """
import sys
from audiopalm.cluster import local
program, *words = sys.argv[1:]
pairs = zip(words[::2], words[1::2])
processes = [local.Process((sys.executable, "-c", program, *pair), {}) for pair in pairs]
sys.exit(local.run(processes, grace_s=1.0))
"""


def launched(*words):
  return subprocess.Popen(
    [sys.executable, "-c", LAUNCHER, PROGRAM, *map(str, words)],
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def ended(*words):
  launcher = launched(*words)
  outputs = launcher.communicate(timeout=60)
  return launcher.returncode, *outputs


def test_output_lines_have_the_index_of_their_process():
  code, out, error = ended("now", 0, "now", 0)
  assert code == 0
  assert sorted(out.splitlines()) == ["[0] ready", "[1] ready"]
  assert sorted(error.splitlines()) == ["[0] trouble", "[1] trouble"]


@pytest.mark.parametrize("code", [2, 70, 71, 75])
def test_the_first_failure_ends_the_others_and_sets_the_exit_code(code):
  begun = time.monotonic()
  assert ended("never", 3, "now", code)[0] == code
  assert time.monotonic() - begun < 30


def test_a_process_that_succeeds_leaves_the_others_running():
  launcher = launched("now", 0, "asked", 0)
  _wait_for("ready", launcher, 2)
  time.sleep(0.5)
  assert launcher.poll() is None
  launcher.send_signal(signal.SIGTERM)
  launcher.communicate(timeout=60)
  assert launcher.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_forwarded_to_all_processes(number):
  # Under nohup children inherit an ignored SIGHUP; they do not inherit a handler.
  before = signal.signal(number, lambda *arguments: None)
  try:
    launcher = launched("asked", 75, "asked", 75)
  finally:
    signal.signal(number, before)
  _wait_for("ready", launcher, 2)
  launcher.send_signal(number)
  launcher.communicate(timeout=60)
  assert launcher.returncode == 75


def test_processes_that_a_forwarded_signal_kills_ask_for_a_requeue():
  program = PROGRAM.replace("signal.signal(signal.SIGTERM, lambda", "print(lambda")
  launcher = subprocess.Popen(
    [sys.executable, "-c", LAUNCHER, program, "asked", "0"],
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    stdout=subprocess.PIPE,
    text=True,
  )
  _wait_for("ready", launcher)
  launcher.send_signal(signal.SIGTERM)
  launcher.communicate(timeout=60)
  assert launcher.returncode == 75


def test_a_killed_process_has_the_exit_code_of_a_shell():
  program = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
  process = local.Process((sys.executable, "-c", program), {})
  assert local.run([process]) == 128 + signal.SIGKILL


def test_children_of_a_killed_process_are_killed_too(tmp_path):
  child = "import subprocess, sys, time\n"
  child += "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
  child += f"open({str(tmp_path / 'child')!r}, 'w').write(str(p.pid))\n"
  child += "time.sleep(60)"
  failing = (
    "import os, sys, time\n"
    f"while not os.path.exists({str(tmp_path / 'child')!r}) or "
    f"not open({str(tmp_path / 'child')!r}).read(): time.sleep(0.05)\n"
    "sys.exit(71)"
  )
  commands = [(sys.executable, "-c", text) for text in (child, failing)]
  assert local.run([local.Process(command, {}) for command in commands], grace_s=0.2) == 71
  number = int((tmp_path / "child").read_text())
  deadline = time.monotonic() + 10
  while _lives(number):
    assert time.monotonic() < deadline
    time.sleep(0.05)


def test_signal_handlers_are_restored():
  before = signal.getsignal(signal.SIGTERM)
  local.run([local.Process((sys.executable, "-c", ""), {})])
  assert signal.getsignal(signal.SIGTERM) is before


def test_processes_have_their_coordinator_and_their_devices():
  place = places.LocalProcesses(num_processes=2, devices_per_process=4)
  processes = local.processes(("train", "c d"), place, 1234, {"XLA_FLAGS": "--a=1"})
  coordinator = "--coordinator-address 127.0.0.1:1234 --num-processes 2 --process-id"
  flags = "'XLA_FLAGS=--a=1 --xla_force_host_platform_device_count=4' NPROC=8"
  expected = [f"{flags} train 'c d' {coordinator} {index}" for index in (0, 1)]
  assert list(map(str, processes)) == expected


def test_gpus_are_assigned_in_order():
  place = places.LocalProcesses(num_processes=2, gpus_per_process=2)
  for visible, expected in ((None, ["0,1", "2,3"]), ("3,5,6,7", ["3,5", "6,7"])):
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    processes = local.processes(("train",), place, 1, environment)
    assert [each.environment["CUDA_VISIBLE_DEVICES"] for each in processes] == expected


def test_too_few_gpus_are_an_error():
  place = places.LocalProcesses(num_processes=2, gpus_per_process=2)
  with pytest.raises(ConfigError) as error:
    local.processes(("train",), place, 1, {"CUDA_VISIBLE_DEVICES": "0,1,2"})
  assert str(error.value) == ("2 processes of 2 GPUs need 4, but CUDA_VISIBLE_DEVICES=0,1,2 has 3.")


def test_a_free_port_can_be_listened_on():
  port = local.free_port()
  with socket.create_server(("127.0.0.1", port)) as server:
    assert server.getsockname()[1] == port


@pytest.mark.long
@pytest.mark.timeout(900)
def test_stopped_training_saves_and_resumes_with_the_same_curve(
  small, prepared, straight, tmp_path
):
  shutil.copytree(prepared / "run", tmp_path / "run")
  two = ("launch", "--on", "local", "--num-processes", 2, "--devices-per-process", 1, "--")
  launcher = small.start(prepared, *two, *small.train(tmp_path / "run"))
  while launcher.poll() is None and max(small.steps(tmp_path / "run"), default=0) < 60:
    time.sleep(0.1)
  launcher.send_signal(signal.SIGTERM)
  output = small.ended(launcher, 75)
  (stopped,) = set(re.findall(r"Requeue: Stopped by SIGTERM after step (\d+) of", output))
  assert [f"[{index}] Requeue" in output for index in (0, 1)] == [True, True]
  output = small.ended(small.start(prepared, *two, *small.train(tmp_path / "run")))
  assert f"[0] resuming after step {stopped}" in output
  assert small.curve(tmp_path / "run") == straight


def _wait_for(text, launcher, times=1):
  for _ in range(times):
    while text not in (line := launcher.stdout.readline()):
      assert line, "the process has ended"


def _lives(number):
  try:
    state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
  except FileNotFoundError:
    return False
  return state != "Z"
