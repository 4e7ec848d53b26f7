"""The page about ablations: its tables from made-up results."""

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
  contents = {
    "scores": {"ast": {"bleu": bleu}, "asr": {"wer": 0.5}},
    "seen": {"ast": {"tokens": 2e6}, "asr": {"tokens": 1e6}},
    "seconds": {"train": 600.0},
  }
  sweep.write_result(results, plan.run(name), seed, contents)


def test_the_plan_of_the_repository_is_valid(page):
  plan = sweep.read(page.PLAN)
  known = {run.name for run in plan.runs}
  assert {page.TEXT, *page.KEPT, *page.UNSEEN} <= known
  assert {run for names, *_ in page.CURVES.values() for run in names} <= known
  assert len(plan.seeds) == 3 and len(plan.compare) == 14


def test_a_comparison_shows_both_scores_and_its_verdict(page, tmp_path):
  plan = sweep.read(page.PLAN)
  for seed in plan.seeds:
    finished(plan, tmp_path, "scratch", seed, 10.0 + seed)
    finished(plan, tmp_path, "base", seed, 20.0 + 2 * seed)
  (line,) = [line for line in page.comparisons(plan, tmp_path).splitlines() if "T6 |" in line]
  scores = "11.00 (10.00 to 12.00) | 22.00 (20.00 to 24.00)"
  assert f"{scores} | +11.00 ± 0.58 | **as expected** |" in line


def test_a_run_shows_its_settings_tokens_and_scores(page, tmp_path):
  plan = sweep.read(page.PLAN)
  finished(plan, tmp_path, "scratch", 0, 10.0)
  results = {run.name: [] for run in plan.runs}
  results["scratch"] = [sweep.result(tmp_path, plan.run("scratch"), 0)]
  (line,) = [line for line in page.runs(plan, results).splitlines() if "`scratch`" in line]
  assert "`init=scratch` | 1 | 3.0 | 10 | asr wer 50.00, ast bleu 10.00 |" in line


def test_word_error_rates_are_in_percent(page, tmp_path):
  plan = sweep.read(page.PLAN)
  finished(plan, tmp_path, "scratch", 0, 10.0)
  finished(plan, tmp_path, "base", 0, 20.0)
  (line,) = [line for line in page.comparisons(plan, tmp_path).splitlines() if "T6_asr |" in line]
  assert "| 50.00 | 50.00 | +0.00 | one seed |" in line


def test_the_unseen_pair_has_an_interval_for_each_seed(page):
  def of(seed, bleu):
    unseen = {"bleu": bleu, "intervals": {"bleu": [bleu - 1, bleu + 2]}}
    return {"scores": {"ast": {"zero_shot": unseen}}, "made_from": {"seed": seed}}

  results = dict.fromkeys(page.UNSEEN, ())
  results |= {"base": [of(0, 9.0), of(2, 8.0)], "without_pair": [of(2, 2.0)]}
  assert page.zero_shot(results).splitlines() == [
    "| run | seed 0 | seed 2 |",
    "| --- | --- | --- |",
    "| `base` | 9.0 (8.0 to 11.0) | 8.0 (7.0 to 10.0) |",
    "| `without_pair` |  | 2.0 (1.0 to 4.0) |",
  ]


def test_retention_starts_with_the_text_model_and_ends_with_the_last_step(page, tmp_path):
  text = {
    "curve": [[400, {"text": {"nll_text": 2.0}}], [800, {"text": {"nll_text": 1.0}}]],
    "scores": {"mt": {"bleu": 90.0}},
    "made_from": {"seed": 0},
  }
  result = {
    "curve": [[250, {"text": {"nll_text": 1.5}}], [500, {"text": {"nll_text": 1.4}}]],
    "scores": {"mt": {"bleu": 1.0}, "at": {"250": {"mt": {"bleu": 4.0}}}},
    "steps": 500,
    "made_from": {"seed": 0},
  }
  nats, bleu = page.retention(text, result)
  assert nats == [(0, 1.0), (250, 1.5), (500, 1.4)]
  assert bleu == [(0, 90.0), (250, 4.0), (500, 1.0)]
  pytest.importorskip("matplotlib", reason="comes with audiopalm[docs]")
  results = dict.fromkeys(page.KEPT, [result]) | {page.TEXT: [text]}
  page.draw_retention(tmp_path / "retention.png", results)
  assert (tmp_path / "retention.png").stat().st_size > 1_000


def test_only_the_text_between_marks_is_replaced(page):
  text = "before\n<!-- runs -->\nold\n<!-- end -->\nafter\n"
  assert page.filled(text, {"runs": "new"}) == text.replace("old", "new")
  with pytest.raises(ValueError, match="has no place <!-- other -->"):
    page.filled(text, {"other": "new"})
  written = page.PAGE.read_text(encoding="utf-8")
  assert page.filled(written, dict.fromkeys(("runs", "zero-shot", "comparisons"), "a")) != written


def test_a_cut_result_gives_the_same_page(page, tmp_path):
  plan = sweep.read(page.PLAN)
  score = {"bleu": 20.0, "nll": 0.5, "intervals": {"bleu": [18.0, 22.0], "cer": [0.1, 0.2]}}
  more = {"languages": {"fr": score}, "cer": 0.2, "zero_shot": {**score, "pairs": {"de-fr": score}}}
  losses = {
    "ast": {"nll_text": 1.5, "nll_speech": 2.0},
    "asr": {"nll_text": 1.0},
    "text": {"nll_text": 0.9},
  }
  whole = {
    "scores": {
      "at": {"250": {"mt": {**score, **more}}},
      **dict.fromkeys(plan.run("base").evaluate, {**score, **more}),
      "suites": {},
    },
    "seen": {"ast": {"tokens": 2e6, "rows": 10}},
    "seconds": {"train": 600.0},
    "curve": [[250, losses], [500, losses]],
    "steps": 500,
  }
  path = sweep.write_result(tmp_path, plan.run("base"), 0, whole)
  shown = page.finished(plan, tmp_path)
  before = page.runs(plan, shown), page.zero_shot(shown)
  page.cut_all(plan, tmp_path)
  shown = page.finished(plan, tmp_path)
  assert (page.runs(plan, shown), page.zero_shot(shown)) == before
  (left,) = shown["base"]
  assert left["scores"]["at"] == {"250": {"mt": page._cut_scores({**score, **more})}}
  assert left["curve"][0] == [250, {"ast": {"nll_text": 1.5}, "text": {"nll_text": 0.9}}]
  assert "languages" not in path.read_text() and len(path.read_text().splitlines()) < 15
  assert page.cut(left) == left


def test_the_results_of_the_repository_hold_what_the_page_shows_and_no_more(page):
  plan = sweep.read(page.PLAN)
  results = page.finished(plan, page.RESULTS)
  assert all(len(found) == len(plan.seeds) for found in results.values())
  for found in results.values():
    assert [page.cut(one) for one in found] == found
