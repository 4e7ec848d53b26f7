"""`audiopalm launch`: options, errors, dry runs and submission. tests/cluster tests the files."""

import argparse
import dataclasses
import sys

import pytest

from audiopalm import experiment
from audiopalm.cli import config, hardware, launch, main, train
from audiopalm.errors import EXIT_USER
from audiopalm.parts import machines
from audiopalm.settings import Machine

TPU_VM = ["--accelerator", "v6e-16", "--runtime", "r", "--zone", "z", "--project", "p"]
TPU_VM += ["--bucket", "gs://b", "--package", "audiopalm[data,tpu]"]
SLURM = ["--on", "slurm", "--nodes", "2"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
  """The current folder of the commands; PATH has no command of a cluster."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("PATH", str(tmp_path / "bin"))
  return tmp_path


def tail(*more, workdir="run"):
  return ["--", "train", "quickstart", "--workdir", workdir, *more]


def command(folder, name, text):
  """Installs a command in PATH."""
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
def test_a_dry_run_prints_the_files_and_the_command_and_writes_nothing(
  folder, capsys, place, workdir, shown
):
  assert main.main(["launch", *place, "--dry-run", *tail(workdir=workdir)]) == 0
  output = capsys.readouterr().out
  assert shown in output
  assert (
    f"{folder}/{'run' if workdir == 'run' else 'runs/quickstart'}/launch/config.json:\n{{" in output
  )
  assert output.splitlines()[-1].split()[0] in ("sbatch", "bash")
  assert list(folder.iterdir()) == []


def test_a_local_dry_run_prints_the_commands(folder, capsys):
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
  assert list(folder.iterdir()) == []


def test_a_job_is_written_and_submitted(folder, capfd):
  command(folder, "sbatch", "import sys; print('got', sys.argv[1:], flush=True); sys.exit(3)")
  own = ("--machine", "gpu", "--remat", "full", "--products", "bfloat16", "--set", "steps=7")
  line = ["launch", *SLURM, *tail(*own, "--hang-s", "60")]
  assert main.main(line) == 3
  script = folder / "run" / "launch" / "train.sbatch"
  lines = capfd.readouterr().out.splitlines()
  assert [line.split()[1] for line in lines[:3]] == ["code", "config", "mesh"]  # preflight
  assert lines[-2:] == [f"sbatch {script}", f"got ['{script}']"]
  text = script.read_text()
  options = f"--workdir {folder}/run --machine gpu --remat full --products bfloat16 --hang-s 60.0"
  assert (
    f"train=({sys.executable} -m audiopalm train {folder}/run/launch/config.json {options} " in text
  )
  assert f"#SBATCH --chdir={folder}\n" in text
  assert (folder / "run" / "logs").is_dir()
  stored = experiment.from_json((script.parent / "config.json").read_text())
  assert stored == config.load("quickstart", ["steps=7"])


def test_packages_that_are_trusted_go_with_the_job(folder, capsys):
  own = tail("--trust", "xml", "--trust", "json.tool")
  assert main.main(["launch", *SLURM, "--dry-run", *own]) == 0
  printed = capsys.readouterr().out
  assert f"--workdir {folder}/run --trust=xml --trust=json.tool " in printed
  assert '"trust": [\n  "xml",\n  "json.tool"\n ]' in printed


def test_a_machine_from_a_file_is_stored_in_the_job(folder, capfd, monkeypatch):
  monkeypatch.setattr(launch, "_preflight", lambda *_: 0)
  command(folder, "sbatch", "")
  wanted = Machine(name="mine", fsdp=2, remat="dots")
  (folder / "mine.json").write_text(machines.to_json(wanted))
  given = ("--machine", "mine.json", "--remat", "full", "--hang-s", "60")
  assert main.main(["launch", *SLURM, *tail(*given)]) == 0
  launched = folder / "run" / "launch"
  assert machines.named(str(launched / "machine.json")) == dataclasses.replace(wanted, remat="full")
  options = f"{folder}/run --hang-s 60.0 --recheck-every 0 --machine {launched}/machine.json)"
  assert options in (launched / "train.sbatch").read_text()
  again = ["launch", *SLURM, *tail("--machine", str(launched / "machine.json"), "--remat", "none")]
  assert main.main(again) == EXIT_USER
  assert f"--out {launched}/machine.json would overwrite" in capfd.readouterr().err


def test_a_run_that_fails_preflight_is_not_submitted(folder, capfd):
  command(folder, "sbatch", "")
  assert main.main(["launch", *SLURM, *tail("--mesh", "data=3")]) == EXIT_USER
  assert "wrong mesh       Machine 'cpu' asks for a mesh data=3" in capfd.readouterr().out
  assert not (folder / "run").exists()


def test_files_are_written_to_the_folder_of_out(folder, monkeypatch):
  monkeypatch.setattr(launch, "_preflight", lambda *_: 0)
  command(folder, "kubectl", "")
  given = ["--on", "gke", "--nodes", "1", "--accelerator", "nvidia-h100-80gb", "--image", "i"]
  given += ["--gpus-per-node", "8", "--claim", "c", "--out", "here", "--name", "mine"]
  assert main.main(["launch", *given, *tail(workdir="/storage/a")]) == 0
  assert [path.name for path in (folder / "here").iterdir()] == ["gke.yaml"]
  assert "  name: mine\n" in (folder / "here" / "gke.yaml").read_text()


def test_a_missing_submit_command_is_an_error_and_nothing_is_written(folder, capsys):
  assert main.main(["launch", *SLURM, *tail()]) == EXIT_USER
  output = capsys.readouterr().err
  assert (
    "ConfigError: The command 'sbatch', which submits the job, is not installed here." in output
  )
  assert "or use --dry-run to see the files" in output
  assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
  ("given", "text"),
  [
    (["--on", "local", *tail()], "--on local also needs --num-processes."),
    (["--on", "slurm", *tail()], "--on slurm also needs --nodes."),
    (
      ["--on", "tpu_vm", "--zone", "z", *tail()],
      "--on tpu_vm also needs --accelerator, --runtime, --",
    ),
    ([*SLURM, "--zone", "z", *tail()], "--zone is an option of --on tpu_vm, not of --on slurm."),
    (["--on", "slurm", "--nodes", "0", *tail()], "--nodes takes an integer of at least 1, not"),
    ([*SLURM], "starts `audiopalm train`. End the command line with -- train CONFIG --workdir DIR"),
    ([*SLURM, "--", "evaluate", "--workdir", "run"], "not 'evaluate --workdir run'."),
    (
      [*SLURM, *tail("--coordinator-address", "auto")],
      "leave out --coordinator-address, --num-processes and --process-id",
    ),
    ([*SLURM, *tail("--hang-s", "-1")], "--hang-s takes seconds, 0 for no limit, not -1."),
    ([*SLURM, *tail("--machine", "cpus")], "Unknown machine 'cpus'. Did you mean 'cpu'?"),
    ([*SLURM, *tail("--set", "stesp=3")], "There is no setting 'stesp'"),
    (
      [*SLURM, "--name", "My job", *tail()],
      "as clouds require, not 'My job'. Give another by --name.",
    ),
    (
      [*SLURM, *tail(workdir="gs://b/run")],
      "gs://b/run is an address in an object store, but audiopalm launch needs the path",
    ),
    (
      ["--on", "tpu_vm", *TPU_VM, *tail(workdir="/home/me/run")],
      "--workdir /home/me/run would be deleted with the machines of tpu_vm. Their shared storage "
      "is mounted at /storage: give a folder in it, as in --workdir /storage/run.",
    ),
  ],
)
def test_errors_come_before_anything_is_written(folder, capsys, given, text):
  assert main.main(["launch", *given]) == EXIT_USER
  assert text in capsys.readouterr().err
  assert list(folder.iterdir()) == []


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
def test_an_unparsable_command_line_is_an_error(folder, capsys, given, text):
  with pytest.raises(SystemExit) as stop:
    main.main(["launch", *given])
  assert stop.value.code == EXIT_USER
  assert text in capsys.readouterr().err


def test_the_two_dashes_are_optional(capsys):
  assert main.main(["launch", *SLURM, "--dry-run", *tail()[1:]]) == 0
  assert "sbatch" in capsys.readouterr().out


def test_every_option_of_train_is_passed_to_a_job_or_excluded():
  parser = argparse.ArgumentParser()
  train.add_options(parser)
  known = {action.dest for action in parser._actions} - {"help"}
  resolved = {"config", "settings"}  # in config.json
  coordinator = {"coordinator_address", "num_processes", "process_id"}
  of_stores = {"scratch"}  # whose addresses `launch` refuses
  assert known == resolved | coordinator | of_stores | {
    *hardware.OPTIONS, "workdir", "trust", "products", "hang_s", "recheck_every", "max_bad",
  }  # fmt: skip  # those of launch._job


def test_the_help_names_the_places_of_an_option(capsys):
  with pytest.raises(SystemExit):
    main.main(["launch", "--help"])
  output = " ".join(capsys.readouterr().out.split())
  assert (
    "--nodes N number of machines; each runs one process unless --per says otherwise (slurm, gke"
    in output
  )
