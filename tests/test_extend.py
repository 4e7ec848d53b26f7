"""The package in docs/extend.md, outside of the tree: trained, resumed, evaluated, exported."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import audiopalm
from audiopalm import experiment as experiments
from audiopalm import runs
from audiopalm.cli import main
from audiopalm.data import files
from audiopalm.errors import EXIT_DONE, EXIT_USER, ConfigError
from audiopalm.training import metrics

ROOT = Path(__file__).parents[1]
TRUST = ("--trust", "my_parts")
KINDS = ("loudness", "tag_last", "deep", "penalized", "beeps", "tones")


def write_page(folder: Path) -> Path:
  """Returns the config of the page, after writing its files into a folder."""
  text = (ROOT / "docs" / "extend.md").read_text()
  for name, code in re.findall(r"```python\n# (\S+)\n(.*?)```", text, re.DOTALL):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code)
  (folder / "my_parts" / "__init__.py").touch()
  return folder / "mine.py"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
  """The config on the page, whose package can be imported here and by processes started here."""
  path = write_page(tmp_path_factory.mktemp("outside"))
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(path.parent))
    yield path


@pytest.fixture(scope="module")
def trained(config, tmp_path_factory):
  """A workdir after three steps, and one that was prepared as it was but not trained."""
  workdir = tmp_path_factory.mktemp("mine") / "run"
  audiopalm.prepare(config, workdir, trust=["my_parts"], workers=1)
  prepared = workdir.with_name("prepared")
  shutil.copytree(workdir, prepared)
  assert main.main(["train", str(config), "--workdir", str(workdir), *TRUST]) == EXIT_DONE
  return workdir, prepared


def values(workdir: Path, *names: str) -> list[list[float]]:
  """Returns these metrics of every step of a run."""
  lines = (line for line in metrics.read(workdir) if "loss" in line)
  return [[line[name] for name in names] for line in lines]


def test_the_page_has_an_example_of_each_kind(config):
  assert sorted(path.stem for path in config.parent.glob("my_parts/*.py")) == sorted(
    ["__init__", *KINDS]
  )
  code = "".join(path.read_text() for path in config.parent.glob("my_parts/*.py"))
  classes = re.findall(r"^class \w+(.*):$", code, re.MULTILINE)
  assert len(classes) == 9 and set(classes) == {""}  # no subclass of ours


def test_three_steps_are_trained_and_a_run_that_stopped_goes_on_to_the_bit(config, trained):
  workdir, stopped = trained
  assert runs.steps(workdir)[-1] == 3
  audiopalm.train(config, stopped, {"steps": 2}, trust=["my_parts"])
  assert runs.steps(stopped)[-1] == 2
  audiopalm.train(config, stopped, trust=["my_parts"])
  one, two = (audiopalm.load(each, trust=["my_parts"]) for each in (workdir, stopped))
  assert one.step == two.step == 3
  jax.tree.map(np.testing.assert_array_equal, one.params, two.params)
  logged = [values(each, "loss", "squares") for each in (workdir, stopped)]
  assert logged[0] == logged[1] and len(logged[0]) == 3


def test_the_package_is_recorded_and_every_command_asks_for_it(trained, tmp_path, capsys):
  workdir = trained[0]
  assert json.loads((workdir / "config.json").read_text())["trust"] == ["my_parts"]
  run = ["--workdir", str(workdir)]
  for line in (
    ["evaluate", *run],
    ["generate", *run, "--task", "tts", "--text", "one", "--out", str(tmp_path / "o.wav")],
    ["export", *run, "--out", str(tmp_path / "out")],
    ["report", *run],
    ["compare", str(workdir), str(trained[1]), "--out", str(tmp_path / "page.html")],
    ["inspect", "batch", *run, "--step", "1"],
    ["prepare", str(workdir / "config.json"), "--workdir", str(tmp_path / "again")],
  ):
    assert main.main(line) == EXIT_USER, line
    assert "add --trust my_parts (in Python: trust=('my_parts',))" in capsys.readouterr().err
  with pytest.raises(ConfigError, match="uses code of my_parts, outside of audiopalm"):
    audiopalm.load(workdir)


def test_a_run_is_evaluated_reported_exported_and_imported(trained, tmp_path, capsys):
  workdir = trained[0]
  run = ["--workdir", str(workdir), *TRUST]
  assert main.main(["evaluate", *run, "--no-baselines", "--report"]) == EXIT_DONE
  scores = files.read_json(workdir / "evaluation" / "results.json")
  assert {"asr", "tts"} <= set(scores)
  assert (workdir / "report.html").is_file()
  out, again = tmp_path / "exported", tmp_path / "again"
  assert main.main(["export", *run, "--out", str(out)]) == EXIT_DONE
  assert (out / "tokenizers" / "units" / "loudness.py").is_file()
  assert (out / "tokenizer.json").is_file() and (out / "model.safetensors").is_file()
  line = ["import", "--from", str(out), "--workdir", str(again)]
  assert main.main(line) == EXIT_USER
  assert "add --trust my_parts" in capsys.readouterr().err
  assert main.main([*line, *TRUST]) == EXIT_DONE
  one, two = (audiopalm.load(each, trust=["my_parts"]) for each in (workdir, again))
  jax.tree.map(np.testing.assert_array_equal, one.params, two.params)
  wave_S = np.sin(np.arange(8_000) / 5).astype(np.float32)
  assert one.generate("asr", audio=[wave_S])[0].text == two.generate("asr", audio=[wave_S])[0].text


def test_the_experiment_itself_is_a_config(config, trained):
  made = experiments.of_run(trained[0], ["my_parts"])
  assert made.trust == ("my_parts",)
  audiopalm.train(made, trained[0])  # its last step is reached: nothing is left to do
  with pytest.raises(ConfigError, match="takes the options of `audiopalm train` by their names"):
    audiopalm.train(made, trained[0], hang_secs=3)
  with pytest.raises(ConfigError, match="There is no setting 'lr'. Near: optimizer.peak_lr"):
    audiopalm.train(config, trained[0], {"lr": 1}, trust=["my_parts"])


@pytest.mark.long
def test_the_installed_wheel_takes_the_package_too(tmp_path):
  """Built, installed into a folder, and run from elsewhere: no file of the tree is on the path."""
  for name in ("setuptools", "wheel"):
    pytest.importorskip(name, reason="builds the wheel")
  source, target = tmp_path / "source", tmp_path / "installed"
  for name in ("audiopalm", "configs", "data_pipelines", "launch"):
    shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
  for name in ("setup.py", "pyproject.toml", "README.md"):
    shutil.copy(ROOT / name, source)
  pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
  options = ["--no-deps", "--no-build-isolation"]
  subprocess.run([*pip, "wheel", *options, "-w", tmp_path, source], check=True)
  (wheel,) = tmp_path.glob("audiopalm-*.whl")
  subprocess.run([*pip, "install", "--no-deps", "--target", target, wheel], check=True)
  outside = tmp_path / "outside"
  config = write_page(outside)
  paths = {"PYTHONPATH": os.pathsep.join(map(str, (target, outside)))}

  def call(*line):
    command = [sys.executable, "-m", "audiopalm", *map(str, line)]
    subprocess.run(command, check=True, cwd=tmp_path, env={**os.environ, **paths})

  where = subprocess.run(
    [sys.executable, "-c", "import audiopalm; print(audiopalm.__file__)"],
    cwd=tmp_path, env={**os.environ, **paths}, capture_output=True, text=True, check=True,
  )  # fmt: skip
  assert Path(where.stdout.strip()).is_relative_to(target)
  whole, stopped = ("--workdir", tmp_path / "whole"), ("--workdir", tmp_path / "stopped")
  call("train", config, *whole, *TRUST)
  call("train", config, *stopped, *TRUST, "--set", "steps=2")
  call("train", config, *stopped, *TRUST)
  logged = [values(workdir, "loss", "squares") for _, workdir in (whole, stopped)]
  assert logged[0] == logged[1] and len(logged[0]) == 3
  call("evaluate", *whole, *TRUST, "--no-baselines")
  call("export", *whole, *TRUST, "--out", tmp_path / "out")
