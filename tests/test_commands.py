"""The functions of the front door do what the commands of the same names do."""

import dataclasses
import types

import pytest

import audiopalm
from audiopalm import experiment as experiments
from audiopalm import session
from audiopalm.cli import config, main, prepare, train
from audiopalm.errors import EXIT_DONE, AudiopalmError, ConfigError, Requeue


@pytest.fixture
def asked(monkeypatch):
  """Takes the place of what prepares: what it was asked for, call by call."""
  calls = []

  def take(experiment, workdir, streams_dir, workers, *, executor, max_bad):
    calls.append((experiment, workdir, streams_dir, workers, executor, max_bad))

  monkeypatch.setattr(prepare.prepare, "prepare", take)
  return calls


def test_prepare_does_what_its_command_does(asked, tmp_path):
  line = ["--set", "train_records=8", "--set", "optimizer.peak_lr=0.5", "--max-bad", "1%"]
  run = ["prepare", "quickstart", "--workdir", str(tmp_path)]
  assert main.main([*run, *line, "--workers", "2"]) == EXIT_DONE
  settings = {"train_records": 8, "optimizer.peak_lr": 0.5}
  audiopalm.prepare("quickstart", tmp_path, settings, max_bad="1%", workers=2)
  assert asked[0] == asked[1] and asked[0][0].corpora[0].train_records == 8
  assert experiments.of_run(tmp_path) == asked[0][0]


def test_an_experiment_is_a_config_too(asked, tmp_path):
  made = config.load("quickstart")
  audiopalm.prepare(made, tmp_path, {"steps": 7})
  assert asked[0][0] == dataclasses.replace(made, steps=7)


def test_settings_are_values_of_python(asked, tmp_path):
  settings = {
    "languages": ("en", "fr"),
    "evaluation.beams": 4,
    "optimizer.clip_norm": None,
    "model.tied": True,
    "data.too_long": "drop",
    "mixture.tasks.asr": 0.5,
  }
  audiopalm.prepare("synthetic", tmp_path, settings)
  made = asked[0][0]
  assert made.corpora[0].languages == ("en", "fr")
  assert (made.evaluation.beams, made.optimizer.clip_norm, made.model.tied) == (4, None, True)
  assert made.data.too_long == "drop" and dict(made.mixture.tasks)[made.tasks[0]] == 0.5


def test_what_cannot_be_used_is_an_error_and_ends_nothing(asked, tmp_path, capsys):
  for call in (audiopalm.prepare, audiopalm.train):
    with pytest.raises(ConfigError, match="There is no config 'quikstart'"):
      call("quikstart", tmp_path)
    with pytest.raises(ConfigError, match=r"unrecognized arguments: --max-bed=1%\."):
      call("quickstart", tmp_path, max_bed="1%")
  assert not asked and not capsys.readouterr().err


@pytest.mark.parametrize(("code", "kind"), [(75, Requeue), (2, AudiopalmError)])
def test_a_command_that_ends_otherwise_is_an_error_with_its_code(monkeypatch, tmp_path, code, kind):
  monkeypatch.setattr(train, "run", lambda args: code)
  with pytest.raises(kind) as error:
    audiopalm.train("quickstart", tmp_path)
  assert error.value.exit_code == code


def test_evaluate_generate_and_export_open_the_run_they_are_given(monkeypatch, tmp_path):
  opened = []

  def load(workdir, machine=None, step=None, products=None, trust=()):
    opened.append((workdir, machine, step, trust))
    return types.SimpleNamespace(
      evaluate=lambda **more: ("scores", more),
      generate=lambda task, **more: (task, more),
      export=lambda out: ("exported", out),
    )

  monkeypatch.setattr(session, "load", load)
  assert audiopalm.evaluate("run", step=3, tasks=["asr"]) == ("scores", {"tasks": ["asr"]})
  assert audiopalm.generate("run", "asr", audio="a.wav") == ("asr", {"audio": "a.wav"})
  assert audiopalm.export("run", tmp_path, trust=["mine"]) == ("exported", tmp_path)
  assert opened == [
    ("run", None, 3, ()), ("run", None, None, ()), ("run", None, None, ["mine"]),
  ]  # fmt: skip
