"""The rendered files of each place: equal to the golden files, valid, and with names unchanged.

To write the golden files again:

  python tests/cluster/test_launch.py
"""

import dataclasses
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from audiopalm.cluster import launch, places
from audiopalm.errors import ConfigError

GOLDEN = Path(__file__).parent / "golden"
CONFIG = '{\n "class": "audiopalm.experiment.Experiment",\n "name": "mine"\n}\n'
MACHINE = '{\n "machine": {\n  "name": "mine"\n }\n}\n'
LOCAL = launch.TrainingJob(
  name="mine",
  workdir="/shared/mine",
  config=CONFIG,
  options=("--workdir", "/shared/mine", "--hang-s", "1800.0"),
  python="/opt/venv/bin/python",
  folder="/home/me/work",
)
REMOTE = dataclasses.replace(
  LOCAL, workdir="/storage/mine", options=("--workdir", "/storage/mine", "--hang-s", "1800.0")
)
WHEEL = "dist/audiopalm-1.0-py3-none-any.whl"
TPU_VM = places.TpuVm(
  accelerator="v6e-16",
  runtime="v2-alpha-tpuv6e",
  zone="us-east5-b",
  project="my-project",
  bucket="gs://my-runs",
  package="audiopalm[data,tpu]==1.0",
  spot=True,
)
GKE = places.Gke(
  nodes=4, accelerator="tpu-v6e-slice", topology="4x4", image="registry/audiopalm:1", claim="runs"
)
SKYPILOT = places.SkyPilot(
  nodes=2, accelerator="H100:8", bucket="gs://my-runs", package=f"/{WHEEL}[data,gpu]", spot=True
)
CASES = {
  "slurm_cpu": (LOCAL, places.Slurm(nodes=2)),
  "slurm_gpu": (
    LOCAL,
    places.Slurm(
      nodes=4,
      gpus_per_node=8,
      per="gpu",
      partition="gpu",
      time="1-00:00:00",
      account="speech",
      warn_s=600,
      sbatch=("--mem=0", "--comment=to the end"),
    ),
  ),
  "tpu_vm": (REMOTE, TPU_VM),
  "gke_tpu": (REMOTE, dataclasses.replace(GKE, spot=True)),
  "gke_gpu": (
    REMOTE,
    dataclasses.replace(GKE, accelerator="nvidia-h100-80gb", topology=None, gpus_per_node=8),
  ),
  "skypilot": (REMOTE, SKYPILOT),
}
SHELLCHECK = shutil.which(
  "shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
)
AWKWARD = '/a b/it\'s "$HOME" %j `x` \\ #1'  # a name with special characters


def rendered(case, changes=None, **options):
  """Returns the files of a case by name, with changes of its job and of its place."""
  job, place = CASES[case]
  job, place = dataclasses.replace(job, **changes or {}), dataclasses.replace(place, **options)
  launched = place.render(job, Path("/launched"))
  return {path.name: text for path, text in launched.files.items()}


def scripts():
  return [
    pytest.param(case, name, id=f"{case}/{name}")
    for case in CASES
    for name in rendered(case)
    if name.endswith((".sh", ".sbatch"))
  ]


def check(script, *options):
  found = subprocess.run([SHELLCHECK, *options, script], capture_output=True, text=True)
  assert found.stdout + found.stderr == ""
  subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize("case", CASES)
def test_rendered_files_equal_the_golden_files(case):
  files = {path.name: path.read_text(encoding="utf-8") for path in (GOLDEN / case).iterdir()}
  assert rendered(case) == files


@pytest.mark.parametrize(("case", "name"), scripts())
def test_shellcheck_and_bash_accept_a_script(case, name, tmp_path):
  path = tmp_path / "script.sh"
  path.write_text(rendered(case)[name])
  check(path)
  path.write_text(rendered(case, {"workdir": AWKWARD, "options": ("--workdir", AWKWARD)})[name])
  check(path, "--exclude=SC2016")  # the name contains `x`


def test_shellcheck_and_bash_accept_the_shell_parts_of_a_sky_task(tmp_path):
  task = yaml.safe_load(rendered("skypilot")["skypilot.yaml"])
  for part in ("setup", "run"):
    path = tmp_path / f"{part}.sh"
    path.write_text(f"#!/bin/bash\n{task[part]}")
    check(path)


@pytest.mark.parametrize("case", ["gke_tpu", "gke_gpu"])
def test_a_job_set_matches_the_schema_of_kubernetes(case, schemas):
  config_map, job_set = yaml.safe_load_all(rendered(case)["gke.yaml"])
  assert schemas.faults(config_map, schemas.CONFIG_MAP) == []
  assert schemas.faults(job_set, schemas.JOBSET) == []
  assert config_map["data"]["config.json"] == CONFIG
  job = job_set["spec"]["replicatedJobs"][0]["template"]["spec"]
  pod = job["template"]["spec"]
  volumes = {volume["name"] for volume in pod["volumes"]}
  (container,) = pod["containers"]
  assert {mount["name"] for mount in container["volumeMounts"]} == volumes
  assert len(container["resources"]["limits"]) == 1


def test_exit_codes_of_a_job_set_restart_or_fail_it():
  job_set = list(yaml.safe_load_all(rendered("gke_gpu")["gke.yaml"]))[1]
  job = job_set["spec"]["replicatedJobs"][0]["template"]["spec"]
  rules = job_set["spec"]["failurePolicy"]["rules"]

  def action(code):
    """Returns what Kubernetes 1.31 and JobSet 0.10 do, according to their documentation."""
    (codes, evicted) = job["podFailurePolicy"]["rules"]
    index = 1 if code == "evicted" else 0
    if index == 0 and code not in codes["onExitCodes"]["values"]:
      return "RestartJobSet"  # BackoffLimitExceeded: no rule matches
    assert (codes, evicted)[index]["action"] == "FailJob"
    message = {
      0: f"Container train for pod default/mine failed with exit code {code} matching FailJob rule "
      "at index 0",
      1: "Pod default/mine has condition DisruptionTarget matching FailJob rule at index 1",
    }[index]
    for rule in rules:
      assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]
      if any(re.search(pattern, message) for pattern in rule["onJobFailureMessagePatterns"]):
        return rule["action"]
    return "RestartJobSet"

  assert [action(code) for code in (2, 71, 72)] == ["FailJobSet"] * 3
  assert [action(code) for code in (75, "evicted")] == ["RestartJobSetAndIgnoreMaxRestarts"] * 2
  assert [action(code) for code in (1, 70, 134, 137)] == ["RestartJobSet"] * 4


def test_a_sky_task_matches_the_schema_of_skypilot(schemas):
  task = yaml.safe_load(rendered("skypilot")["skypilot.yaml"])
  wheel = f"~/audiopalm/{Path(WHEEL).name}"
  assert schemas.faults(task, schemas.sky_task("~/audiopalm/config.json", wheel)) == []
  assert task["file_mounts"][wheel] == f"/{WHEEL}"
  assert task["setup"].splitlines()[-1].endswith(f"'./{Path(WHEEL).name}[data,gpu]'")
  assert task["resources"]["job_recovery"]["recover_on_exit_codes"] == [75]


def test_a_schema_reports_faults(schemas):
  schema = {"a": int, "b?": [("x", "y")]}
  assert schemas.faults({"a": 1, "b": ["x", "y"]}, schema) == []
  assert schemas.faults({"b": ["z"], "c": 1}, schema) == [
    ".a: missing", ".b[0]: 'z' is none of ('x', 'y')", ".c: unknown"
  ]  # fmt: skip
  assert schemas.faults({"a": True}, schema) == [".a: True is no int"]
  assert schemas.faults([], schema) == [": [] is no dict"]


def test_a_name_with_special_characters_reaches_training_unchanged():
  options = ("--workdir", AWKWARD)
  changes = {"workdir": AWKWARD, "options": options}
  slurm = rendered("slurm_gpu", changes)["train.sbatch"]
  tpu_vm = rendered("tpu_vm", changes)["tpu_vm.sh"]
  task = rendered("skypilot", changes)["skypilot.yaml"]
  for text in (slurm, tpu_vm, yaml.safe_load(task)["run"]):
    (line,) = (line for line in text.splitlines() if line.strip().startswith("train=("))
    printed = subprocess.run(
      ["bash", "-c", f'{line}\nprintf "%s\\n" "${{train[@]}}"'], capture_output=True, text=True
    )
    assert printed.stdout.splitlines()[-2:] == list(options)
  log = f"--output={AWKWARD}/logs".replace("%", "%%") + "/%j.log"
  directives = [shlex.split(line[8:]) for line in slurm.splitlines() if line.startswith("#SBATCH ")]
  assert [log] in directives and ["--comment=to the end"] in directives
  (_, job_set) = yaml.safe_load_all(rendered("gke_gpu", changes)["gke.yaml"])
  pod = job_set["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
  command = pod["containers"][0]["command"]
  # Kubernetes reads $$ as $, and $(NAME) as a variable.
  assert AWKWARD in [each.replace("$$", "$") for each in command]
  assert command[-1] == "$(JOB_COMPLETION_INDEX)"


@pytest.mark.parametrize(
  ("case", "path"),
  [
    ("slurm_cpu", "/launched/machine.json"),
    ("tpu_vm", "machine.json"),
    ("gke_tpu", "/config/machine.json"),
    ("gke_gpu", "/config/machine.json"),
    ("skypilot", "machine.json"),
  ],
)
def test_a_machine_from_a_file_is_where_training_reads_it(case, path, tmp_path):
  files = rendered(case, {"machine": MACHINE})
  texts = "\n".join(files[name] for name in files if not name.endswith(".json"))
  assert f"--machine {path}" in texts or f'"--machine", "{path}"' in texts
  if path.startswith("/config"):
    config_map, _ = yaml.safe_load_all(files["gke.yaml"])
    assert config_map["data"] == {"config.json": CONFIG, "machine.json": MACHINE}
    return
  assert files["machine.json"] == MACHINE
  if case == "tpu_vm":
    assert '  copy "$here/machine.json" audiopalm/machine.json || return\n' in files["tpu_vm.sh"]
    (tmp_path / "tpu_vm.sh").write_text(files["tpu_vm.sh"])
    check(tmp_path / "tpu_vm.sh")
  if case == "skypilot":
    mounts = yaml.safe_load(files["skypilot.yaml"])["file_mounts"]
    assert mounts["~/audiopalm/machine.json"] == "/launched/machine.json"


def test_a_wheel_is_copied_and_pip_finds_any_other_requirement():
  files = rendered("tpu_vm", package=f"{WHEEL}[data,tpu]")
  assert f"wheel={Path.cwd()}/{WHEEL}  #" in files["tpu_vm.sh"]
  assert f"package='./{Path(WHEEL).name}[data,tpu]'" in files["tpu_vm.sh"]
  files = rendered("tpu_vm")
  assert "wheel=''" in files["tpu_vm.sh"]
  assert "package='audiopalm[data,tpu]==1.0'" in files["tpu_vm.sh"]


@pytest.mark.parametrize("case", CASES)
def test_the_submitted_file_is_one_of_the_rendered(case):
  job, place = CASES[case]
  launched = place.render(job, Path("/launched"))
  path = Path(launched.command[-1])
  assert path.parent == Path("/launched") and path in launched.files


def test_a_name_with_a_line_break_is_refused():
  with pytest.raises(ConfigError, match=r"'/a\\nb' contains a line break .*: choose another name."):
    rendered("slurm_cpu", {"workdir": "/a\nb"})
  with pytest.raises(ConfigError, match="contains a line break"):
    rendered("skypilot", accelerator="H100\n:8")


@pytest.mark.parametrize("name", ["", "Mine", "mine_too", "1st", "mine-", "m" * 41])
def test_a_job_name_that_clouds_refuse_is_an_error(name):
  with pytest.raises(ConfigError, match=f"lower-case letters, digits and dashes.* not {name!r}"):
    dataclasses.replace(LOCAL, name=name)


def test_the_docker_file_copies_existing_paths_and_names_existing_extras():
  root = Path(launch.__file__).parents[2]
  setup = (root / "setup.py").read_text()
  text = launch.template("Dockerfile")
  assert text.startswith("# UNTESTED: nobody has built this image.")
  assert "ARG EXTRAS=data\n" in text and '"/audiopalm[$EXTRAS]"' in text
  (line,) = (line for line in text.splitlines() if line.startswith("# EXTRAS: "))
  extras = re.findall(r"data(?:,\w+)?(?= for )", line)
  assert extras == ["data", "data,gpu", "data,tpu"]
  assert all(f'"{name}": [' in setup for extra in extras for name in extra.split(","))
  copied = re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE)
  assert all((root / name).exists() for names in copied for name in names.split())


if __name__ == "__main__":
  shutil.rmtree(GOLDEN, ignore_errors=True)
  for case in CASES:
    (GOLDEN / case).mkdir(parents=True)
    for name, text in rendered(case).items():
      (GOLDEN / case / name).write_text(text, encoding="utf-8")
  print(json.dumps(sorted(CASES)))
