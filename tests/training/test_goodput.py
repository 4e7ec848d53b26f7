import json
import signal
import subprocess
import sys
import threading
import time

import pytest

from audiopalm.data import json_lines
from audiopalm.training import goodput


class Clock:
  now = 0.0

  def __call__(self):
    return self.now


def test_buckets_add_up_to_the_wall_clock_and_nested_time_counts_once(tmp_path):
  clock = Clock()
  spent = goodput.Goodput(tmp_path / "goodput.jsonl", every_s=100, clock=clock)
  clock.now = 2.0
  with spent.spend("step"):
    clock.now = 5.0
    with spent.spend("checkpoint"):
      clock.now = 6.0
    clock.now = 10.0
  clock.now = 11.0
  spent.close(3, lost_steps=1)
  assert spent.seconds["init"] == 3.0
  assert spent.seconds["step"] == 7.0
  assert spent.seconds["checkpoint"] == 1.0
  line = json.loads((tmp_path / "goodput.jsonl").read_text())
  assert sum(line["total"].values()) == 11.0
  assert (line["step"], line["lost_steps"]) == (3, 1)


def test_lines_hold_the_seconds_since_the_line_before(tmp_path):
  clock = Clock()
  spent = goodput.Goodput(tmp_path / "goodput.jsonl", every_s=10, clock=clock)
  for step in range(1, 4):
    with spent.spend("step"):
      clock.now += 6.0
    spent.note(step)
  lines = [json.loads(line) for line in (tmp_path / "goodput.jsonl").read_text().splitlines()]
  assert [(line["step"], line["seconds"]) for line in lines] == [(2, {"step": 12.0})]


def test_the_lines_of_a_start_have_one_id_and_those_of_the_next_another(tmp_path, monkeypatch):
  times = iter((10.0, 20.0, 30.0))
  monkeypatch.setattr(goodput.time, "time", lambda: next(times))
  first = goodput.Goodput(tmp_path / "goodput.jsonl", every_s=0)
  first.note(1)
  first.close(2, lost_steps=0)
  goodput.Goodput(tmp_path / "goodput.jsonl").close(2, lost_steps=0)
  lines = json_lines.read_grown(tmp_path / "goodput.jsonl")
  assert [(line["time"], line["start"]) for line in lines] == [(10, 10), (20, 10), (30, 30)]


def test_a_line_that_a_kill_cut_does_not_spoil_those_of_the_next_start(tmp_path):
  path = tmp_path / "goodput.jsonl"
  path.write_bytes(b'{"step": 1, "seconds": {}}\n{"step": 2, "sec')
  goodput.Goodput(path).close(3, lost_steps=0)
  assert [line["step"] for line in json_lines.read_grown(path)] == [1, 3]


def wait_for(condition, at_most_s=20.0):
  end_s = time.monotonic() + at_most_s
  while not condition():
    assert time.monotonic() < end_s, "nothing happened"
    time.sleep(0.01)


def stand_still(over):
  over.wait(30)


@pytest.fixture
def ended():
  return []


def test_a_step_that_hangs_shows_all_stacks_and_ends_with_70(tmp_path, capsys, ended):
  spent, over = goodput.Goodput(None), threading.Event()
  stuck = threading.Thread(target=stand_still, args=(over,))
  stuck.start()
  with (
    spent.spend("step"),
    goodput.watched(spent, tmp_path, 3, 0.2, end=ended.append),
  ):
    wait_for(lambda: ended)
  over.set()
  stuck.join()
  assert ended == [70]
  assert "in one step, where 0 s are allowed (--hang-s)" in capsys.readouterr().err
  assert "stand_still" in (tmp_path / "heartbeats" / "3.stacks.txt").read_text()


def test_what_may_take_long_and_a_run_that_goes_on_are_left_alone(tmp_path, ended):
  spent = goodput.Goodput(None)
  with goodput.watched(spent, tmp_path, 0, 0.4, end=ended.append):
    with spent.spend("compile"):
      time.sleep(1.0)
    for _ in range(10):
      with spent.spend("step"):
        time.sleep(0.1)
  assert ended == []


STOPPED = """
import sys
from pathlib import Path
from audiopalm.training import goodput
timer = goodput.Goodput(None)
with timer.spend("step"), goodput.watched(timer, Path(sys.argv[1]), 0, 2.0):
  print("a step begins", flush=True)
  sys.stdin.readline()
"""


def test_a_process_that_was_stopped_for_longer_goes_on(tmp_path):
  with subprocess.Popen(
    [sys.executable, "-c", STOPPED, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
  ) as run:
    run.stdout.readline()
    run.send_signal(signal.SIGSTOP)
    time.sleep(2.5)
    run.send_signal(signal.SIGCONT)
    # The heartbeat is written after the watch has looked at the time again.
    stopped_s = time.time()
    beat = tmp_path / "heartbeats" / "0.json"
    wait_for(lambda: beat.is_file() and json.loads(beat.read_text())["time"] >= stopped_s - 0.01)
    run.stdin.close()
  assert run.returncode == 0


def test_a_heartbeat_says_what_a_run_does(tmp_path, ended):
  spent = goodput.Goodput(None)
  path = tmp_path / "heartbeats" / "0.json"
  with spent.spend("evaluation"), goodput.watched(spent, tmp_path, 0, None, beat_s=0.05):
    wait_for(path.is_file)
  beat = json.loads(path.read_text())
  assert beat["doing"] == "evaluation" and beat["for_s"] >= 0
  assert abs(beat["time"] - time.time()) < 60
