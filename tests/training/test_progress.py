import io
from pathlib import Path

import rich.console

from audiopalm.training import progress

VALUES = {"loss": 3.0, "nll_text": 1.25, "nll_speech": 2.5, "skipped": 0, "tokens_per_s": 12345.6}


class Clock:
  now = 0.0

  def __call__(self):
    return self.now


def shown(clock, steps=100, terminal=False):
  file = io.StringIO()
  console = rich.console.Console(file=file, width=120, force_terminal=terminal)
  return progress.Progress(console, steps, clock), file


def test_plain_lines_come_every_ten_seconds_and_at_the_end():
  clock = Clock()
  bar, file = shown(clock, steps=30)
  with bar.from_step(0):
    for number in range(1, 31):
      clock.now += 1.0
      bar.update(number, {**VALUES, "mfu": "unknown"})
  lines = file.getvalue().splitlines()
  assert [line.split(" |")[0] for line in lines] == ["step 10/30", "step 20/30", "step 30/30"]
  assert lines[1] == "step 20/30 | loss text 1.250, speech 2.500 | 12,346 tokens/s | 10 s left"


def test_line_names_utilisation_and_skipped_steps_where_there_are_any():
  clock = Clock()
  bar, file = shown(clock, steps=2)
  with bar.from_step(0):
    bar.update(2, {**VALUES, "mfu": 0.4567, "skipped": 3})
  assert "MFU 45.7% | 3 steps skipped" in file.getvalue()


def test_time_left_is_measured_from_the_first_step_that_came_back():
  clock = Clock()
  bar, file = shown(clock, steps=104)
  with bar.from_step(100):
    clock.now = 500.0  # compiling
    bar.update(101, {**VALUES, "mfu": "unknown"})
    clock.now = 520.0
    bar.update(102, {**VALUES, "mfu": "unknown"})
  assert file.getvalue().splitlines()[1].endswith("40 s left")


def test_terminal_shows_one_live_line():
  clock = Clock()
  bar, file = shown(clock, terminal=True)
  with bar.from_step(0):
    bar.update(50, {**VALUES, "mfu": "unknown"})
    bar.say("held-out loss: asr 1.0")
  assert "step 50/100" in file.getvalue() and "held-out loss: asr 1.0" in file.getvalue()


def test_summary_shows_losses_time_and_the_next_command():
  bar, file = shown(Clock())
  progress.Summary(
    name="tiny", workdir=Path("runs/tiny"), step=9, parameters=12345,
    held_out={"asr": {"loss": 1.5, "nll_text": 1.25, "accuracy_text": 0.5}},
    seen={"asr": {"epochs": 3.5}}, seconds={"step": 60.0, "init": 2.0}, tokens_per_s=1000.0,
    mfu=0.5, skipped=2, trust=("mine",),
  ).show(bar)  # fmt: skip
  text = file.getvalue()
  assert "tiny: held-out after step 9" in text
  for cell in ("asr", "1.500", "1.250", "0.500", "3.50"):
    assert cell in text
  assert "12,345 parameters, 1,000 tokens/s, MFU 50.0%, 2 steps skipped" in text
  assert "time 1 min 02 s: step 1 min 00 s, init 2.0 s" in text
  assert "next: audiopalm evaluate --workdir runs/tiny --trust mine\n" in text
