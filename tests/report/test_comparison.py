import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from audiopalm.errors import ConfigError
from audiopalm.experiment import with_values
from audiopalm.parts import mixtures
from audiopalm.report import comparison, run


@pytest.fixture(scope="module")
def other(made_run, tmp_path_factory):
  """The same run with another rate, and better at ASR, worse at MT."""
  made = with_values(made_run.experiment(), {"optimizer.peak_lr": 2e-3})
  workdir = made_run.write(tmp_path_factory.mktemp("runs") / "other", made, sharper=2.0)
  path = workdir / "evaluation/results.json"
  scores = json.loads(path.read_text())
  scores["asr"]["wer"] /= 2
  scores["mt"]["bleu"] /= 2
  path.write_text(json.dumps(scores))
  return workdir


def page(*workdirs):
  text = comparison.page([run.read(workdir) for workdir in workdirs])
  body = text.split("</style></head>")[1].removesuffix("</html>\n")
  return ElementTree.fromstring(body)


def tables(found):
  return {box.get("aria-label"): box for box in found.iter("div") if box.get("role") == "region"}


def rows(table):
  """Returns {row: texts of its cells, the best with a star}."""
  made = {}
  for row in table.iter("tr"):
    texts = ["".join(cell.itertext()) for cell in row]
    stars = ["*" * (cell.get("class") == "best") for cell in row]
    made[texts[0]] = [star + text for star, text in zip(stars[1:], texts[1:], strict=True)]
  return made


def block(table, task):
  """Returns the rows of one task."""
  inside, made = False, []
  for row in table.iter("tr"):
    if row.get("class") == "part":
      inside = row[0].text == task
    elif inside:
      made.append(row)
  holder = ElementTree.Element("table")
  holder.extend(made)
  return rows(holder)


def test_what_differs_stands_first(workdir, other):
  found = page(workdir, other)
  assert [head.text for head in found.iter("h2")] == [
    "What differs", "The runs", "Scores", "Curves"
  ]  # fmt: skip
  assert rows(tables(found)["Settings that differ"]) == {
    "setting": ["whole", "other"], "optimizer.peak_lr": ["0.001", "0.002"],
  }  # fmt: skip


def test_the_best_is_marked_where_less_or_more_is_better(workdir, other):
  table = tables(page(workdir, other))["Scores of the runs"]
  asr = block(table, "asr")["WER % ↓"]
  assert (asr[0][0] != "*", asr[1][0]) == (True, "*")
  mt = block(table, "mt")["BLEU ↑"]
  assert (mt[0][0], mt[1][0] != "*") == ("*", True)


def test_equal_scores_have_no_best(workdir, other):
  table = tables(page(workdir, other))["Scores of the runs"]
  first, second = block(table, "tts")["WER % ↓"]
  assert first == second
  assert "*" not in first


def test_scores_of_other_examples_are_not_marked(workdir, other, tmp_path):
  copy = shutil.copytree(other, tmp_path / "copy")
  path = copy / "evaluation/outputs/model-test-asr.jsonl"
  path.write_text("\n".join(path.read_text().splitlines()[:3]) + "\n")
  found = page(workdir, copy)
  assert "*" not in "".join(block(tables(found)["Scores of the runs"], "asr")["WER % ↓"])
  assert "Not marked because the examples differ: asr." in "".join(found.itertext())


def test_losses_compare_only_where_tokens_are_the_same(workdir, other, tmp_path):
  copy = shutil.copytree(other, tmp_path / "copy")
  results = copy / "evaluation/results.json"
  scores = json.loads(results.read_text())
  scores["asr"]["nll"] /= 2
  results.write_text(json.dumps(scores))
  assert block(tables(page(workdir, copy))["All scores of the runs"], "asr")["nats ↓"][1][0] == "*"
  manifest = copy / "manifest.json"
  manifest.write_text(manifest.read_text().replace('"tones"', '"other tones"'))
  every = tables(page(workdir, copy))["All scores of the runs"]
  assert "*" not in "".join(block(every, "asr")["nats ↓"])
  assert block(every, "asr")["WER % ↓"][1][0] == "*"


def test_curves_run_over_the_tokens_trained_on(workdir, other):
  found = page(workdir, other)
  charts = {figure.find("figcaption").text: figure for figure in found.iter("figure")}
  assert list(charts)[:3] == ["Training loss, text", "Training loss, speech", "asr, held out, text"]
  held_out = charts["asr, held out, text"]
  assert [item[0].tail for item in held_out.iter("li")] == ["whole", "other"]
  points = [title.text for title in held_out.iter("title")]
  assert points[3] == "whole: 0.14 at 4,000"
  assert points[7] == "other: 0.068 at 4,000"


def test_runs_of_different_tasks_stand_side_by_side(made_run, workdir, tmp_path):
  made = made_run.experiment(mixtures.asr, mixtures.ast)
  found = page(workdir, made_run.write(tmp_path / "ast", made))
  differ = rows(tables(found)["Settings that differ"])
  assert differ["mixture.tasks.ast"] == ["–", "1.0"]
  assert differ["mixture.tasks.{tts, s2st, mt}"] == ["1.0", "–"]
  scores = tables(found)["Scores of the runs"]
  assert block(scores, "mt")["BLEU ↑"][1] == "–"
  assert block(scores, "ast")["BLEU ↑"][0] == "–"


def test_what_a_run_lacks_is_said_with_its_name(made_run, workdir, tmp_path):
  half = made_run.write(tmp_path / "half", steps=25, evaluated=False)
  text = "".join(page(workdir, half).itertext())
  assert "half: Training is at step 25 of 40." in text
  assert "half: Nothing has been scored yet: no table, no examples. Score it with" in text


def test_equal_configs_are_said_to_be_equal(workdir, made_run, tmp_path):
  found = page(workdir, made_run.write(tmp_path / "again"))
  assert "The configs are equal." in "".join(found.itertext())


def test_runs_are_called_by_what_tells_them_apart():
  assert comparison.names([Path("runs/a"), Path("runs/b")]) == ["a", "b"]
  assert comparison.names([Path("/x/run"), Path("/y/run")]) == ["x/run", "y/run"]


def test_a_run_that_is_named_twice_is_refused():
  with pytest.raises(ConfigError, match="runs/b/../a is named twice. Name each run once"):
    comparison.names([Path("runs/a"), Path("runs/b/../a")])
