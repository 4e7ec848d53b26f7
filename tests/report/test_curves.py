import pytest

from audiopalm.report import curves, run


def test_every_modality_has_its_loss_and_every_task_its_line(workdir):
  found = list(curves.of_run(run.read(workdir)))
  titles = [chart.find("figcaption").text for chart in found]
  assert titles == [
    "Loss of text", "Loss of speech", "Right text tokens", "Right speech tokens", "Learning rate",
    "Speed", "Gradient norm",
  ]  # fmt: skip
  legend = [item[0].tail for item in found[0].iter("li")]
  assert legend == ["training, all tasks", "asr", "tts", "s2st", "mt"]


def test_a_run_that_has_not_begun_has_no_curves(made_run, tmp_path):
  found = run.read(made_run.write(tmp_path / "new", steps=0, evaluated=False))
  assert list(curves.of_run(found)) == []


def test_held_out_losses_are_taken_by_task(workdir):
  found = run.read(workdir)
  assert [step for step, _ in curves.measured(found, "asr", "nll_text")] == [10, 20, 30, 40]
  assert curves.measured(found, "asr", "nll_speech") == []
  assert curves.measurements(found)[:2] == [
    ("asr", "nll_text", "asr text"), ("tts", "nll_text", "tts text")
  ]  # fmt: skip


def test_a_value_that_was_not_finite_is_no_point(workdir):
  found = run.read(workdir)
  found.steps[0]["lr"] = None
  assert len(curves.trained(found, "lr")) == 39


def test_speed_is_tokens_over_time_and_not_a_mean_of_speeds():
  lines = [
    {"step": step, "tokens": 100, "tokens_per_s": 100.0 if step % 2 else 25.0}
    for step in range(1, 121)
  ]
  found = curves.speeds(lines)
  assert len(found) == curves.SPEED_POINTS
  assert found[0] == (2, pytest.approx(200 / 5))
