import json
import threading
import time

import pytest

from audiopalm.training import goodput, watch


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
    watch.Watch(spent, tmp_path, 3, 0.2, end=ended.append),
  ):
    wait_for(lambda: ended)
  over.set()
  stuck.join()
  assert ended == [70]
  assert "in one step, where 0 s are allowed (--hang-s)" in capsys.readouterr().err
  assert "stand_still" in (tmp_path / "heartbeats" / "3.stacks.txt").read_text()


def test_what_may_take_long_and_a_run_that_goes_on_are_left_alone(tmp_path, ended):
  spent = goodput.Goodput(None)
  with watch.Watch(spent, tmp_path, 0, 0.4, end=ended.append):
    with spent.spend("compile"):
      time.sleep(1.0)
    for _ in range(10):
      with spent.spend("step"):
        time.sleep(0.1)
  assert ended == []


def test_a_heartbeat_says_what_a_run_does(tmp_path, ended):
  spent = goodput.Goodput(None)
  path = tmp_path / "heartbeats" / "0.json"
  with spent.spend("evaluation"), watch.Watch(spent, tmp_path, 0, None, beat_s=0.05):
    wait_for(path.is_file)
  beat = json.loads(path.read_text())
  assert beat["doing"] == "evaluation" and beat["for_s"] >= 0
  assert abs(beat["time"] - time.time()) < 60
