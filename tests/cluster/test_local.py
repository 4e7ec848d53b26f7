"""Several processes here, which are a few lines of Python in the place of training."""

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
# Says that it is there; ends as it was told, at once or when SIGTERM comes.
PROGRAM = """
import signal, sys, time
when, code = sys.argv[1], int(sys.argv[2])
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(code))
print("there", flush=True)
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
program, *told = sys.argv[1:]
pairs = zip(told[::2], told[1::2])
processes = [local.Process((sys.executable, "-c", program, *pair), {}) for pair in pairs]
sys.exit(local.run(processes, grace_s=1.0))
"""


def launched(*told):
  return subprocess.Popen(
    [sys.executable, "-c", LAUNCHER, PROGRAM, *map(str, told)],
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def ended(*told):
  launcher = launched(*told)
  said = launcher.communicate(timeout=60)
  return launcher.returncode, *said


def test_processes_print_with_their_number_where_they_would_print():
  code, out, error = ended("now", 0, "now", 0)
  assert code == 0
  assert sorted(out.splitlines()) == ["[0] there", "[1] there"]
  assert sorted(error.splitlines()) == ["[0] trouble", "[1] trouble"]


@pytest.mark.parametrize("code", [2, 70, 71, 75])
def test_the_first_that_fails_ends_the_others_and_gives_its_code(code):
  begun = time.monotonic()
  assert ended("never", 3, "now", code)[0] == code
  assert time.monotonic() - begun < 30


def test_one_that_ends_well_leaves_the_others_alone():
  launcher = launched("now", 0, "asked", 0)
  _wait_for("there", launcher, 2)
  time.sleep(0.5)
  assert launcher.poll() is None
  launcher.send_signal(signal.SIGTERM)
  launcher.communicate(timeout=60)
  assert launcher.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_goes_to_all_of_them(number):
  # Tests under nohup ignore SIGHUP, and so would what they start; a handler is not inherited.
  before = signal.signal(number, lambda *told: None)
  try:
    launcher = launched("asked", 75, "asked", 75)
  finally:
    signal.signal(number, before)
  _wait_for("there", launcher, 2)
  launcher.send_signal(number)
  launcher.communicate(timeout=60)
  assert launcher.returncode == 75


def test_processes_that_a_signal_ends_before_they_catch_it_may_be_started_again():
  program = PROGRAM.replace("signal.signal(signal.SIGTERM, lambda", "print(lambda")
  launcher = subprocess.Popen(
    [sys.executable, "-c", LAUNCHER, program, "asked", "0"],
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    stdout=subprocess.PIPE,
    text=True,
  )
  _wait_for("there", launcher)
  launcher.send_signal(signal.SIGTERM)
  launcher.communicate(timeout=60)
  assert launcher.returncode == 75


def test_a_process_that_is_killed_counts_as_in_a_shell():
  program = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
  process = local.Process((sys.executable, "-c", program), {})
  assert local.run([process]) == 128 + signal.SIGKILL


def test_what_a_killed_process_had_started_is_killed_too(tmp_path):
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


def test_signals_are_as_before_afterwards():
  before = signal.getsignal(signal.SIGTERM)
  local.run([local.Process((sys.executable, "-c", ""), {})])
  assert signal.getsignal(signal.SIGTERM) is before


def test_processes_are_told_how_they_meet_and_which_devices_are_theirs():
  place = places.Local(num_processes=2, devices_per_process=4)
  found = local.processes(("train", "c d"), place, 1234, {"XLA_FLAGS": "--a=1"})
  meeting = "--coordinator-address 127.0.0.1:1234 --num-processes 2 --process-id"
  flags = "'XLA_FLAGS=--a=1 --xla_force_host_platform_device_count=4'"
  assert list(map(str, found)) == [f"{flags} train 'c d' {meeting} {index}" for index in (0, 1)]


def test_gpus_are_handed_out_in_turn():
  place = places.Local(num_processes=2, gpus_per_process=2)
  for visible, expected in ((None, ["0,1", "2,3"]), ("3,5,6,7", ["3,5", "6,7"])):
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    found = local.processes(("train",), place, 1, environment)
    assert [each.environment["CUDA_VISIBLE_DEVICES"] for each in found] == expected


def test_too_few_gpus_are_told():
  place = places.Local(num_processes=2, gpus_per_process=2)
  with pytest.raises(ConfigError) as error:
    local.processes(("train",), place, 1, {"CUDA_VISIBLE_DEVICES": "0,1,2"})
  assert str(error.value) == ("2 processes of 2 GPUs need 4, but CUDA_VISIBLE_DEVICES=0,1,2 has 3.")


def test_a_free_port_can_be_listened_on():
  port = local.free_port()
  with socket.create_server(("127.0.0.1", port)) as server:
    assert server.getsockname()[1] == port


@pytest.mark.long
@pytest.mark.timeout(900)
def test_launched_training_that_is_asked_to_stop_saves_and_goes_on_with_the_same_curve(
  small, prepared, straight, tmp_path
):
  shutil.copytree(prepared / "run", tmp_path / "run")
  two = ("launch", "--on", "local", "--num-processes", 2, "--devices-per-process", 1, "--")
  launcher = small.start(prepared, *two, *small.train(tmp_path / "run"))
  while launcher.poll() is None and max(small.steps(tmp_path / "run"), default=0) < 60:
    time.sleep(0.1)
  launcher.send_signal(signal.SIGTERM)
  said = small.ended(launcher, 75)
  (stopped,) = set(re.findall(r"Requeue: Stopped by SIGTERM after step (\d+) of", said))
  assert [f"[{index}] Requeue" in said for index in (0, 1)] == [True, True]
  said = small.ended(small.start(prepared, *two, *small.train(tmp_path / "run")))
  assert f"[0] resuming after step {stopped}" in said
  assert small.curve(tmp_path / "run") == straight


def _wait_for(text, launcher, times=1):
  for _ in range(times):
    while text not in (line := launcher.stdout.readline()):
      assert line, "it ended before"


def _lives(number):
  try:
    state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
  except FileNotFoundError:
    return False
  return state != "Z"
