"""The page of the ablations: its tables from made-up results."""

import importlib.util
from pathlib import Path

import pytest

from audiopalm.cluster import sweep

PATH = Path(__file__).parents[1] / "docs" / "ablations.py"


@pytest.fixture(scope="module")
def page():
  spec = importlib.util.spec_from_file_location("ablations_page", PATH)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def finished(plan, results, name, seed, bleu):
  found = {
    "scores": {"ast": {"bleu": bleu}, "asr": {"wer": 0.5}},
    "seen": {"ast": {"tokens": 2e6}, "asr": {"tokens": 1e6}},
    "seconds": {"train": 600.0},
  }
  sweep.write_result(results, plan.run(name), seed, found)


def test_the_plan_of_the_repository_is_one(page):
  plan = sweep.read(page.PLAN)
  known = {run.name for run in plan.runs}
  assert {run for names, *_ in page.CURVES.values() for run in names} <= known
  assert len(plan.seeds) == 3 and len(plan.compare) == 13


def test_a_comparison_shows_both_scores_and_whether_it_counts(page, tmp_path):
  plan = sweep.read(page.PLAN)
  for seed in plan.seeds:
    finished(plan, tmp_path, "scratch", seed, 10.0 + seed)
    finished(plan, tmp_path, "base", seed, 20.0 + 2 * seed)
  (line,) = [line for line in page.comparisons(plan, tmp_path).splitlines() if "T6 |" in line]
  assert "11.00 (10.00 to 12.00) | 22.00 (20.00 to 24.00) | +11.00 ± 0.58 | **counts**" in line


def test_a_run_shows_its_settings_tokens_and_scores(page, tmp_path):
  plan = sweep.read(page.PLAN)
  finished(plan, tmp_path, "scratch", 0, 10.0)
  found = {run.name: [] for run in plan.runs}
  found["scratch"] = [sweep.result(tmp_path, plan.run("scratch"), 0)]
  (line,) = [line for line in page.runs(plan, found).splitlines() if "`scratch`" in line]
  assert "`init=scratch` | 1 | 3.0 | 10 | asr wer 50.00, ast bleu 10.00 |" in line


def test_only_what_stands_between_marks_is_replaced(page):
  text = "before\n<!-- runs -->\nold\n<!-- end -->\nafter\n"
  assert page.filled(text, {"runs": "new"}) == text.replace("old", "new")
  with pytest.raises(ValueError, match="has no place <!-- other -->"):
    page.filled(text, {"other": "new"})
  written = page.PAGE.read_text(encoding="utf-8")
  assert page.filled(written, {"runs": "a", "comparisons": "b"}) != written
