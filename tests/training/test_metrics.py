import json

import numpy as np

from audiopalm.training import metrics


def journal(workdir, *numbers, resumed_after=0):
  made = metrics.Journal(workdir, resumed_after)
  for number in numbers:
    made.write(number, {"loss": np.float32(0.1) * number})
  made.close()
  return made


def test_lines_hold_short_numbers_and_null_for_what_is_not_finite(tmp_path):
  made = metrics.Journal(tmp_path, 0)
  values = {"loss": np.float32("nan"), "lr": np.float32(0.1), "tokens": np.int64(7)}
  made.write(1, {**values, "mfu": "unknown", "held_out": {"asr": {"loss": 1.5}}})
  made.close()
  line = (tmp_path / "metrics.jsonl").read_text()
  assert json.loads(line) == {
    "step": 1, "loss": None, "lr": 0.1, "tokens": 7, "mfu": "unknown",
    "held_out": {"asr": {"loss": 1.5}},
  }  # fmt: skip
  assert "0.1," in line


def test_resume_cuts_the_steps_it_does_again(tmp_path):
  journal(tmp_path, 1, 2, 3, 4)
  again = journal(tmp_path, 3, resumed_after=2)
  assert [line["step"] for line in metrics.read(tmp_path)] == [1, 2, 3]
  assert (again.lost_steps, again.last_step) == (2, 3)


def test_held_out_losses_that_are_measured_again_are_cut(tmp_path):
  journal(tmp_path, 1, 2)
  made = metrics.Journal(tmp_path, 2)
  made.write(2, {"held_out": {"asr": {"loss": 1.5}}})
  made.close()
  metrics.Journal(tmp_path, 2).close()
  assert len(list(metrics.read(tmp_path))) == 3
  metrics.Journal(tmp_path, 2, measured=False).close()
  assert [line["step"] for line in metrics.read(tmp_path)] == [1, 2]


def test_line_cut_short_by_a_crash_is_left_out(tmp_path):
  journal(tmp_path, 1, 2)
  path = tmp_path / "metrics.jsonl"
  path.write_text(path.read_text() + '{"step": 3, "lo')
  assert [line["step"] for line in metrics.read(tmp_path)] == [1, 2]
  journal(tmp_path, 3, resumed_after=2)
  assert [line["step"] for line in metrics.read(tmp_path)] == [1, 2, 3]


def test_events_are_named_by_their_path(tmp_path, monkeypatch):
  events = []
  monkeypatch.setattr(
    metrics.SummaryWriter, "add_scalar", lambda self, *scalar: events.append(scalar)
  )
  made = metrics.Journal(tmp_path, 0)
  made.write(4, {"loss": 2.0, "mfu": "unknown", "held_out": {"asr": {"nll_text": 1.0}}})
  made.close()
  assert events == [("loss", 2.0, 4), ("held_out/asr/nll_text", 1.0, 4)]
