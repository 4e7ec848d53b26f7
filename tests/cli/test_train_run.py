"""`audiopalm train` from its command line to its last step: on other hardware, in an object store.

One run of four steps in a folder, on one device, is what all others are held to.
"""

import json
import os
import shutil
import signal
import traceback
from pathlib import Path

import numpy as np
import pytest

import audiopalm
from audiopalm import runs
from audiopalm.cli import config as configs
from audiopalm.cli import main
from audiopalm.data import loader, prepare, store
from audiopalm.errors import EXIT_DONE, EXIT_REQUEUE, EXIT_USER

CONFIG = """
from audiopalm.data.corpora import SyntheticTranslations
from audiopalm.data.packed import Packed
from audiopalm.experiment import Experiment
from audiopalm.parts import mixtures, models, optim, tokenizers
from audiopalm.settings import Evaluation

def experiment():
  corpus = SyntheticTranslations(languages=("en", "fr"), topics=("weather",), train_records=64,
                                 validation_records=8, test_records=8)
  return Experiment(
    name="four steps",
    tokenizers=(tokenizers.text(size=512),),
    mixture=mixtures.blend((mixtures.mt(corpus), 1.0)),
    model=models.tiny(width=128, layers=1),
    optimizer=optim.adamw(peak_lr=1e-3, warmup_steps=2, decay="constant"),
    evaluation=Evaluation(
      every_steps=2, held_out_batch_rows=8, examples=2,
      decode_batch_rows=8, max_output_rows=8,
    ),  # fmt: skip
    data=Packed(row_length=64, batch_rows=8),
    steps=4,
    checkpoint_every_steps=2,
  )
"""
OTHER_STARTS = ("checkpoints", "metrics.jsonl", "goodput.jsonl", "events*", "heartbeats")
URL = "fake://bucket/runs/four"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
  path = tmp_path_factory.mktemp("config") / "four.py"
  path.write_text(CONFIG)
  return str(path)


def train(config, workdir, *options):
  """Returns the exit code; the products are named, as bfloat16 would round otherwise on a mesh."""
  return main.main(["train", config, "--workdir", str(workdir), "--products", "float32", *options])


@pytest.fixture(scope="module")
def straight(config, tmp_path_factory):
  """The workdir of the run on one device that nothing stopped."""
  workdir = tmp_path_factory.mktemp("straight") / "run"
  assert train(config, workdir) == EXIT_DONE
  return workdir


@pytest.fixture
def prepared(straight, tmp_path):
  """A workdir that holds what that run prepared, and no step."""
  ignore = shutil.ignore_patterns(*OTHER_STARTS)
  return shutil.copytree(straight, tmp_path / "run", ignore=ignore)


def losses(workdir):
  """Returns the losses of all steps and the held-out losses, in their order."""
  with open(workdir / "metrics.jsonl", encoding="utf-8") as file:
    lines = [json.loads(line) for line in file]
  return [line["loss"] if "loss" in line else line["held_out"]["mt"]["loss"] for line in lines]


@pytest.mark.parametrize(
  ("options", "said"),
  [
    pytest.param(
      ["--mesh", "data=2,fsdp=2,tensor=2"],
      "mesh data=2, fsdp=2, context=1, tensor=2",
      marks=pytest.mark.long,
    ),
    (
      ["--remat", "full", "--attention", "xla", "--micro-batch-tokens", "128"],
      "xla attention, remat full, 4 micro-batches per step",
    ),
  ],
)
def test_on_other_hardware_a_run_has_the_losses_it_has_on_one_device(
  config, straight, prepared, capsys, options, said
):
  assert train(config, prepared, *options) == EXIT_DONE
  assert said in capsys.readouterr().out
  np.testing.assert_allclose(losses(prepared), losses(straight), rtol=2e-5)


class Reached(Exception):
  """The model was asked for its hidden states."""


def test_eight_functions_lie_between_main_and_the_model(config, prepared, monkeypatch):
  experiment = configs.load(config)
  model = experiment.model.build(prepare.open_prepared(experiment, prepared).space)
  package = Path(audiopalm.__file__).parent
  between = []

  def hidden(self, *arguments, **options):
    frames = [
      frame for frame in traceback.extract_stack() if package in Path(frame.filename).parents
    ]
    first = max(n for n, frame in enumerate(frames) if frame.filename == main.__file__)
    assert frames[first].name == "main"
    between.extend(frame.name for frame in frames[first + 1 :])
    raise Reached

  monkeypatch.setattr(type(model), "hidden", hidden)
  with pytest.raises(Reached):
    train(config, prepared)
  assert between == [
    "run", "run", "_train", "_compiled", "train_step", "gradients", "sums", "losses",
  ]  # fmt: skip


def test_what_plan_wrote_trains_and_another_mesh_goes_on_from_it(
  config, straight, prepared, tmp_path, capsys
):
  plan = ["plan", config, "--topology", "cpu:8", "--mesh", "data=4,tensor=2", "--remat", "full"]
  found = tmp_path / "plan.json"
  assert main.main([*plan, "--json", str(found)]) == EXIT_DONE
  first = ["--machine", str(found), "--set", "steps=2"]
  assert train(config, prepared, *first) == EXIT_DONE
  said = capsys.readouterr().out
  assert "mesh data=4, fsdp=1, context=1, tensor=2" in said and "remat full" in said
  assert train(config, prepared, "--mesh", "fsdp=8") == EXIT_DONE
  said = capsys.readouterr().out
  assert "mesh data=1, fsdp=8, context=1, tensor=1" in said and "resuming after step 2" in said
  np.testing.assert_allclose(losses(prepared), losses(straight), rtol=2e-5)


@pytest.mark.long
def test_a_run_in_an_object_store_goes_on_elsewhere_to_the_same_bits_and_is_scored_there(
  config, straight, fake_store, tmp_path, monkeypatch, capsys
):
  batch_at = loader.Loader.batch_at
  stops = [1]

  def stopping(self, step):
    if step in stops:
      stops.remove(step)
      os.kill(os.getpid(), signal.SIGTERM)
    return batch_at(self, step)

  monkeypatch.setattr(loader.Loader, "batch_at", stopping)
  assert train(config, URL, "--scratch", str(tmp_path / "a")) == EXIT_REQUEUE
  shutil.rmtree(tmp_path / "a")  # and the machine is gone
  capsys.readouterr()
  assert train(config, URL, "--scratch", str(tmp_path / "b")) == EXIT_DONE
  assert "resuming after step" in capsys.readouterr().out
  (workdir,) = (tmp_path / "b").glob("*/workdir")
  assert losses(workdir) == losses(straight)
  sums = [runs.newest(folder)["sums"] for folder in (workdir, straight)]
  assert sums[0] == sums[1] and set(sums[0]) == {"params", "rest"}

  line = ["evaluate", "--workdir", URL, "--scratch", str(tmp_path / "c"), "--no-baselines"]
  assert main.main(line) == EXIT_DONE
  monkeypatch.setattr(store, "SCRATCH", tmp_path / "d")
  run = audiopalm.load(URL)
  assert run.step == 4 and run.workdir.is_relative_to(tmp_path / "d")
  assert json.loads((run.workdir / "evaluation" / "results.json").read_text())

  objects = fake_store.objects()
  held = {name.removeprefix("bucket/runs/four/"): data for name, data in objects.items()}
  for path in workdir.rglob("*"):
    name = path.relative_to(workdir).as_posix()
    if path.is_file() and not name.endswith(".lock"):
      assert held[name] == path.read_bytes(), name
  assert store.WRITER not in held


def test_what_cannot_be_done_in_an_object_store_is_refused(config, fake_store, tmp_path, capsys):
  scratch = ["--scratch", str(tmp_path / "a")]
  several = ["--coordinator-address", "auto"]
  assert train(config, URL, *scratch, *several) == EXIT_USER
  said = capsys.readouterr().err
  assert f"{URL} is an address in an object store, but a run of several processes needs" in said
  assert "mount the bucket (gcsfuse, mountpoint-s3)" in said
  line = ["prepare", config, "--workdir", URL, *scratch, "--streams", "/mnt/streams"]
  assert main.main(line) == EXIT_USER
  assert f"--streams /mnt/streams is outside of {URL}" in capsys.readouterr().err
  assert main.main(["report", "--workdir", URL, *scratch]) == EXIT_USER
  assert f"There is no run in {URL}" in capsys.readouterr().err
  with pytest.raises(SystemExit):
    main.main(["compare", URL, URL, "--out", "page.html"])
  assert f"{URL} is an address in an object store, but this option" in capsys.readouterr().err
  assert fake_store.objects() == {}
