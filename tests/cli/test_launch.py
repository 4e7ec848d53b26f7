"""`audiopalm launch`: what is read, refused, shown and submitted; what is made: tests/cluster."""

import argparse
import dataclasses
import sys

import pytest

from audiopalm import experiment
from audiopalm.cli import config, hardware, main, train
from audiopalm.errors import EXIT_USER
from audiopalm.parts import machines
from audiopalm.settings import Machine

TPU_VM = ["--accelerator", "v6e-16", "--runtime", "r", "--zone", "z", "--project", "p"]
TPU_VM += ["--bucket", "gs://b", "--package", "audiopalm[data,tpu]"]
SLURM = ["--on", "slurm", "--nodes", "2"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
  """The folder that commands run in; no command of a cluster is installed."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("PATH", str(tmp_path / "bin"))
  return tmp_path


def tail(*more, workdir="run"):
  return ["--", "train", "quickstart", "--workdir", workdir, *more]


def command(folder, name, text):
  """Puts a command on the PATH."""
  path = folder / "bin" / name
  path.parent.mkdir(exist_ok=True)
  path.write_text(f"#!{sys.executable}\n{text}")
  path.chmod(0o755)


@pytest.mark.parametrize(
  ("place", "workdir", "shown"),
  [
    (SLURM, "run", "#SBATCH --nodes=2"),
    (["--on", "tpu_vm", *TPU_VM], "/storage/a", "--accelerator-type v6e-16 --runtime-version r"),
  ],
)
def test_a_dry_run_shows_the_files_and_the_command_and_does_nothing(
  here, capsys, place, workdir, shown
):
  assert main.main(["launch", *place, "--dry-run", *tail(workdir=workdir)]) == 0
  said = capsys.readouterr().out
  assert shown in said
  assert (
    f"{here}/{'run' if workdir == 'run' else 'runs/quickstart'}/launch/config.json:\n{{" in said
  )
  assert said.splitlines()[-1].split()[0] in ("sbatch", "bash")
  assert list(here.iterdir()) == []


def test_a_dry_run_on_this_machine_shows_the_commands(here, capsys):
  given = ["--on", "local", "--num-processes", "2", "--gpus-per-process", "1", "--dry-run"]
  assert main.main(["launch", *given, *tail("--set", "steps=3")]) == 0
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == 2
  for index, line in enumerate(lines):
    assert line.startswith(
      f"CUDA_VISIBLE_DEVICES={index} {sys.executable} -m audiopalm train quick"
    )
    assert "--set steps=3 --coordinator-address 127.0.0.1:" in line
    assert line.endswith(f"--num-processes 2 --process-id {index}")
  assert list(here.iterdir()) == []


def test_a_job_is_written_and_submitted(here, capfd):
  command(here, "sbatch", "import sys; print('got', sys.argv[1:], flush=True); sys.exit(3)")
  own = ("--machine", "gpu", "--remat", "full", "--products", "bfloat16", "--set", "steps=7")
  line = ["launch", *SLURM, *tail(*own, "--hang-s", "60")]
  assert main.main(line) == 3
  script = here / "run" / "launch" / "train.sbatch"
  said = capfd.readouterr().out.splitlines()
  assert [line.split()[1] for line in said[:3]] == ["code", "config", "mesh"]  # preflight
  assert said[-2:] == [f"sbatch {script}", f"got ['{script}']"]
  text = script.read_text()
  told = f"--workdir {here}/run --machine gpu --remat full --products bfloat16 --hang-s 60.0"
  assert f"train=({sys.executable} -m audiopalm train {here}/run/launch/config.json {told} " in text
  assert f"#SBATCH --chdir={here}\n" in text
  assert (here / "run" / "logs").is_dir()
  made = experiment.from_json((script.parent / "config.json").read_text())
  assert made == config.load("quickstart", ["steps=7"])


def test_packages_that_are_trusted_go_with_the_job(here, capsys):
  own = tail("--trust", "xml", "--trust", "json.tool")
  assert main.main(["launch", *SLURM, "--dry-run", *own]) == 0
  said = capsys.readouterr().out
  assert f"--workdir {here}/run --trust=xml --trust=json.tool " in said
  assert '"trust": [\n  "xml",\n  "json.tool"\n ]' in said


def test_a_machine_of_a_file_is_in_the_job_as_it_was_read(here, capfd):
  command(here, "sbatch", "")
  wanted = Machine(name="mine", fsdp=2, remat="dots")
  (here / "mine.json").write_text(machines.to_json(wanted))
  given = ("--machine", "mine.json", "--remat", "full", "--hang-s", "60")
  assert main.main(["launch", *SLURM, *tail(*given)]) == 0
  folder = here / "run" / "launch"
  assert machines.named(str(folder / "machine.json")) == dataclasses.replace(wanted, remat="full")
  told = f"{here}/run --hang-s 60.0 --recheck-every 0 --machine {folder}/machine.json)"
  assert told in (folder / "train.sbatch").read_text()
  again = ["launch", *SLURM, *tail("--machine", str(folder / "machine.json"), "--remat", "none")]
  assert main.main(again) == EXIT_USER
  assert f"--out {folder}/machine.json would overwrite" in capfd.readouterr().err


def test_what_preflight_finds_wrong_is_not_submitted(here, capfd):
  command(here, "sbatch", "")
  assert main.main(["launch", *SLURM, *tail("--machine", "cpu")]) == EXIT_USER
  said = capfd.readouterr().out
  assert "wrong mesh       Machine 'cpu' asks for a mesh data=1" in said
  assert main.main(["launch", *SLURM, *tail("--mesh", "data=3")]) == EXIT_USER
  assert "wrong mesh       Machine 'cpu' asks for a mesh data=3" in capfd.readouterr().out
  assert not (here / "run").exists()


def test_files_are_written_where_out_says(here):
  command(here, "kubectl", "")
  given = ["--on", "gke", "--nodes", "1", "--accelerator", "nvidia-h100-80gb", "--image", "i"]
  given += ["--gpus-per-node", "8", "--claim", "c", "--out", "here", "--name", "mine"]
  assert main.main(["launch", *given, *tail(workdir="/storage/a")]) == 0
  assert [path.name for path in (here / "here").iterdir()] == ["gke.yaml"]
  assert "  name: mine\n" in (here / "here" / "gke.yaml").read_text()


def test_a_command_that_is_not_installed_is_told_and_nothing_is_written(here, capsys):
  assert main.main(["launch", *SLURM, *tail()]) == EXIT_USER
  said = capsys.readouterr().err
  assert "ConfigError: There is no command 'sbatch' here, which submits the job." in said
  assert "see by --dry-run what it would be given" in said
  assert list(here.iterdir()) == []


@pytest.mark.parametrize(
  ("given", "text"),
  [
    (["--on", "local", *tail()], "--on local needs --num-processes too."),
    (["--on", "slurm", *tail()], "--on slurm needs --nodes too."),
    (["--on", "tpu_vm", "--zone", "z", *tail()], "--on tpu_vm needs --accelerator, --runtime, --"),
    ([*SLURM, "--zone", "z", *tail()], "--zone means something on tpu_vm, but nothing on slurm."),
    (["--on", "slurm", "--nodes", "0", *tail()], "--nodes takes a whole number of at least 1, not"),
    ([*SLURM], "starts `audiopalm train`. Give its command line at the end, as in -- train CONFIG"),
    ([*SLURM, "--", "evaluate", "--workdir", "run"], "not 'evaluate --workdir run'."),
    (
      [*SLURM, *tail("--coordinator-address", "auto")],
      "leave out --coordinator-address, --num-processes and --process-id",
    ),
    ([*SLURM, *tail("--hang-s", "-1")], "--hang-s takes seconds, 0 for any time, not -1."),
    ([*SLURM, *tail("--machine", "cpus")], "Unknown machine 'cpus'. Did you mean 'cpu'?"),
    ([*SLURM, *tail("--set", "stesp=3")], "There is no setting 'stesp'"),
    ([*SLURM, "--name", "My job", *tail()], "not 'My job': clouds allow no other names."),
    (
      [*SLURM, *tail(workdir="gs://b/run")],
      "gs://b/run is the address of an object store, and audiopalm launch needs the path",
    ),
    (
      ["--on", "tpu_vm", *TPU_VM, *tail(workdir="/home/me/run")],
      "--workdir /home/me/run would be gone with the machines of tpu_vm. What they share and what "
      "stays is mounted at /storage: give a folder in it, as in --workdir /storage/run.",
    ),
  ],
)
def test_what_cannot_be_launched_is_told_before_anything_is_written(here, capsys, given, text):
  assert main.main(["launch", *given]) == EXIT_USER
  assert text in capsys.readouterr().err
  assert list(here.iterdir()) == []


@pytest.mark.parametrize(
  ("given", "text"),
  [
    (["--on", "moon", *tail()], "argument --on: invalid choice: 'moon'"),
    ([*SLURM, "--per", "rack", *tail()], "argument --per: invalid choice: 'rack'"),
    ([*SLURM, "--nodes", "two", *tail()], "argument --nodes: invalid int value: 'two'"),
    ([*SLURM, *tail("--wrkdir", "x")], "unrecognized arguments: --wrkdir x"),
    ([*SLURM, "--", "train", "quickstart"], "the following arguments are required: --workdir"),
  ],
)
def test_a_command_line_that_cannot_be_read_is_told(here, capsys, given, text):
  with pytest.raises(SystemExit) as stop:
    main.main(["launch", *given])
  assert stop.value.code == EXIT_USER
  assert text in capsys.readouterr().err


def test_the_two_dashes_may_be_left_out(capsys):
  assert main.main(["launch", *SLURM, "--dry-run", *tail()[1:]]) == 0
  assert "sbatch" in capsys.readouterr().out


def test_every_option_of_train_is_in_a_job_or_left_out_on_purpose():
  parser = argparse.ArgumentParser()
  train.add_parser(parser.add_subparsers())
  (commands,) = (action for action in parser._actions if action.choices)
  told = {action.dest for action in commands.choices["train"]._actions} - {"help"}
  resolved = {"config", "settings"}  # in config.json
  meeting = {"coordinator_address", "num_processes", "process_id"}
  of_stores = {"scratch"}  # whose addresses `launch` refuses
  assert told == resolved | meeting | of_stores | {
    *hardware.OPTIONS, "workdir", "products", "hang_s", "recheck_every", "max_bad",
  }  # fmt: skip  # those of launch._job


def test_the_help_says_where_an_option_means_something(capsys):
  with pytest.raises(SystemExit):
    main.main(["launch", "--help"])
  said = " ".join(capsys.readouterr().out.split())
  assert (
    "--nodes N how many machines, one process on each unless --per says otherwise (slurm, gke"
    in said
  )
