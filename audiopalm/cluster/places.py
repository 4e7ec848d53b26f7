"""Where training can be launched: the settings of each place, each field a command-line option.

`help` and `metavar` in a field's metadata are those of its option. A field without a default is a
required option.
"""

import abc
import dataclasses
import math
import re
from typing import Any, ClassVar, Literal

from audiopalm.errors import ConfigError

STORAGE = "/storage"  # where machines of a cloud mount their shared storage
SLURM_EARLY_S = 60  # SLURM may send a signal this much earlier than requested
MIN_TRAINING_S = 300
TPU = r"(v\d+[a-z]*)-(\d+)"  # a type of Cloud TPU
TYPES_BY_CORE = ("v2", "v3", "v4", "v5p")  # these types count cores, two per chip


@dataclasses.dataclass(frozen=True)
class Hardware:
  """The devices a place provides: their platform ("cpu", "gpu" or "tpu"), their number, and the
  number of processes, None where it follows from the type of TPU."""

  platform: str
  devices: int
  processes: int | None


def _option(help: str, metavar: str | None = None, least: int | None = None, **default: Any) -> Any:
  return dataclasses.field(metadata={"help": help, "metavar": metavar, "least": least}, **default)


def _nodes() -> int:
  return _option("number of machines; each runs one process unless --per says otherwise", "N", 1)


def _gpus_per_node() -> int:
  return _option("GPUs of each node (default: 0)", "N", 0, default=0)


def _accelerator() -> str:
  return _option("type of device, by its name in that place", "KIND")


def _restarts() -> int:
  return _option(
    "maximum restarts in a row after a hang or a crash (default: 3); restarts after SIGTERM are "
    "unlimited",
    "N",
    0,
    default=3,
  )


def _spot() -> bool:
  return _option("use preemptible machines, which are cheaper", default=False)


def _bucket() -> str:
  return _option(
    f"Cloud Storage bucket with the workdir, mounted at {STORAGE} on each machine; it needs a "
    "hierarchical namespace, see docs/launch.md",
    "gs://NAME",
  )


def _package() -> str:
  return _option(
    "what pip installs on each machine: a wheel of audiopalm, which is copied there, or any other "
    "requirement, with extras, as in dist/audiopalm-0.1.0-py3-none-any.whl[data,tpu]",
    "WHEEL",
  )


def option(name: str) -> str:
  """Returns the option of a field."""
  return f"--{name.replace('_', '-')}"


def _match(name: str, value: str, pattern: str, expected: str) -> re.Match:
  match = re.fullmatch(pattern, value)
  if match is None:
    raise ConfigError(f"{option(name)} takes {expected}, not {value!r}.")
  return match


@dataclasses.dataclass(frozen=True, kw_only=True)
class LaunchPlace(abc.ABC):
  """Settings of a place. `remote` is True where its machines do not share this machine's disks."""

  remote: ClassVar[bool] = False

  def __post_init__(self):
    for field in dataclasses.fields(self):
      value, least = getattr(self, field.name), field.metadata["least"]
      if least is not None and value is not None and value < least:
        raise ConfigError(
          f"{option(field.name)} takes a whole number of at least {least}, not {value}."
        )
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

  num_processes: int = _option("number of processes", "N", 1)
  devices_per_process: int | None = _option("CPU devices of each process", "N", 1, default=None)
  gpus_per_process: int | None = _option(
    "GPUs of each process, assigned from CUDA_VISIBLE_DEVICES in order", "N", 1, default=None
  )

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
class Slurm(LaunchPlace):
  """A batch job that requeues itself."""

  nodes: int = _nodes()
  gpus_per_node: int = _gpus_per_node()
  per: Literal["node", "gpu"] = _option(
    "one process for each 'node', with all of its GPUs, or for each 'gpu' (default: node)",
    default="node",
  )
  partition: str | None = _option("SLURM partition", "NAME", default=None)
  time: str | None = _option("time limit in SLURM's format: 1-12:00:00", "TIME", default=None)
  account: str | None = _option("account to charge", "NAME", default=None)
  warn_s: int = _option(
    "seconds before the time limit at which training must save (default: 300); the save must "
    "finish in this time, or SLURM does not requeue the job",
    "S",
    1,
    default=300,
  )
  restarts: int = _restarts()
  sbatch: tuple[str, ...] = _option(
    "any other option of sbatch, as in --sbatch=--mem=0; repeatable", "OPTION", default=()
  )

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class TpuVm(LaunchPlace):
  """A Cloud TPU that a script requests and deletes."""

  accelerator: str = _accelerator()
  runtime: str = _option("TPU software version: v2-alpha-tpuv6e, ...", "VERSION")
  zone: str = _option("Google Cloud zone", "ZONE")
  project: str = _option("Google Cloud project to charge", "PROJECT")
  bucket: str = _bucket()
  package: str = _package()
  spot: bool = _spot()
  restarts: int = _restarts()
  remote: ClassVar[bool] = True

  def check(self) -> None:
    _check_bucket(self.bucket)
    _match("accelerator", self.accelerator, TPU, "a type of Cloud TPU, as in v6e-16 or v5p-128")

  @property
  def hardware(self) -> Hardware:
    kind, count = re.fullmatch(TPU, self.accelerator).groups()
    return Hardware("tpu", int(count) // (2 if kind in TYPES_BY_CORE else 1), None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gke(LaunchPlace):
  """A JobSet on Google Kubernetes Engine: on TPUs with a topology, else on GPUs."""

  nodes: int = _nodes()
  accelerator: str = _accelerator()
  topology: str | None = _option("shape of the TPU slice: 4x4, 2x2x4, ...", "SHAPE", default=None)
  chips_per_node: int = _option("TPU chips of each node (default: 4)", "N", 1, default=4)
  gpus_per_node: int = _gpus_per_node()
  image: str = _option("container image, built from launch/Dockerfile", "IMAGE")
  claim: str = _option(
    f"persistent volume claim (ReadWriteMany) with the workdir, mounted at {STORAGE}", "NAME"
  )
  namespace: str | None = _option("Kubernetes namespace", "NAME", default=None)
  spot: bool = _spot()
  restarts: int = _restarts()
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
    if self.topology is None:
      return Hardware("gpu", self.nodes * self.gpus_per_node, self.nodes)
    return Hardware("tpu", self.nodes * self.chips_per_node, self.nodes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SkyPilot(LaunchPlace):
  """A managed job of SkyPilot, on any cloud that has machines available."""

  nodes: int = _nodes()
  accelerator: str = _accelerator()
  bucket: str = _bucket()
  package: str = _package()
  spot: bool = _spot()
  restarts: int = _restarts()
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


PLACES: dict[str, type[LaunchPlace]] = {
  "local": LocalProcesses, "slurm": Slurm, "tpu_vm": TpuVm, "gke": Gke, "skypilot": SkyPilot
}  # fmt: skip
