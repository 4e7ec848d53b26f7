"""`audiopalm align`, with what opens a run and what it writes replaced."""

import pytest

from audiopalm import session
from audiopalm.cli import main
from audiopalm.errors import EXIT_DONE, EXIT_USER
from audiopalm.inference import alignment, timing
from audiopalm.inference.timing import TimingSummary


@pytest.fixture
def asked(monkeypatch):
  """What `timing.write` is asked for."""
  asked = []
  kinds = {"no such file": {"records": 2, "first": "m.jsonl:3 (a.wav): no such file."}}

  def write(aligner, manifest, reading, out, workers):
    asked.append((aligner, manifest, reading, out.name, workers))
    return TimingSummary(10, 8, 0.75, kinds)

  monkeypatch.setattr(session, "load", lambda *given: "run")
  monkeypatch.setattr(alignment, "aligner", lambda run: f"aligner of {run}")
  monkeypatch.setattr(timing, "write", write)
  return asked


def test_the_summary_says_what_was_aligned_and_why_the_rest_was_not(asked, tmp_path, capsys):
  (tmp_path / "m.jsonl").write_text("")
  line = ["align", str(tmp_path / "m.jsonl"), "--workdir", str(tmp_path), "--language", "en"]
  assert main.main([*line, "--out", str(tmp_path / "o.jsonl"), "--workers", "3"]) == EXIT_DONE
  ((aligner, manifest, reading, out, workers),) = asked
  assert (aligner, out, workers) == ("aligner of run", "o.jsonl", 3)
  assert manifest == (str(tmp_path / "m.jsonl"),) and reading.language == "en"
  printed = " ".join(capsys.readouterr().out.split())
  assert "8 of 10 lines were aligned, with a mean confidence of 0.750." in printed
  assert "2 m.jsonl:3 (a.wav): no such file." in printed


def test_the_manifest_is_not_written_over(asked, tmp_path, capsys):
  path = tmp_path / "m.jsonl"
  path.write_text("")
  line = ["align", str(path), "--workdir", str(tmp_path), "--out", str(path)]
  assert main.main(line) == EXIT_USER
  assert "would overwrite" in capsys.readouterr().err and not asked
