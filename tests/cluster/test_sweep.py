import dataclasses

import pytest

from audiopalm.cluster import sweep
from audiopalm.errors import ConfigError, DataError

PLAN = """
seeds = [0, 1, 2]
[set]
steps = 5
[runs.scratch]
like = "base"
set = { warm = false }
[runs.base]
config = "speech.py"
set = { text_lm = "{text}", warm = true }
evaluate = ["asr", "ast"]
at = { 500 = ["mt"], 50 = ["mt", "asr"] }
[runs.text]
config = "text.py"
evaluate = ["mt"]
[compare.T6]
question = "Does a text model help?"
from = "scratch:ast.bleu"
to = "base:ast.bleu"
expect = "more"
"""


@pytest.fixture
def plan(tmp_path):
  for name in ("speech.py", "text.py"):
    (tmp_path / name).write_text(f"# {name}\n")
  (tmp_path / "plan.toml").write_text(PLAN)
  return sweep.read(tmp_path / "plan.toml")


def finished(plan, results, name, seed, bleu):
  run = plan.run(name)
  return sweep.write_result(results, run, seed, {"scores": {"ast": {"bleu": bleu}}})


def test_runs_come_after_their_dependencies(plan):
  assert [run.name for run in plan.runs] == ["text", "scratch", "base"]
  assert plan.run("base").dependencies == ("text",)


def test_a_run_is_like_another_except_for_its_own_settings(plan):
  base, scratch = plan.run("base"), plan.run("scratch")
  assert dict(base.settings) == {"steps": "5", "text_lm": "{text}", "warm": "true"}
  assert dict(scratch.settings) == {"steps": "5", "text_lm": "{text}", "warm": "false"}
  assert base.evaluate == scratch.evaluate == ("asr", "ast")
  assert base.at == ((50, ("mt", "asr")), (500, ("mt",)))


def test_a_result_is_valid_until_the_plan_changes(plan, tmp_path):
  base = plan.run("base")
  assert sweep.result(tmp_path, base, 0) is None
  path = finished(plan, tmp_path, "base", 0, 20.0)
  assert path.name == "base-0.json"
  assert sweep.result(tmp_path, base, 0)["scores"]["ast"]["bleu"] == 20.0
  other = dataclasses.replace(base, evaluate=("asr",))
  with pytest.raises(
    DataError, match="base-0.json belongs to another plan: its evaluate is .'asr', 'a"
  ):
    sweep.result(tmp_path, other, 0)
  digest = sweep.made_from(base, 0)["config"]
  base.config.write_text("# changed\n")
  renamed = dataclasses.replace(base, earlier=(digest,))
  assert sweep.result(tmp_path, renamed, 0)["scores"]["ast"]["bleu"] == 20.0
  with pytest.raises(DataError, match="its config is .*Restore the plan, or move the result away"):
    sweep.result(tmp_path, base, 0)


def test_a_difference_is_significant_beyond_two_standard_errors(plan, tmp_path):
  assert list(sweep.outcomes(plan, tmp_path)) == []
  for seed, (low, high) in enumerate([(10.0, 12.0), (11.0, 14.0), (9.0, 10.0)]):
    finished(plan, tmp_path, "scratch", seed, low)
    finished(plan, tmp_path, "base", seed, high)
    (outcome,) = sweep.outcomes(plan, tmp_path)
    assert len(outcome.to) == seed + 1
    if not seed:
      assert outcome.error is None and outcome.verdict == "one seed"
  assert outcome.difference == pytest.approx(2.0)
  assert outcome.error == pytest.approx(1 / 3**0.5)
  assert outcome.verdict == "as expected"
  less = dataclasses.replace(outcome.compare, expect="less")
  assert dataclasses.replace(outcome, compare=less).verdict == "opposite"
  unsure = dataclasses.replace(outcome, to=(12.0, 14.0, 7.0))
  assert unsure.verdict == "not significant"


def test_a_score_has_a_path_with_quotes_around_dotted_names():
  scores = {"asr_ast": {"outputs": {"target.text": {"bleu": 3}}}}
  assert sweep.score(scores, 'asr_ast.outputs."target.text".bleu') == 3.0
  with pytest.raises(DataError, match="no score 'asr_ast.wer': expected 'wer', found outputs"):
    sweep.score(scores, "asr_ast.wer")


@pytest.mark.parametrize(
  ("old", "new", "text"),
  [
    ("seeds = [0, 1, 2]", "seeds = [-1]", r"seeds=\[-1\] must be integers"),
    ("seeds =", "seed =", "the plan has unknown keys: seed. Known: compare, earlier"),
    ('like = "base"', 'like = "scratch"', "run 'scratch' is like 'scratch', which must be another"),
    ('like = "base"', "", "run 'scratch' has neither a config nor a run that it is like"),
    ('config = "text.py"', 'config = "t.py"', "the config of run 'text', .*t.py, does not exist"),
    ("evaluate = [\"mt\"]", "tasks = 1", "run 'text' has unknown keys: tasks"),
    ('"{text}"', '"{words}"', "depends on words, which must be other runs of the plan"),
    ('to = "base:ast.bleu"', 'to = "base"', "has to='base', expected RUN:SCORE"),
    ('expect = "more"', 'expect = "better"', "has expect='better', expected more or less"),
    ("[runs.text]", "[runs.text", "cannot be read as a plan of runs"),
  ],
)  # fmt: skip
def test_an_error_about_a_plan_names_the_fault(plan, tmp_path, old, new, text):
  assert old in PLAN
  (tmp_path / "plan.toml").write_text(PLAN.replace(old, new))
  with pytest.raises(ConfigError, match=text):
    sweep.read(tmp_path / "plan.toml")


def test_an_error_about_an_unknown_run_lists_the_known(plan):
  with pytest.raises(ConfigError, match="has no run 'large'. It has: text, scratch, base"):
    plan.run("large")
