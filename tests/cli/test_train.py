import dataclasses
import types

import jax.numpy as jnp
import pytest

from audiopalm.cli import main, processes, subcommand, train
from audiopalm.data import lock
from audiopalm.errors import EXIT_USER
from audiopalm.parts import machines
from audiopalm.training import checkpoint, loop, writing

CPU = machines.TABLE["cpu"]
CONFIG = """

from audiopalm.data.corpora import Synthetic
from audiopalm.experiment import Experiment
from audiopalm.parts import mixtures, models, tokenizers

def experiment():
  corpus = Synthetic(languages=("en",))
  return Experiment(
    name="no way out",
    tokenizers=(tokenizers.text(), tokenizers.lyra("nowhere")),
    mixture=mixtures.blend((mixtures.tts(corpus, speech="codes"), 1.0)),
    model=models.tiny(),
  )
"""


@pytest.fixture
def line(tmp_path):
  (tmp_path / "config.py").write_text(CONFIG)
  return ["train", str(tmp_path / "config.py"), "--workdir", str(tmp_path / "run")]


def test_what_could_not_be_exported_is_refused_before_anything_is_prepared(line, tmp_path, capsys):
  assert main.main(line) == EXIT_USER
  said = capsys.readouterr().err
  assert "ConfigError: No PyTorch export exists for the tokenizer 'codes' (Lyra)" in said
  assert "export=None" in said
  assert not (tmp_path / "run").exists()


def test_an_optimizer_that_cannot_be_is_refused_before_anything_is_prepared(line, tmp_path, capsys):
  settings = ["--set", "export=none", "--set", "optimizer.peak_lr=nan"]
  assert main.main([*line, *settings]) == EXIT_USER
  assert "optimizer.peak_lr must be at least 0, not nan." in capsys.readouterr().err
  assert not (tmp_path / "run").exists()


def test_a_time_to_hang_below_0_is_refused(line, capsys):
  assert main.main([*line, "--hang-s", "-1"]) == EXIT_USER
  assert "--hang-s takes seconds, 0 for no limit, not -1." in capsys.readouterr().err
  assert main.main([*line, "--recheck-every", "-1"]) == EXIT_USER
  assert "--recheck-every takes steps, 0 for never, not -1." in capsys.readouterr().err


def test_a_second_run_in_a_workdir_is_refused(line, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(train, "_prepare", lambda *given: pytest.fail("it began"))
  with lock.held(tmp_path / "run", "train"):
    assert main.main([*line, "--set", "export=none"]) == EXIT_USER
  said = capsys.readouterr().err
  assert "run is in use: process" in said and "choose another --workdir" in said


def test_it_is_trained_where_the_experiment_says_that_it_stays(line, monkeypatch):
  monkeypatch.setattr(train, "_prepare", lambda args: 75)
  assert main.main([*line, "--set", "export=none"]) == 75


def cpu_with(flags, monkeypatch, tmp_path):
  cpuinfo = tmp_path / "cpuinfo"
  cpuinfo.write_text(f"flags : fpu {flags}\n")
  monkeypatch.setattr(machines, "CPUINFO", cpuinfo)


def begun(line, monkeypatch):
  """Returns the machine that `train` would train on, once it opened the prepared data once."""
  began, opened = [], []
  open_prepared = lambda *given: opened.append(given) or opened  # noqa: E731
  monkeypatch.setattr(train.prepare, "open_prepared", open_prepared)
  monkeypatch.setattr(
    loop, "run", lambda experiment, prepared, machine, *rest, **options: began.append(machine)
  )
  assert main.main([*line, "--set", "export=none"]) == 0
  assert len(opened) == 1
  return began[0]


def saved_with(products, workdir):
  meta = checkpoint.Meta(3, "{}", {}, {"step": 3, "seen": {}}, {}, products)
  with writing.Writer(workdir, keep=1) as writer:
    writer.save_model({"a": jnp.zeros(2)}, {}, meta)


@pytest.mark.parametrize("flags, products", [("avx512_bf16", "bfloat16"), ("avx2", "float32")])
def test_the_cpu_chooses_the_products_of_a_first_start(
  flags, products, line, tmp_path, monkeypatch, capsys
):
  cpu_with(flags, monkeypatch, tmp_path)
  machine = begun(line, monkeypatch)
  assert (machine.products, machine.compute_dtype) == (products, "float32")
  assert f"matrix products in {products}: this CPU has " in capsys.readouterr().out
  assert begun([*line, "--products", "float32"], monkeypatch).products == "float32"


def test_a_resumed_run_keeps_the_products_of_its_checkpoint(line, tmp_path, monkeypatch, capsys):
  cpu_with("avx512_bf16", monkeypatch, tmp_path)
  saved_with("float32", tmp_path / "run")
  assert begun(line, monkeypatch).products == "float32"
  assert "matrix products in float32: set by this run" in capsys.readouterr().out


def test_a_checkpoint_without_products_is_one_in_float32(line, tmp_path, monkeypatch):
  cpu_with("avx512_bf16", monkeypatch, tmp_path)
  saved_with(None, tmp_path / "run")
  assert begun(line, monkeypatch).products == "float32"


def test_a_machine_that_lacks_the_products_of_a_run_says_how_to_choose_others(
  line, tmp_path, monkeypatch, capsys
):
  cpu_with("avx2", monkeypatch, tmp_path)
  saved_with("bfloat16", tmp_path / "run")
  assert main.main([*line, "--set", "export=none"]) == EXIT_USER
  assert capsys.readouterr().err == (
    "ConfigError: Matrix products in bfloat16 are set by this run, but this CPU has none of the "
    "flags amx_bf16, avx512_bf16. Choose another dtype with --products float32, which changes the "
    "losses as rounding does, or another machine.\n"
  )
  assert begun([*line, "--products", "float32"], monkeypatch).products == "float32"


def test_options_change_the_machine_of_the_first_device(line, monkeypatch):
  options = ("--mesh", "data=2,fsdp=4", "--remat", "full", "--micro-batch-tokens", "none")
  machine = begun([*line, *options, "--products", "float32"], monkeypatch)
  changed = {"data": 2, "fsdp": 4, "remat": "full", "micro_batch_tokens": None}
  assert machine == dataclasses.replace(CPU, product_dtype="float32", **changed)


def test_a_run_goes_on_on_another_machine_of_a_file_in_its_own_products(
  line, tmp_path, monkeypatch
):
  cpu_with("avx512_bf16", monkeypatch, tmp_path)
  saved_with("float32", tmp_path / "run")
  wanted = dataclasses.replace(CPU, name="mine", fsdp=8, remat="dots")
  (tmp_path / "mine.json").write_text(machines.to_json(wanted))
  machine = begun([*line, "--machine", str(tmp_path / "mine.json")], monkeypatch)
  assert machine == dataclasses.replace(wanted, product_dtype="float32")


def test_a_wrong_option_of_the_machine_is_told_before_anything_is_done(line, tmp_path, capsys):
  for option in (("--mesh", "fdsp=2"), ("--machine", "mine.json")):
    assert main.main([*line, "--set", "export=none", *option]) == EXIT_USER
  said = capsys.readouterr().err
  assert "--mesh takes sizes of data, fsdp" in said and "There is no file mine.json" in said
  assert not (tmp_path / "run").exists()


def test_prepare_is_told_of_the_machine_that_will_train(line, monkeypatch):
  commands = []
  ended = types.SimpleNamespace(wait=lambda: 75)
  monkeypatch.setattr(train.prepare, "open_if_ready", lambda experiment, workdir: None)
  start = lambda line, env: commands.append(line) or ended  # noqa: E731
  monkeypatch.setattr(subcommand.subprocess, "Popen", start)
  options = ["--machine", "cpu8", "--mesh", "data=8", "--remat", "full"]
  assert main.main([*line, "--set", "export=none", *options]) == 75
  (command,) = commands
  assert command[command.index("--machine") :][: len(options)] == options


def test_processes_on_several_machines_are_refused(line, monkeypatch, capsys):
  other = {"machine": "Machine(name='cpu8', fsdp=4, tensor=2)"}
  monkeypatch.setattr(processes.together, "gathered", lambda mine: [mine, {**mine, **other}])
  assert main.main([*line, "--set", "export=none", "--mesh", "fsdp=8"]) == EXIT_USER
  assert (
    "The processes do not run the same machine: Machine(fsdp=8, micro_batch_tokens=1024) on "
    "process 0, Machine(name='cpu8', fsdp=4, tensor=2) on process 1. Start all of them with the "
    "same config, --set, --machine and installation."
  ) in capsys.readouterr().err
