"""The places where training can be launched: settings, devices and the files of a job for each.

Each setting is a command-line option; one without a default is required.
"""

import abc
import dataclasses
import json
import math
import re
import shlex
from pathlib import Path
from typing import ClassVar, Literal

from audiopalm.cluster import launch
from audiopalm.cluster.launch import MACHINE, Launch, TrainingJob, Values
from audiopalm.errors import ConfigError

STORAGE = "/storage"  # where machines of a cloud mount their shared storage
PORT = 8482  # of the coordinator, on machines that run nothing else
SLURM_EARLY_S = 60  # SLURM may send a signal this much earlier than requested
MIN_TRAINING_S = 300
TPU = r"(v\d+[a-z]*)-(\d+)"  # a type of Cloud TPU
TYPES_BY_CORE = ("v2", "v3", "v4", "v5p")  # these types count cores, two per chip

# {"name METAVAR" of a setting: the help of its option}
OPTIONS: dict[str, str] = {
  "num_processes N": "number of processes",
  "devices_per_process N": "CPU devices of each process",
  "gpus_per_process N": "GPUs of each process, assigned from CUDA_VISIBLE_DEVICES in order",
  "nodes N": "number of machines; each runs one process unless --per says otherwise",
  "gpus_per_node N": "GPUs of each node (default: 0)",
  "per": "one process for each 'node', with all of its GPUs, or for each 'gpu' (default: node)",
  "partition NAME": "SLURM partition",
  "time TIME": "time limit in SLURM's format: 1-12:00:00",
  "account NAME": "account to charge",
  "warn_s S": "seconds before the time limit at which training must save (default: 300); the save "
  "must finish in this time, or SLURM does not requeue the job",
  "restarts N": "maximum restarts in a row after a hang or a crash (default: 3); restarts after "
  "SIGTERM are unlimited",
  "sbatch OPTION": "any other option of sbatch, as in --sbatch=--mem=0; repeatable",
  "accelerator KIND": "type of device, by its name in that place",
  "runtime VERSION": "TPU software version: v2-alpha-tpuv6e, ...",
  "zone ZONE": "Google Cloud zone",
  "project PROJECT": "Google Cloud project to charge",
  "bucket gs://NAME": f"Cloud Storage bucket with the workdir, mounted at {STORAGE} on each "
  "machine; it needs a hierarchical namespace, see docs/launch.md",
  "package WHEEL": "what pip installs on each machine: a wheel of audiopalm, which is copied "
  "there, or any other requirement, with extras, as in "
  "dist/audiopalm-0.1.0-py3-none-any.whl[data,tpu]",
  "spot": "use preemptible machines, which are cheaper",
  "topology SHAPE": "shape of the TPU slice: 4x4, 2x2x4, ...",
  "chips_per_node N": "TPU chips of each node (default: 4)",
  "image IMAGE": "container image, built from launch/Dockerfile",
  "claim NAME": f"persistent volume claim (ReadWriteMany) with the workdir, mounted at {STORAGE}",
  "namespace NAME": "Kubernetes namespace",
}
NAMES = tuple(option.split()[0] for option in OPTIONS)
MAY_BE_0 = ("gpus_per_node", "restarts")  # other numbers are at least 1


@dataclasses.dataclass(frozen=True)
class Hardware:
  """The devices a place provides: their platform ("cpu", "gpu" or "tpu"), their number, and the
  number of processes, None if it follows from the type of TPU."""

  platform: str
  devices: int
  processes: int | None


def option(name: str) -> str:
  """Returns the command-line option of a setting."""
  return f"--{name.replace('_', '-')}"


def _match(name: str, value: str, pattern: str, expected: str) -> re.Match:
  match = re.fullmatch(pattern, value)
  if match is None:
    raise ConfigError(f"{option(name)} takes {expected}, not {value!r}.")
  return match


@dataclasses.dataclass(frozen=True, kw_only=True)
class LaunchPlace(abc.ABC):
  """Settings of a place; `remote` if its machines do not share this machine's disks."""

  remote: ClassVar[bool] = False

  def __post_init__(self):
    for name, value in vars(self).items():
      least = 0 if name in MAY_BE_0 else 1
      if type(value) is int and value < least:
        raise ConfigError(f"{option(name)} takes an integer of at least {least}, not {value}.")
    self.check()

  @abc.abstractmethod
  def check(self) -> None:
    """Raises ConfigError for settings that do not fit together."""

  @property
  @abc.abstractmethod
  def hardware(self) -> Hardware:
    """The devices it provides."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalProcesses(LaunchPlace):
  """Several processes on this machine."""

  num_processes: int
  devices_per_process: int | None = None
  gpus_per_process: int | None = None

  def check(self) -> None:
    if self.devices_per_process and self.gpus_per_process:
      raise ConfigError(
        "--devices-per-process makes CPU devices and --gpus-per-process assigns GPUs: give one of "
        "them."
      )

  @property
  def hardware(self) -> Hardware:
    per_process = self.gpus_per_process or self.devices_per_process or 1
    platform = "gpu" if self.gpus_per_process else "cpu"
    return Hardware(platform, self.num_processes * per_process, self.num_processes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SubmittedPlace(LaunchPlace):
  """A place that jobs are submitted to."""

  restarts: int = 3

  @abc.abstractmethod
  def render(self, job: TrainingJob, folder: Path) -> Launch:
    """Returns the files that launch a job, with paths in `folder`, and the command that submits
    them."""

  def fill(self, name: str, job: TrainingJob, folder: Path, more: Values) -> str:
    """Returns a template filled with the settings, the common values of a job, and `more`."""
    known = {
      "name": job.name,
      "workdir": job.workdir,
      "storage": STORAGE,
      "cache": f"{job.workdir}/compiled",  # programs that a restart reads
      "folder": str(folder),
    }
    return launch.fill(name, {**vars(self), **known, **more})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slurm(SubmittedPlace):
  """A batch job that requeues itself."""

  nodes: int
  gpus_per_node: int = 0
  per: Literal["node", "gpu"] = "node"
  partition: str | None = None
  time: str | None = None
  account: str | None = None
  warn_s: int = 300
  sbatch: tuple[str, ...] = ()

  def check(self) -> None:
    if self.warn_s >= 2**16:
      raise ConfigError(f"--warn-s takes at most 65535 seconds, SLURM's limit, not {self.warn_s}.")
    limit_s = math.inf if self.time is None else _seconds(self.time)
    if limit_s < self.warn_s + SLURM_EARLY_S + MIN_TRAINING_S:
      raise ConfigError(
        f"--time {self.time} leaves less than {MIN_TRAINING_S} s of training: SLURM asks for a "
        f"save --warn-s {self.warn_s} s before the limit, and up to {SLURM_EARLY_S} s earlier. "
        "Give a longer --time or a smaller --warn-s."
      )
    if self.per == "gpu" and not self.gpus_per_node:
      raise ConfigError("--per gpu starts one process per GPU: give their number, --gpus-per-node.")
    for argument in self.sbatch:
      _match(
        "sbatch", argument, r"--[a-z][a-z-]*(=.*)?",
        "one option of sbatch in its long form, as in --sbatch=--mem=0",
      )  # fmt: skip

  @property
  def processes_per_node(self) -> int:
    return self.gpus_per_node if self.per == "gpu" else 1

  @property
  def hardware(self) -> Hardware:
    platform = "gpu" if self.gpus_per_node else "cpu"
    devices = self.nodes * (self.gpus_per_node or 1)
    return Hardware(platform, devices, self.nodes * self.processes_per_node)

  def render(self, job: TrainingJob, folder: Path) -> Launch:
    script, logs = folder / "train.sbatch", f"{job.workdir}/logs"
    options = {
      "gpus-per-node": self.gpus_per_node or None,
      "partition": self.partition,
      "time": self.time,
      "account": self.account,
    }
    arguments = [f"--{name}={value}" for name, value in options.items() if value is not None]
    values = {
      "processes_per_node": self.processes_per_node,
      "options": [f"#SBATCH {shlex.quote(option)}" for option in (*arguments, *self.sbatch)],
      "current_folder": job.folder,
      "log": f"{logs.replace('%', '%%')}/%j.log",  # sbatch expands %j to the job's number
      "train": (job.python, "-m", "audiopalm", *job.train(f"{folder}/")),
    }
    text = self.fill("slurm.sbatch", job, folder, values)
    files = {script: text, **job.files(folder)}
    return Launch(files, ("sbatch", str(script)), (Path(logs),))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TpuVm(SubmittedPlace):
  """A Cloud TPU that a script requests and deletes."""

  accelerator: str
  runtime: str
  zone: str
  project: str
  bucket: str
  package: str
  spot: bool = False
  remote: ClassVar[bool] = True

  def check(self) -> None:
    _check_bucket(self.bucket)
    _match("accelerator", self.accelerator, TPU, "a type of Cloud TPU, as in v6e-16 or v5p-128")

  @property
  def hardware(self) -> Hardware:
    kind, count = re.fullmatch(TPU, self.accelerator).groups()
    return Hardware("tpu", int(count) // (2 if kind in TYPES_BY_CORE else 1), None)

  def render(self, job: TrainingJob, folder: Path) -> Launch:
    script = folder / "tpu_vm.sh"
    wheel, package = _package(self.package)
    values = {
      "spot": "--spot" if self.spot else "",
      "wheel": wheel,
      "package": package,
      "bucket": self.bucket.removeprefix("gs://").rstrip("/"),
      "train": job.train(""),
      "machine": [f'copy "$here/{MACHINE}" audiopalm/{MACHINE} || return'] if job.machine else [],
    }
    text = self.fill("tpu_vm.sh", job, folder, values)
    return Launch({script: text, **job.files(folder)}, ("bash", str(script)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gke(SubmittedPlace):
  """A JobSet on Google Kubernetes Engine: on TPUs with a topology, else on GPUs."""

  nodes: int
  accelerator: str
  topology: str | None = None
  chips_per_node: int = 4
  gpus_per_node: int = 0
  image: str
  claim: str
  namespace: str | None = None
  spot: bool = False
  remote: ClassVar[bool] = True

  def check(self) -> None:
    if (self.topology is None) == (self.gpus_per_node < 1):
      raise ConfigError(
        "On GKE give either --topology (4x4, ...) for TPUs or --gpus-per-node for GPUs."
      )
    if self.topology is None:
      return
    _match("topology", self.topology, r"\d+(x\d+){1,2}", "a shape such as 4x4 or 2x2x4")
    chips = math.prod(map(int, self.topology.split("x")))
    if chips != self.nodes * self.chips_per_node:
      raise ConfigError(
        f"--topology {self.topology} has {chips} chips, but {self.nodes} nodes of "
        f"{self.chips_per_node} have {self.nodes * self.chips_per_node}: change --nodes or "
        "--chips-per-node."
      )

  @property
  def hardware(self) -> Hardware:
    platform = "gpu" if self.topology is None else "tpu"
    return Hardware(platform, self.nodes * self._devices_per_node, self.nodes)

  @property
  def _devices_per_node(self) -> int:
    return self.gpus_per_node if self.topology is None else self.chips_per_node

  def render(self, job: TrainingJob, folder: Path) -> Launch:
    manifest, index = folder / "gke.yaml", []
    if self.topology is not None:
      annotations = [
        "annotations:",
        "  # All pods in one node pool, which is one TPU slice.",
        "  alpha.jobset.sigs.k8s.io/exclusive-topology: cloud.google.com/gke-nodepool",
      ]
      selector = {"gke-tpu-accelerator": self.accelerator, "gke-tpu-topology": self.topology}
      # JAX reads the addresses of a slice's pods from variables that GKE sets.
      coordinator = ("--coordinator-address", "auto")
    else:
      annotations, selector = [], {"gke-accelerator": self.accelerator}
      address = f"{job.name}-train-0-0.{job.name}:{PORT}"
      coordinator = ("--coordinator-address", address, "--num-processes", str(self.nodes))
      index = ["--process-id", "$(JOB_COMPLETION_INDEX)"]
    if self.spot:
      selector["gke-spot"] = "true"
    words = ("audiopalm", *job.train("/config/"), *coordinator)
    machine = (job.machine or "").splitlines()
    values = {
      "config": job.config.splitlines(),
      "machine": [f"{MACHINE}: |", *(f"  {line}" for line in machine)] if machine else [],
      "annotations": annotations,
      "node_selector": [
        f"cloud.google.com/{label}: {json.dumps(value)}" for label, value in selector.items()
      ],
      "command": [word.replace("$", "$$") for word in words] + index,  # $(NAME) would be expanded
      "resource": "nvidia.com/gpu" if self.topology is None else "google.com/tpu",
      "devices": self._devices_per_node,
    }
    text = self.fill("gke.yaml", job, folder, values)
    namespace = () if self.namespace is None else ("--namespace", self.namespace)
    return Launch({manifest: text}, ("kubectl", "apply", *namespace, "-f", str(manifest)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SkyPilot(SubmittedPlace):
  """A managed job of SkyPilot, on any cloud that has machines available."""

  nodes: int
  accelerator: str
  bucket: str
  package: str
  spot: bool = False
  remote: ClassVar[bool] = True

  def check(self) -> None:
    _check_bucket(self.bucket)
    _match(
      "accelerator", self.accelerator, r"[^:]+(:[1-9]\d*)?", "KIND:NUMBER per node, as in H100:8"
    )

  @property
  def hardware(self) -> Hardware:
    count = self.accelerator.partition(":")[2] or "1"
    return Hardware("gpu", self.nodes * int(count), self.nodes)

  def render(self, job: TrainingJob, folder: Path) -> Launch:
    task = folder / "skypilot.yaml"
    wheel, package = _package(self.package)
    mounts = {path.name: str(path) for path in job.files(folder)}
    mounts |= {Path(wheel).name: wheel} if wheel else {}
    values = {
      "files": [
        f"{json.dumps(f'~/audiopalm/{name}')}: {json.dumps(path)}" for name, path in mounts.items()
      ],
      "package": package,
      "train": job.train(""),
    }
    text = self.fill("skypilot.yaml", job, folder, values)
    command = ("sky", "jobs", "launch", "--yes", "--name", job.name, str(task))
    return Launch({task: text, **job.files(folder)}, command)


def _seconds(time: str) -> int:
  """Returns the seconds of a time in SLURM's format: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S."""
  days, *rest = _match(
    "time", time, r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?",
    "a time in SLURM's format, as in 1-12:00:00",
  ).groups()  # fmt: skip
  numbers = [int(number) for number in rest if number is not None]
  if days is None and len(numbers) < 3:
    numbers = [0, *numbers]
  hours, minutes, seconds = (numbers + [0, 0])[:3]
  return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def _check_bucket(bucket: str) -> None:
  if not re.fullmatch(r"gs://[a-z0-9][a-z0-9._-]*/?", bucket):
    raise ConfigError(
      f"--bucket takes gs://NAME, not {bucket!r}. A run renames folders and appends to files, and "
      "mounts of other object stores support neither."
    )


def _package(requirement: str) -> tuple[str, str]:
  """Returns (the wheel to copy, "" for none; the requirement that pip installs)."""
  path, bracket, extras = requirement.partition("[")
  if not path.endswith(".whl") or "://" in path:
    return "", requirement
  return str(Path(path).absolute()), f"./{Path(path).name}{bracket}{extras}"


PLACES: dict[str, type[LaunchPlace]] = {
  "local": LocalProcesses, "slurm": Slurm, "tpu_vm": TpuVm, "gke": Gke, "skypilot": SkyPilot
}  # fmt: skip
