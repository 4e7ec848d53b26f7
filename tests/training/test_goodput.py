import json

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


def test_a_line_that_a_kill_cut_does_not_spoil_those_of_the_next_start(tmp_path):
  path = tmp_path / "goodput.jsonl"
  path.write_bytes(b'{"step": 1, "seconds": {}}\n{"step": 2, "sec')
  goodput.Goodput(path).close(3, lost_steps=0)
  assert [line["step"] for line in json_lines.read_grown(path)] == [1, 3]
