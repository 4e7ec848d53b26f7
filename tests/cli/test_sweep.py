import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from audiopalm.cli import sweep
from audiopalm.cli.main import main
from audiopalm.errors import AudiopalmError

PLAN = """
seeds = [0, 1]
[runs.speech]
config = "speech.py"
set = { text_lm = "{text}" }
evaluate = ["asr"]
at = { 2 = ["mt"] }
[runs.text]
config = "text.py"
evaluate = ["mt"]
[compare.T0]
question = "?"
from = "text:mt.bleu"
to = "speech:asr.wer"
expect = "more"
"""


@pytest.fixture
def called(tmp_path, monkeypatch):
  """Returns the commands that a sweep called, without running them."""
  lines = []

  def call(*line):
    lines.append(" ".join(line).replace(f"{tmp_path}/", ""))
    workdir = Path(line[line.index("--workdir") + 1])
    if line[0] == "train":
      (workdir / "checkpoints" / "4").mkdir(parents=True, exist_ok=True)
      (workdir / "config.json").write_text('{"steps": 4}')
    if line[0] == "evaluate":
      path = Path(line[line.index("--json") + 1])
      path.write_text(json.dumps({"asr": {"wer": 0.5}, "mt": {"bleu": 9.0}}))

  monkeypatch.setattr(sweep, "_call", call)
  contents = lambda job, scores, seconds: {"scores": scores, "seconds": seconds}  # noqa: E731
  monkeypatch.setattr(sweep, "_contents", contents)
  for name in ("speech.py", "text.py"):
    (tmp_path / name).write_text(f"# {name}\n")
  (tmp_path / "plan.toml").write_text(PLAN)
  return lines


def swept(tmp_path, *options):
  plan, workdir, results = (str(tmp_path / name) for name in ("plan.toml", "runs", "results"))
  return main(["sweep", plan, "--workdir", workdir, "--results", results, *options])


def test_packages_that_are_trusted_go_to_every_command(called, tmp_path):
  assert swept(tmp_path, "--trust", "my_parts") == 0
  assert {line.split()[0] for line in called} == {"prepare", "train", "evaluate"}
  assert all(" --trust=my_parts" in line for line in called)


def test_each_run_is_prepared_trained_and_evaluated_after_its_dependencies(called, tmp_path):
  (tmp_path / "plan.toml").write_text(PLAN.replace("[0, 1]", "[0]"))
  assert swept(tmp_path, "--set", "captions=here") == 0
  of_text = "text.py --workdir runs/text-0 --set=captions=here --set=seed=0"
  of_speech = (
    "speech.py --workdir runs/speech-0 --set=text_lm=runs/text-0 --set=captions=here --set=seed=0"
  )
  asked = "evaluate --workdir runs/{0} --tasks {1} --json runs/{0}/sweep_scores.json --no-baselines"
  assert called == [
    f"prepare {of_text} --streams runs/streams",
    f"train {of_text}",
    asked.format("text-0", "mt"),
    f"prepare {of_speech} --streams runs/streams",
    f"train {of_speech}",
    asked.format("speech-0", "mt") + " --step 2",
    asked.format("speech-0", "asr"),
  ]
  result = json.loads((tmp_path / "results" / "speech-0.json").read_text())
  assert result["scores"]["at"] == {"2": {"asr": {"wer": 0.5}, "mt": {"bleu": 9.0}}}
  assert str(tmp_path) not in json.dumps(result)


def test_finished_runs_are_not_repeated(called, tmp_path, capsys):
  swept(tmp_path)
  assert sum(line.startswith("train") for line in called) == 4
  del called[:]
  assert swept(tmp_path) == 0 and called == []
  shown = capsys.readouterr().out
  assert "2 of 2" in shown and "mt bleu 9" in shown and "T0: asr.wer" in shown


def test_a_dependency_is_trained_again_on_another_machine(called, tmp_path):
  swept(tmp_path)
  (tmp_path / "runs").rename(tmp_path / "elsewhere")
  (tmp_path / "results" / "speech-1.json").unlink()
  del called[:]
  swept(tmp_path)
  assert [line.split(" --")[0] for line in called] == [
    "prepare text.py", "train text.py",  # not evaluated again: its result exists
    "prepare speech.py", "train speech.py", "evaluate", "evaluate",
  ]  # fmt: skip


def test_a_failed_command_ends_the_sweep_with_its_exit_code(monkeypatch):
  monkeypatch.setattr(sweep.subcommand.sys, "executable", "false")
  with pytest.raises(
    AudiopalmError, match="audiopalm train failed with exit code 1; see its output"
  ):
    sweep._call("train")


TINY = """
import dataclasses
from audiopalm.data.corpora import SyntheticText
from audiopalm.data.packed import Packed
from audiopalm.experiment import Experiment
from audiopalm.parts import mixtures, models, tokenizers
from audiopalm.settings import Evaluation, WarmStart

def experiment(text_lm: str = "") -> Experiment:
  corpus = SyntheticText(
    languages=("en",), topics=("prices",), train_records=64, validation_records=8, test_records=8
  )
  first = Experiment(
    name="tiny",
    tokenizers=(tokenizers.text(size=320),),
    mixture=mixtures.blend((mixtures.text(corpus), 1.0)),
    model=models.tiny(width=64, layers=1),
    evaluation=Evaluation(every_steps=2, held_out_batch_rows=2, examples=4),
    data=Packed(row_length=64, batch_rows=2), steps=4, checkpoint_every_steps=2,
  )
  if not text_lm:
    return first
  text = tokenizers.pretrained(text_lm)
  return dataclasses.replace(first, tokenizers=(text,), warm_start=WarmStart(text_lm))
"""


@pytest.mark.long
def test_a_sweep_writes_small_results_and_continues_from_them(tmp_path):
  (tmp_path / "tiny.py").write_text(TINY)
  plan = PLAN.replace("speech.py", "tiny.py").replace("text.py", "tiny.py")
  plan = plan.replace('["asr"]', '["text"]').replace('["mt"]', '["text"]')
  plan = plan.replace("mt.bleu", "text.nll").replace("asr.wer", "text.nll")
  (tmp_path / "plan.toml").write_text(plan.replace('"more"', '"less"'))
  line = [sys.executable, "-m", "audiopalm", "sweep", "plan.toml", "--workdir", "runs"]
  line += ["--results", "results"]
  root = Path(__file__).resolve().parents[2]
  environment = {**os.environ, "PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"}

  def sweep_again():
    return subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)

  process = sweep_again()
  assert process.returncode == 0, process.stderr[-2000:]
  assert "T0: text.nll" in process.stdout
  result = json.loads((tmp_path / "results" / "speech-1.json").read_text())
  assert result["steps"] == 4 and result["seen"]["text"]["tokens"] > 0
  assert [step for step, _ in result["curve"]] == [2, 4]
  assert result["scores"]["at"]["2"]["text"]["nll"] > 0
  assert result["command"] == "audiopalm train tiny.py '--set=text_lm={text}' --set=seed=1"
  assert str(tmp_path) not in json.dumps(result)
  before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "results").iterdir()}
  assert len(before) == 4
  assert sweep_again().returncode == 0
  assert before == {p.name: p.stat().st_mtime_ns for p in (tmp_path / "results").iterdir()}
