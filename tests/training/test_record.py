import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm import errors
from audiopalm.batch import Counts
from audiopalm.training import goodput, metrics, record

COUNTS = Counts(np.array([1]), np.array([2]), np.array([30]), np.array([3, 4]), 77)


class Shown:
  def __init__(self):
    self.steps, self.said = [], []

  def update(self, number, values):
    self.steps.append(number)

  def say(self, text):
    self.said.append(text)


def found(streak=0):
  return {
    "losses": {"model": jnp.float32(2.5)},
    "sums": {"nll_text": (jnp.float32(6.0), jnp.float32(3.0)), "nll_speech": (0.0, 0.0)},
    "grad_norm": jnp.float32(1.0),
    "update_norm": jnp.float32(0.5),
    "skipped": jnp.int32(streak),
    "skipped_in_a_row": jnp.int32(streak),
  }


class Clock:
  """Moves when it is told to."""

  def __init__(self):
    self.now = 0.0

  def __call__(self):
    return self.now


@pytest.fixture
def clock():
  return Clock()


@pytest.fixture
def spent(tmp_path, clock):
  return goodput.Goodput(tmp_path / "goodput.jsonl", clock=clock)


@pytest.fixture
def recorder(tmp_path, spent):
  journal, seen = metrics.Journal(tmp_path, 0), record.Seen({"asr": 10})
  rates = lambda length: 1.0, lambda flops, seconds: flops / seconds, lambda step: 0.1 * (step + 1)  # noqa: E731
  return record.Recorder(journal, Shown(), spent, seen, *rates)


def test_a_step_is_written_when_the_next_one_has_begun(recorder, tmp_path):
  recorder.add(1, found(), lambda: COUNTS)
  assert list(metrics.read(tmp_path)) == []
  recorder.add(2, found(), lambda: COUNTS)
  assert [line["step"] for line in metrics.read(tmp_path)] == [1]
  recorder.flush()
  assert [line["step"] for line in metrics.read(tmp_path)] == [1, 2]


def test_values_are_means_and_leave_out_what_was_not_there(recorder, tmp_path):
  recorder.add(1, found(), lambda: COUNTS)
  recorder.flush()
  line = next(metrics.read(tmp_path))
  assert (line["loss"], line["nll_text"], line["lr"]) == (2.5, 2.0, 0.1)
  assert "nll_speech" not in line
  assert (line["tokens"], line["batch"]) == (30, 77)
  assert recorder.seen.by_task()["asr"] == {"rows": 1, "examples": 2, "tokens": 30, "epochs": 0.1}


def test_speed_counts_all_time_up_to_the_end_of_a_step_and_no_evaluation(
  recorder, spent, clock, tmp_path
):
  def wait(bucket, seconds):
    with spent.spend(bucket):
      clock.now += seconds

  with spent.spend("step"):
    recorder.add(1, found(), lambda: COUNTS)
    clock.now += 3.0
    recorder.flush()  # its value is there before the time around it is booked
  wait("evaluation", 100.0)
  wait("step", 1.0)
  recorder.add(2, found(), lambda: COUNTS)
  wait("step", 1.0)
  recorder.flush()
  lines = list(metrics.read(tmp_path))
  assert [line["tokens_per_s"] for line in lines] == [10.0, 15.0]
  assert [line["mfu"] for line in lines] == [7 / 3, 7 / 2]  # a FLOP for each position of COUNTS
  assert recorder.speed() == (12.0, 14 / 5)


def test_what_was_seen_goes_on_from_the_checkpoint():
  counts = Counts(*np.array([[1, 1], [1, 2], [3, 5]]), np.array([4, 3, 2]), 0)
  seen = record.Seen({"a": 4, "b": 8})
  seen.add(counts)
  again = record.Seen({"b": 8, "a": 4, "new": 1}, seen.by_task())
  assert again.by_task()["b"] == {"rows": 1, "examples": 2, "tokens": 5, "epochs": 0.125}
  assert again.by_task()["new"]["epochs"] == 0
  again.add(Counts(*np.array([[1, 0, 0]] * 3), np.array([2]), 0))
  assert again.by_task()["b"]["rows"] == 2


def test_streak_ends_the_run(recorder):
  recorder.add(1, found(), lambda: COUNTS)
  recorder.add(2, found(streak=19), lambda: COUNTS)
  recorder.add(3, found(streak=20), lambda: COUNTS)
  assert recorder.streak == 19 and recorder.any_finite
  with pytest.raises(errors.BadSteps, match="up to step 3"):
    recorder.flush()


def test_held_out_loss_is_written_and_said(recorder, tmp_path):
  recorder.write_held_out(5, {"asr": {"loss": 1.25}})
  line = next(metrics.read(tmp_path))
  assert line["held_out"] == {"asr": {"loss": 1.25}} and line["seen"]["asr"]["rows"] == 0
  assert recorder._display.said == ["step 5 | held-out loss: asr 1.250"]
