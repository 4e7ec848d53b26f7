"""The scripts themselves, run with commands that are made up in the place of a cluster's.

How SLURM itself takes them is tested by test_slurm.py.
"""

import os
import subprocess

import pytest

from audiopalm.cluster import launch, places

# Runs its command on one node after another; each process ends as the file of its number says.
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
  *) echo "$*" >> "$DIARY" ;;
esac
"""
HOSTNAME = 'echo "host${SLURMD_NODENAME#n}"'
GETENT = '[ "$1" = ahosts ] && sed -n "s/^$SLURMD_NODENAME $2 //p" "$HOSTS"'
TRAIN = 'echo "gpus=${CUDA_VISIBLE_DEVICES-} $*" >> "$DIARY"; exit "$(cat "$CODES/$SLURM_PROCID")"'
GOOD_HOSTS = """n0 host0 10.0.0.1 STREAM host0
n0 head.lan 127.0.1.1 STREAM head.lan
n1 host1 10.0.0.2 STREAM host1
n1 head.lan 10.0.0.1 STREAM head.lan
"""


class Stage:
  """A folder with made-up commands in front of the real ones, and what was noted while they ran."""

  def __init__(self, folder, **commands):
    self.folder = folder
    self.diary = folder / "diary"
    self.bin = folder / "bin"
    self.bin.mkdir()
    for name, text in commands.items():
      (self.bin / name).write_text(f"#!/bin/bash\n{text}")
      (self.bin / name).chmod(0o755)

  def run(self, script, **environment):
    """Returns (exit code, what was printed, what was noted) of a script."""
    self.diary.write_text("")
    done = subprocess.run(
      ["bash", script],
      env={
        **os.environ,
        "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
        "DIARY": str(self.diary),
        **environment,
      },
      capture_output=True,
      text=True,
      timeout=60,
    )
    return done.returncode, done.stdout + done.stderr, self.diary.read_text().splitlines()


class Slurm(Stage):
  """One job of SLURM, made up."""

  def __init__(self, folder, **options):
    super().__init__(
      folder, srun=SRUN, scontrol=SCONTROL, hostname=HOSTNAME, getent=GETENT, train=TRAIN
    )
    self.workdir = folder / "a b"
    (self.workdir / "logs").mkdir(parents=True)
    job = launch.Job(
      "mine", str(self.workdir), "{}\n", ("--workdir", str(self.workdir)), str(self.bin / "train"),
      str(folder),
    )  # fmt: skip
    self.place = places.Slurm(**{"nodes": 2, **options})
    made = launch.render(job, self.place, folder)
    for path, text in made.files.items():
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
    ((70, 137), 70, True),  # the first one counts, not the highest
    ((2, 134), 2, False),
    ((75, 137), 75, True),
  ],
)
def test_a_job_requeues_itself_by_the_code_of_the_process_that_failed_first(
  tmp_path, codes, code, requeued
):
  ended, _, noted = Slurm(tmp_path).end(*codes)
  assert ended == code
  assert (noted[-1] == REQUEUED) == requeued
  assert len(noted) == len(codes) + requeued


def test_a_job_is_told_how_its_processes_meet(tmp_path):
  slurm = Slurm(tmp_path)
  _, _, noted = slurm.end(0, 0)
  told = f"-m audiopalm train {tmp_path}/config.json --workdir {slurm.workdir}"
  meeting = f"--coordinator-address head.lan:{61_000 + 7} --num-processes 2 --process-id"
  assert noted == [f"gpus= {told} {meeting} {process}" for process in range(2)]


def test_each_process_takes_one_gpu_of_those_that_slurm_gave(tmp_path):
  slurm = Slurm(tmp_path, gpus_per_node=2, per="gpu", nodes=1)
  _, _, noted = slurm.end(0, 0, CUDA_VISIBLE_DEVICES="4,7")
  assert [line.split()[0] for line in noted] == ["gpus=4", "gpus=7"]
  _, _, noted = slurm.end(0, 0)
  assert [line.split()[0] for line in noted] == ["gpus=0", "gpus=1"]


def test_a_process_for_each_node_keeps_all_of_its_gpus(tmp_path):
  _, _, noted = Slurm(tmp_path, gpus_per_node=2).end(0, 0, CUDA_VISIBLE_DEVICES="4,7")
  assert [line.split()[0] for line in noted] == ["gpus=4,7"] * 2


def test_a_job_that_crashes_again_and_again_ends(tmp_path):
  slurm = Slurm(tmp_path, restarts=2)
  crashes = [slurm.end(70, 70, restart=number) for number in range(3)]
  assert [noted[-1] == REQUEUED for _, _, noted in crashes] == [True, True, False]
  assert "ended with 70, after 2 restarts in a row: it ends here." in crashes[-1][1]


def test_crashes_are_counted_anew_after_a_save(tmp_path):
  slurm = Slurm(tmp_path, restarts=1)
  codes = (70, 75, 70, 70)
  noted = [slurm.end(code, code, restart=number)[2][-1] for number, code in enumerate(codes)]
  assert [line == REQUEUED for line in noted] == [True, True, True, False]


FAR_HEAD = GOOD_HOSTS.replace("n1 head.lan 10.0.0.1", "n1 head.lan 127.0.0.1")
OWN_NAME = GOOD_HOSTS.replace("n1 host1 10.0.0.2", "n1 host1 127.0.1.1")


def test_a_node_that_takes_the_first_one_for_itself_is_told_before_training(tmp_path):
  ended, said, noted = Slurm(tmp_path).end(0, 0, hosts=FAR_HEAD)
  assert (ended, noted) == (2, [])
  assert "Node n1 resolves head.lan, the address of the first node, to 127.0.0.1, so its" in said
  assert "Give n0 a NodeAddr in slurm.conf, or a line in the /etc/hosts of n1" in said
  assert "resolves its own name" not in said
  assert "Then submit again: nothing was started." in said


def test_a_cpu_node_that_takes_its_own_name_for_itself_alone_is_told(tmp_path):
  ended, said, noted = Slurm(tmp_path).end(0, 0, hosts=OWN_NAME)
  assert (ended, noted) == (2, [])
  assert "Node n1 resolves its own name, host1, to 127.0.1.1, where the other nodes" in said
  assert "put its address in the network before host1 (Debian writes 127.0.1.1)" in said


def test_a_name_that_resolves_to_nothing_is_told(tmp_path):
  ended, said, _ = Slurm(tmp_path).end(0, 0, hosts="")
  assert ended == 2
  assert "Node n1 resolves head.lan, the address of the first node, to nothing" in said


def test_gpu_nodes_do_not_need_their_own_names(tmp_path):
  hosts = GOOD_HOSTS.replace("10.0.0.2", "127.0.1.1")
  ended, _, noted = Slurm(tmp_path, gpus_per_node=8).end(0, 0, hosts=hosts)
  assert ended == 0 and len(noted) == 2


def test_nodes_that_are_one_host_need_no_network(tmp_path):
  slurm = Slurm(tmp_path)
  (slurm.bin / "hostname").write_text("#!/bin/bash\necho laptop")
  assert slurm.end(0, 0, hosts="")[0] == 0


# A TPU of two workers: each training takes a line of the plan, the exit codes that workers say.
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
echo "$*" >> "$DIARY"
"""


class Tpu(Stage):
  """A cloud with one TPU, made up."""

  def __init__(self, folder, **options):
    super().__init__(folder, gcloud=GCLOUD)
    job = launch.Job("mine", "/storage/mine", "{}\n", ("--workdir", "/storage/mine"), "", "")
    place = places.TpuVm(
      accelerator="v6e-8", runtime="r", zone="z", project="p", bucket="gs://b",
      package="dist/a-1.whl[tpu]", **options,
    )  # fmt: skip
    for path, text in launch.render(job, place, folder).files.items():
      path.write_text(text)

  def trains(self, *plan, answers=("ACTIVE",) * 9):
    for name, lines in (("plan", plan), ("answers", answers)):
      (self.folder / name).write_text("".join(f"{line}\n" for line in lines))
    ended, said, noted = self.run(
      self.folder / "tpu_vm.sh",
      STATE=str(self.folder / "state"),
      PLAN=str(self.folder / "plan"),
      ANSWERS=str(self.folder / "answers"),
      POLL_S="0",
    )
    assert not (self.folder / "state").exists()  # given back, whatever happened
    return ended, said, [next(word for word in WORDS if word in line) for line in noted]


WORDS = ("create", "delete", "worker.sh train", "worker.sh install", "scp", "mkdir")
SETUP = ["create", "mkdir", "scp", "scp", "scp", "worker.sh install"]


def test_a_tpu_is_asked_for_set_up_trained_on_and_given_back(tmp_path):
  ended, _, noted = Tpu(tmp_path).trains("0 0")
  assert ended == 0
  assert noted == [*SETUP, "worker.sh train", "delete"]


def test_a_tpu_that_is_taken_away_is_asked_for_again(tmp_path):
  ended, _, noted = Tpu(tmp_path).trains("taken", "75 taken", "0 0")
  assert ended == 0
  again = ["worker.sh train", "delete"]
  assert noted == [*SETUP, *again, *SETUP, *again, *SETUP, *again]


def test_training_that_was_asked_to_stop_goes_on_on_the_same_tpu(tmp_path):
  ended, _, noted = Tpu(tmp_path).trains("75 75", "0 0")
  assert ended == 0
  assert noted == [*SETUP, "worker.sh train", "worker.sh train", "delete"]


@pytest.mark.parametrize("plan", ["2 2", "0 2", "71 134"])
def test_training_that_would_fail_again_ends_the_script(tmp_path, plan):
  ended, said, noted = Tpu(tmp_path).trains(plan)
  assert ended == int(next(code for code in plan.split() if code != "0"))
  assert f"Training ended with {ended}: see {tmp_path}/mine.log for what to change." in said
  assert noted == [*SETUP, "worker.sh train", "delete"]


def test_training_that_crashes_again_and_again_ends_the_script(tmp_path):
  ended, said, noted = Tpu(tmp_path, restarts=2).trains("70 134", "75 75", "1 1", "70 70", "", "0")
  assert ended == 1
  assert "Training ended with no code, after 2 restarts in a row" in said
  assert noted.count("worker.sh train") == 5 and noted[-1] == "delete"


def test_a_tpu_that_is_there_already_is_left_alone(tmp_path):
  tpu = Tpu(tmp_path)
  (tmp_path / "state").write_text("ACTIVE\n")
  ended, said, noted = tpu.run(tmp_path / "tpu_vm.sh", STATE=str(tmp_path / "state"))
  assert (ended, noted) == (2, [])
  assert "There is a TPU called mine in this project and zone, which may be at work" in said
  assert "queued-resources delete mine --project p --zone z --force" in said


def test_a_request_that_is_refused_says_so(tmp_path):
  ended, said, noted = Tpu(tmp_path).trains(answers=("FAILED",))
  assert ended == 1
  assert "The request for the TPU ended as FAILED: gcloud compute tpus queued-resources" in said
  assert noted == ["create", "delete"]


PYTHON = 'echo "$*" >> "$DIARY"; exit "${CODE:-0}"'


class Worker(Stage):
  """A worker of a TPU, made up; commands of root and of the network are only noted."""

  def __init__(self, folder):
    noted = {name: f'echo "{name} $*" >> "$DIARY"' for name in ("sudo", "gcsfuse", "python3")}
    super().__init__(folder, **noted, mountpoint="exit 1", pkill="exit 1")
    job = launch.Job("mine", "/storage/mine", "{}\n", ("--workdir", "/storage/mine"), "", "")
    place = places.TpuVm(
      accelerator="v6e-8", runtime="r", zone="z", project="p", bucket="gs://b/",
      package="dist/a-1.whl[tpu]",
    )  # fmt: skip
    made = launch.render(job, place, folder)
    (folder / "worker.sh").write_text(made.files[folder / "tpu_vm_worker.sh"])
    python = folder / "audiopalm" / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/bash\n{PYTHON}")
    python.chmod(0o755)

  def does(self, what, **environment):
    script = self.folder / f"{what}.sh"
    script.write_text(f"set -- {what}\n{(self.folder / 'worker.sh').read_text()}")
    return self.run(script, HOME=str(self.folder), **environment)


@pytest.mark.parametrize("code", [0, 75])
def test_a_worker_says_how_its_training_ended(tmp_path, code):
  ended, said, noted = Worker(tmp_path).does("train", CODE=str(code))
  assert (ended, said) == (0, f"audiopalm ended with {code}\n")
  options = "--workdir /storage/mine --coordinator-address auto"
  assert noted == [f"-m audiopalm train config.json {options}"]


def test_a_worker_installs_the_wheel_and_mounts_the_bucket(tmp_path):
  ended, _, noted = Worker(tmp_path).does("install")
  assert ended == 0
  assert "python3 -m uv pip install --quiet --python venv/bin/python ./a-1.whl[tpu]" in noted
  assert noted[-1] == "gcsfuse --implicit-dirs b /storage"
