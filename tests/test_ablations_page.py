"""The page about ablations: its tables from made-up results."""

import dataclasses
import importlib.util
import json
from pathlib import Path

import pytest

from audiopalm.cli import config
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
  names = ("runs", "zero-shot", "comparisons", "tokenizers", "tokenizer-comparisons")
  for name in names:
    assert page.filled(written, {name: "a"}) != written


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
  plan = sweep.read(page.TOKENIZERS)
  for run, found in zip(plan.runs, page.finished(plan, page.RESULTS).values(), strict=True):
    assert [page.cut(one, run.config.name == page.UNITS) for one in found] == found


def test_the_plan_of_tokenizers_shares_the_text_models_and_no_other_result(page):
  plans = [sweep.read(path) for path in (page.PLAN, page.TOKENIZERS)]
  text, again = (plan.run("text") for plan in plans)
  assert again == text
  assert len(page.finished(plans[1], page.RESULTS)["text"]) == 3
  names = [{run.name for run in plan.runs} for plan in plans]
  assert names[0] & names[1] == {"text"}
  assert [run.name for run in plans[1].runs] == ["text", "encoder", "mfcc", "hubert", "whisper"]
  assert plans[1].run("hubert").dependencies == ("text", "encoder")
  assert {run for run, _ in (end for one in plans[1].compare for end in (one.source, one.to))} == {
    "mfcc", "hubert", "whisper",
  }  # fmt: skip


def test_units_and_their_encoder_hear_one_corpus_and_differ_as_the_plan_says(page, tmp_path):
  plan, text_run = sweep.read(page.TOKENIZERS), tmp_path / "text"
  (text_run / "tokenizers").mkdir(parents=True)
  (text_run / "config.json").write_text(config.load("ablations/text").to_json())
  fingerprints = json.dumps({"fingerprints": {"text": "0" * 64}})
  (text_run / "tokenizers" / "fit.json").write_text(fingerprints)
  experiments = {}
  for run in plan.runs[1:]:
    settings = [f"{path}={value}".replace("{text}", str(text_run)) for path, value in run.settings]
    experiments[run.name] = config.load(str(run.config), settings)
  assert len({found.corpora for found in experiments.values()}) == 1
  (corpus,) = experiments["mfcc"].corpora
  assert (corpus.voices, corpus.held_out_voices, corpus.takes.snr_db) == (12, 4, (5.0, 25.0))
  units = {name: experiments[name].tokenizers[-1] for name in ("mfcc", "hubert", "whisper")}
  assert {(one.size, one.rate_hz, one.collapse, one.fit_s) for one in units.values()} == {
    (256, 25.0, False, 1_200.0)
  }
  assert (units["hubert"].folder, units["hubert"].layer) == ("{encoder}", 3)
  assert (units["whisper"].layer, units["whisper"].window_s) == (None, 4.0)
  alike = [
    dataclasses.replace(experiments[name], tokenizers=experiments["mfcc"].tokenizers)
    for name in units
  ]
  assert alike[0] == alike[1] == alike[2]


def test_tokenizers_have_scores_on_known_and_new_voices(page, tmp_path):
  plan = sweep.read(page.TOKENIZERS)
  assert page.tokenizers(plan, tmp_path) == "No run has finished yet."
  score = {"bleu": 30.0, "wer": 0.25, "cer": 0.1}
  for seed in plan.seeds:
    new = {"asr": {"wer": 0.5 + seed / 100, "cer": 0.2}, "ast": {"bleu": 10.0 + seed}}
    contents = {
      "scores": {"at": {}, "asr": score, "ast": score, "held_out_voices": new, "baselines": {}},
      "seen": {"ast": {"tokens": 2e6}},
      "seconds": {"prepare": 120.0, "train": 240.0, "evaluate": 60.0},
      "curve": [[250, {"ast": {"nll_text": 1.5, "loss": 1.5}}]],
    }
    sweep.write_result(tmp_path, plan.run("hubert"), seed, contents)
  before = page.tokenizers(plan, tmp_path)
  cells = (
    "`hubert`", "3", "25.00 (25.00 to 25.00)", "51.00 (50.00 to 52.00)", "30.00 (30.00 to 30.00)",
    "11.00 (10.00 to 12.00)", "2", "4", "1",
  )  # fmt: skip
  assert before.splitlines()[2:] == [f"| {' | '.join(cells)} |"]
  page.cut_all(plan, tmp_path)
  assert page.tokenizers(plan, tmp_path) == before
  text = (tmp_path / "hubert-0.json").read_text()
  assert "cer" not in text and "baselines" not in text and "nll_text" in text
