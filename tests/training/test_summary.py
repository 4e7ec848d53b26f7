import io
from pathlib import Path

import rich.console

from audiopalm.training import summary


def test_summary_shows_losses_time_and_the_next_command():
  file = io.StringIO()
  summary.Summary(
    name="tiny", workdir=Path("runs/tiny"), step=9, parameters=12345,
    held_out={"asr": {"loss": 1.5, "nll_text": 1.25, "accuracy_text": 0.5}},
    seen={"asr": {"epochs": 3.5}}, seconds={"step": 60.0, "init": 2.0}, tokens_per_s=1000.0,
    mfu=0.5, skipped=2,
  ).show(rich.console.Console(file=file, width=120))  # fmt: skip
  text = file.getvalue()
  assert "tiny: held-out after step 9" in text
  for cell in ("asr", "1.500", "1.250", "0.500", "3.50"):
    assert cell in text
  assert "12,345 parameters, 1,000 tokens/s, MFU 50.0%, 2 steps skipped" in text
  assert "time 1 min 02 s: step 1 min 00 s, init 2.0 s" in text
  assert "next: audiopalm evaluate --workdir runs/tiny" in text
