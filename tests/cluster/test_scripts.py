"""The rendered scripts, run with mocks of a cluster's commands.

test_slurm.py runs them under SLURM itself.
"""

import os
import subprocess

import pytest

from audiopalm.cluster import launch, places

# Runs its command on one node after another; the files in CODES hold the exit codes by process.
SRUN = """
while [[ $1 == --* ]]; do shift; done
worst=0
for process in $(seq 0 $((SLURM_NTASKS - 1))); do
  SLURM_PROCID=$process SLURM_LOCALID=$process SLURMD_NODENAME=n$process "$@" || worst=$?
done
exit $worst
"""
SCONTROL = """
case $* in
  "--oneliner show node n0") echo "NodeName=n0 Arch=x86_64 NodeAddr=head.lan NodeHostName=a" ;;
  *) echo "$*" >> "$CALLS" ;;
esac
"""
HOSTNAME = 'echo "host${SLURMD_NODENAME#n}"'
GETENT = '[ "$1" = ahosts ] && sed -n "s/^$SLURMD_NODENAME $2 //p" "$HOSTS"'
TRAIN = 'echo "gpus=${CUDA_VISIBLE_DEVICES-} $*" >> "$CALLS"; exit "$(cat "$CODES/$SLURM_PROCID")"'
GOOD_HOSTS = """n0 host0 10.0.0.1 STREAM host0
n0 head.lan 127.0.1.1 STREAM head.lan
n1 host1 10.0.0.2 STREAM host1
n1 head.lan 10.0.0.1 STREAM head.lan
"""


class Mocks:
  """A folder of mock commands, first in PATH, which write their calls to a log."""

  def __init__(self, folder, **commands):
    self.folder = folder
    self.calls = folder / "calls"
    self.bin = folder / "bin"
    self.bin.mkdir()
    for name, text in commands.items():
      (self.bin / name).write_text(f"#!/bin/bash\n{text}")
      (self.bin / name).chmod(0o755)

  def run(self, script, *arguments, **environment):
    """Returns (exit code, output, logged calls) of a script."""
    self.calls.write_text("")
    process = subprocess.run(
      ["bash", script, *arguments],
      env={
        **os.environ,
        "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
        "CALLS": str(self.calls),
        **environment,
      },
      capture_output=True,
      text=True,
      timeout=60,
    )
    return process.returncode, process.stdout + process.stderr, self.calls.read_text().splitlines()


class Slurm(Mocks):
  """A mock of one SLURM job."""

  def __init__(self, folder, **options):
    super().__init__(
      folder, srun=SRUN, scontrol=SCONTROL, hostname=HOSTNAME, getent=GETENT, train=TRAIN
    )
    self.workdir = folder / "a b"
    (self.workdir / "logs").mkdir(parents=True)
    job = launch.TrainingJob(
      "mine", str(self.workdir), "{}\n", ("--workdir", str(self.workdir)), str(self.bin / "train"),
      str(folder),
    )  # fmt: skip
    self.place = places.Slurm(**{"nodes": 2, **options})
    for path, text in self.place.render(job, folder).files.items():
      path.write_text(text)

  def end(self, *codes, hosts=GOOD_HOSTS, restart=0, **environment):
    (self.folder / "hosts").write_text(hosts)
    (self.folder / "codes").mkdir(exist_ok=True)
    for process, code in enumerate(codes):
      (self.folder / "codes" / str(process)).write_text(str(code))
    return self.run(
      self.folder / "train.sbatch",
      HOSTS=str(self.folder / "hosts"),
      CODES=str(self.folder / "codes"),
      SLURM_JOB_ID="7",
      SLURM_JOB_NUM_NODES=str(self.place.nodes),
      SLURM_NTASKS=str(len(codes)),
      SLURMD_NODENAME="n0",
      **({"SLURM_RESTART_COUNT": str(restart)} if restart else {}),
      **environment,
    )


REQUEUED = "requeue 7"


@pytest.mark.parametrize(
  ("codes", "code", "requeued"),
  [
    ((0, 0), 0, False),
    ((75, 75), 75, True),
    ((143, 143), 143, True),
    ((2, 2), 2, False),
    ((71, 71), 71, False),
    ((70, 70), 70, True),
    ((0, 1), 1, True),
    ((70, 137), 70, True),  # the first code, not the highest
    ((2, 134), 2, False),
    ((75, 137), 75, True),
  ],
)
def test_a_job_requeues_itself_by_the_code_of_the_process_that_failed_first(
  tmp_path, codes, code, requeued
):
  ended, _, calls = Slurm(tmp_path).end(*codes)
  assert ended == code
  assert (calls[-1] == REQUEUED) == requeued
  assert len(calls) == len(codes) + requeued


def test_a_job_sets_the_coordinator_of_its_processes(tmp_path):
  slurm = Slurm(tmp_path)
  _, _, calls = slurm.end(0, 0)
  command = f"-m audiopalm train {tmp_path}/config.json --workdir {slurm.workdir}"
  coordinator = f"--coordinator-address head.lan:{61_000 + 7} --num-processes 2 --process-id"
  assert calls == [f"gpus= {command} {coordinator} {process}" for process in range(2)]


def test_each_process_takes_one_of_the_gpus_of_its_node(tmp_path):
  slurm = Slurm(tmp_path, gpus_per_node=2, per="gpu", nodes=1)
  _, _, calls = slurm.end(0, 0, CUDA_VISIBLE_DEVICES="4,7")
  assert [line.split()[0] for line in calls] == ["gpus=4", "gpus=7"]
  _, _, calls = slurm.end(0, 0)
  assert [line.split()[0] for line in calls] == ["gpus=0", "gpus=1"]


def test_one_process_per_node_keeps_all_gpus(tmp_path):
  _, _, calls = Slurm(tmp_path, gpus_per_node=2).end(0, 0, CUDA_VISIBLE_DEVICES="4,7")
  assert [line.split()[0] for line in calls] == ["gpus=4,7"] * 2


def test_a_job_that_crashes_repeatedly_fails(tmp_path):
  slurm = Slurm(tmp_path, restarts=2)
  crashes = [slurm.end(70, 70, restart=number) for number in range(3)]
  assert [calls[-1] == REQUEUED for _, _, calls in crashes] == [True, True, False]
  assert "Job 7 failed with 70 after 2 restarts in a row." in crashes[-1][1]


def test_the_count_of_crashes_restarts_after_a_save(tmp_path):
  slurm = Slurm(tmp_path, restarts=1)
  codes = (70, 75, 70, 70)
  calls = [slurm.end(code, code, restart=number)[2][-1] for number, code in enumerate(codes)]
  assert [line == REQUEUED for line in calls] == [True, True, True, False]


FAR_HEAD = GOOD_HOSTS.replace("n1 head.lan 10.0.0.1", "n1 head.lan 127.0.0.1")
OWN_NAME = GOOD_HOSTS.replace("n1 host1 10.0.0.2", "n1 host1 127.0.1.1")


def test_a_node_that_resolves_the_first_one_to_itself_is_an_error_before_training(tmp_path):
  ended, output, calls = Slurm(tmp_path).end(0, 0, hosts=FAR_HEAD)
  assert (ended, calls) == (2, [])
  assert "Node n1 resolves head.lan, the address of the first node, to 127.0.0.1, so its" in output
  assert "Set NodeAddr of n0 in slurm.conf, or add it to the /etc/hosts of n1" in output
  assert "resolves its own name" not in output
  assert "Nothing was started: fix this and submit the job again." in output


def test_a_cpu_node_whose_name_resolves_to_a_loopback_address_is_an_error(tmp_path):
  ended, output, calls = Slurm(tmp_path).end(0, 0, hosts=OWN_NAME)
  assert (ended, calls) == (2, [])
  assert "Node n1 resolves its own name, host1, to 127.0.1.1, where the other nodes" in output
  assert "give host1 its network address (Debian writes 127.0.1.1)" in output


def test_a_name_that_does_not_resolve_is_an_error(tmp_path):
  ended, output, _ = Slurm(tmp_path).end(0, 0, hosts="")
  assert ended == 2
  assert "Node n1 resolves head.lan, the address of the first node, to nothing" in output


def test_the_names_of_gpu_nodes_need_not_resolve(tmp_path):
  hosts = GOOD_HOSTS.replace("10.0.0.2", "127.0.1.1")
  ended, _, calls = Slurm(tmp_path, gpus_per_node=8).end(0, 0, hosts=hosts)
  assert ended == 0 and len(calls) == 2


def test_nodes_on_one_host_need_no_network_address(tmp_path):
  slurm = Slurm(tmp_path)
  (slurm.bin / "hostname").write_text("#!/bin/bash\necho laptop")
  assert slurm.end(0, 0, hosts="")[0] == 0


# A mock of a TPU with two workers: training reports the exit codes on the next line of PLAN.
GCLOUD = """
case $* in
  *describe*) cat "$STATE" 2> /dev/null; exit ;;
  *" create "*) head -n 1 "$ANSWERS" > "$STATE"; sed -i 1d "$ANSWERS" ;;
  *" delete "*) rm "$STATE" ;;
  *"worker.sh train"*)
    for code in $(head -n 1 "$PLAN"); do
      if [ "$code" = taken ]; then echo SUSPENDED > "$STATE"; else
        echo "audiopalm ended with $code"
      fi
    done
    sed -i 1d "$PLAN"
    ;;
esac
echo "$*" >> "$CALLS"
"""


class Tpu(Mocks):
  """A mock of a cloud with one TPU."""

  def __init__(self, folder, **options):
    super().__init__(folder, gcloud=GCLOUD)
    job = launch.TrainingJob(
      "mine", "/storage/mine", "{}\n", ("--workdir", "/storage/mine"), "", ""
    )
    place = places.TpuVm(
      accelerator="v6e-8", runtime="r", zone="z", project="p", bucket="gs://b",
      package="dist/a-1.whl[tpu]", **options,
    )  # fmt: skip
    for path, text in place.render(job, folder).files.items():
      path.write_text(text)

  def trains(self, *plan, answers=("ACTIVE",) * 9):
    for name, lines in (("plan", plan), ("answers", answers)):
      (self.folder / name).write_text("".join(f"{line}\n" for line in lines))
    ended, output, calls = self.run(
      self.folder / "tpu_vm.sh",
      STATE=str(self.folder / "state"),
      PLAN=str(self.folder / "plan"),
      ANSWERS=str(self.folder / "answers"),
      POLL_S="0",
    )
    assert not (self.folder / "state").exists()  # always deleted
    return ended, output, [next(word for word in WORDS if word in line) for line in calls]


WORDS = ("create", "delete", "worker.sh train", "worker.sh install", "scp", "mkdir")
SETUP = ["create", "mkdir", "scp", "scp", "scp", "worker.sh install"]


def test_a_tpu_is_requested_installed_trained_on_and_deleted(tmp_path):
  ended, _, calls = Tpu(tmp_path).trains("0 0")
  assert ended == 0
  assert calls == [*SETUP, "worker.sh train", "delete"]


def test_a_tpu_that_is_taken_away_is_requested_again(tmp_path):
  ended, _, calls = Tpu(tmp_path).trains("taken", "75 taken", "0 0")
  assert ended == 0
  again = ["worker.sh train", "delete"]
  assert calls == [*SETUP, *again, *SETUP, *again, *SETUP, *again]


def test_training_that_was_stopped_resumes_on_the_same_tpu(tmp_path):
  ended, _, calls = Tpu(tmp_path).trains("75 75", "0 0")
  assert ended == 0
  assert calls == [*SETUP, "worker.sh train", "worker.sh train", "delete"]


@pytest.mark.parametrize("plan", ["2 2", "0 2", "71 134"])
def test_training_that_would_fail_again_ends_the_script(tmp_path, plan):
  ended, output, calls = Tpu(tmp_path).trains(plan)
  assert ended == int(next(code for code in plan.split() if code != "0"))
  assert f"Training failed with {ended}: see {tmp_path}/mine.log for what to change." in output
  assert calls == [*SETUP, "worker.sh train", "delete"]


def test_training_that_crashes_repeatedly_ends_the_script(tmp_path):
  ended, output, calls = Tpu(tmp_path, restarts=2).trains(
    "70 134", "75 75", "1 1", "70 70", "", "0"
  )
  assert ended == 1
  assert "Training ended with no code after 2 restarts in a row" in output
  assert calls.count("worker.sh train") == 5 and calls[-1] == "delete"


def test_an_existing_tpu_is_left_alone(tmp_path):
  tpu = Tpu(tmp_path)
  (tmp_path / "state").write_text("ACTIVE\n")
  ended, output, calls = tpu.run(tmp_path / "tpu_vm.sh", STATE=str(tmp_path / "state"))
  assert (ended, calls) == (2, [])
  assert "A TPU called mine exists in this project and zone and may be in use." in output
  assert "queued-resources delete mine --project p --zone z --force" in output


def test_a_failed_request_for_a_tpu_ends_the_script(tmp_path):
  ended, output, calls = Tpu(tmp_path).trains(answers=("FAILED",))
  assert ended == 1
  assert "The request for the TPU ended as FAILED: gcloud compute tpus queued-resources" in output
  assert calls == ["create", "delete"]


PYTHON = 'echo "$*" >> "$CALLS"; exit "${CODE:-0}"'


class Worker(Mocks):
  """A mock of a TPU worker; commands of root and of the network are only logged."""

  def __init__(self, folder):
    logging = {name: f'echo "{name} $*" >> "$CALLS"' for name in ("sudo", "gcsfuse", "python3")}
    super().__init__(folder, **logging, mountpoint="exit 1", pkill="exit 1")
    job = launch.TrainingJob(
      "mine", "/storage/mine", "{}\n", ("--workdir", "/storage/mine"), "", ""
    )
    place = places.TpuVm(
      accelerator="v6e-8", runtime="r", zone="z", project="p", bucket="gs://b/",
      package="dist/a-1.whl[tpu]",
    )  # fmt: skip
    files = place.render(job, folder).files
    (folder / "worker.sh").write_text(files[folder / "tpu_vm.sh"])
    python = folder / "audiopalm" / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/bash\n{PYTHON}")
    python.chmod(0o755)

  def does(self, what, **environment):
    return self.run(self.folder / "worker.sh", what, HOME=str(self.folder), **environment)


@pytest.mark.parametrize("code", [0, 75])
def test_a_worker_prints_the_exit_code_of_its_training(tmp_path, code):
  ended, output, calls = Worker(tmp_path).does("train", CODE=str(code))
  assert (ended, output) == (0, f"audiopalm ended with {code}\n")
  options = "--workdir /storage/mine --coordinator-address auto"
  assert calls == [f"-m audiopalm train config.json {options}"]


def test_a_worker_installs_the_wheel_and_mounts_the_bucket(tmp_path):
  ended, _, calls = Worker(tmp_path).does("install")
  assert ended == 0
  assert "python3 -m uv pip install --quiet --python venv/bin/python ./a-1.whl[tpu]" in calls
  assert calls[-1] == "gcsfuse --implicit-dirs b /storage"
