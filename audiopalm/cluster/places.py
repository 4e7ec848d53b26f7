"""Where training can be launched: the settings of each place, each field an option of the command.

`help` and `metavar` of a field are its option's. A field without a default has to be given.
"""

import dataclasses
import math
import re
from typing import Any, ClassVar, Literal

from audiopalm.errors import ConfigError

STORAGE = "/storage"  # where machines of a cloud mount what they share
SLURM_EARLY_S = 60  # how much earlier than asked SLURM may send a signal
LEAST_S = 300
TPU = r"(v\d+[a-z]*)-(\d+)"  # a type of Cloud TPU
BY_CORE = ("v2", "v3", "v4", "v5p")  # whose types count cores, two a chip


@dataclasses.dataclass(frozen=True)
class Hardware:
  """What a place gives a run: "cpu", "gpu" or "tpu", so many devices over so many processes (None:
  as many as the machines of a TPU)."""

  platform: str
  devices: int
  processes: int | None


def _option(help: str, metavar: str | None = None, **default: Any) -> Any:
  return dataclasses.field(metadata={"help": help, "metavar": metavar}, **default)


def _nodes() -> int:
  return _option("how many machines, one process on each unless --per says otherwise", "N")


def _restarts() -> int:
  return _option(
    "how often in a row it is started again after a hang or a crash (default: 3); after SIGTERM it "
    "always is",
    "N",
    default=3,
  )


def _spot() -> bool:
  return _option("machines that are cheap and may be taken away at any time", default=False)


def _bucket() -> str:
  return _option(
    "the bucket of Cloud Storage with the workdir, mounted at "
    f"{STORAGE} on each machine; with a hierarchical namespace, as docs/launch.md explains",
    "gs://NAME",
  )


def _package() -> str:
  return _option(
    "what pip installs on each machine: a wheel of audiopalm, which is copied there, or anything "
    "else that pip takes; with extras, as in dist/audiopalm-1.0-py3-none-any.whl[data,tpu]",
    "WHEEL",
  )


def _at_least(least: int, place: Any, *names: str) -> None:
  for name in names:
    value = getattr(place, name)
    if value is not None and value < least:
      raise ConfigError(f"{option(name)} takes a whole number of at least {least}, not {value}.")


def option(name: str) -> str:
  """Returns the option of a field."""
  return f"--{name.replace('_', '-')}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Local:
  """Several processes on this machine."""

  num_processes: int = _option("how many processes", "N")
  devices_per_process: int | None = _option("CPU devices of each process", "N", default=None)
  gpus_per_process: int | None = _option(
    "GPUs of each process, taken from CUDA_VISIBLE_DEVICES in turn", "N", default=None
  )
  remote: ClassVar[bool] = False

  def __post_init__(self):
    _at_least(1, self, "num_processes", "devices_per_process", "gpus_per_process")
    if self.devices_per_process and self.gpus_per_process:
      raise ConfigError(
        "--devices-per-process makes devices of a CPU and --gpus-per-process hands out GPUs: give "
        "one of them."
      )

  @property
  def hardware(self) -> Hardware:
    each = self.gpus_per_process or self.devices_per_process or 1
    platform = "gpu" if self.gpus_per_process else "cpu"
    return Hardware(platform, self.num_processes * each, self.num_processes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slurm:
  """A batch job that requeues itself."""

  nodes: int = _nodes()
  gpus_per_node: int = _option("GPUs of each node (default: 0)", "N", default=0)
  per: Literal["node", "gpu"] = _option(
    "one process for each 'node', with all of its GPUs, or for each 'gpu' (default: node)",
    default="node",
  )
  partition: str | None = _option("the partition", "NAME", default=None)
  time: str | None = _option("the time limit, as SLURM writes it: 1-12:00:00", "TIME", default=None)
  account: str | None = _option("the account that pays", "NAME", default=None)
  warn_s: int = _option(
    "seconds before the time limit at which training is told to save (default: 300); a save has to "
    "fit in, or the job ends for good",
    "S",
    default=300,
  )
  restarts: int = _restarts()
  sbatch: tuple[str, ...] = _option(
    "any other option of sbatch, as in --sbatch=--mem=0; may be repeated", "OPTION", default=()
  )
  remote: ClassVar[bool] = False

  def __post_init__(self):
    _at_least(1, self, "nodes", "warn_s")
    _at_least(0, self, "gpus_per_node", "restarts")
    if self.warn_s >= 2**16:
      raise ConfigError(f"--warn-s takes at most 65535 seconds, as SLURM does, not {self.warn_s}.")
    seconds = math.inf if self.time is None else _seconds(self.time)
    if seconds < self.warn_s + SLURM_EARLY_S + LEAST_S:
      raise ConfigError(
        f"--time {self.time} leaves less than {LEAST_S} s to train in before SLURM asks to save: "
        f"--warn-s {self.warn_s} s before the end, and up to {SLURM_EARLY_S} s earlier. Give more "
        "time, or a smaller --warn-s."
      )
    if self.per == "gpu" and not self.gpus_per_node:
      raise ConfigError("--per gpu starts a process for each GPU: say how many by --gpus-per-node.")
    for given in self.sbatch:
      if not re.fullmatch(r"--[a-z][a-z-]*(=.*)?", given):
        raise ConfigError(
          f"--sbatch takes one option of sbatch in its long form, as in --sbatch=--mem=0, not "
          f"{given!r}."
        )

  @property
  def processes_per_node(self) -> int:
    return self.gpus_per_node if self.per == "gpu" else 1

  @property
  def hardware(self) -> Hardware:
    platform = "gpu" if self.gpus_per_node else "cpu"
    devices = self.nodes * (self.gpus_per_node or 1)
    return Hardware(platform, devices, self.nodes * self.processes_per_node)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TpuVm:
  """A Cloud TPU, asked for and given back by a script."""

  accelerator: str = _option("the kind of device, by the name it has in that place", "KIND")
  runtime: str = _option("the TPU's software version: v2-alpha-tpuv6e, ...", "VERSION")
  zone: str = _option("the zone", "ZONE")
  project: str = _option("the project that pays", "PROJECT")
  bucket: str = _bucket()
  package: str = _package()
  spot: bool = _spot()
  restarts: int = _restarts()
  remote: ClassVar[bool] = True

  def __post_init__(self):
    _at_least(0, self, "restarts")
    _check_bucket(self.bucket)
    if not re.fullmatch(TPU, self.accelerator):
      raise ConfigError(
        f"--accelerator takes a type of Cloud TPU, as in v6e-16 or v5p-128, not "
        f"{self.accelerator!r}."
      )

  @property
  def hardware(self) -> Hardware:
    kind, count = re.fullmatch(TPU, self.accelerator).groups()
    return Hardware("tpu", int(count) // (2 if kind in BY_CORE else 1), None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gke:
  """A JobSet on Google Kubernetes Engine: on TPUs with a topology, else on GPUs."""

  nodes: int = _nodes()
  accelerator: str = _option("the kind of device, by the name it has in that place", "KIND")
  topology: str | None = _option("the TPU slice: 4x4, 2x2x4, ...", "SHAPE", default=None)
  chips_per_node: int = _option("TPU chips of each node (default: 4)", "N", default=4)
  gpus_per_node: int = _option("GPUs of each node (default: 0)", "N", default=0)
  image: str = _option("the container image, made from launch/docker", "IMAGE")
  claim: str = _option(
    f"the persistent volume claim (ReadWriteMany) with the workdir, mounted at {STORAGE}", "NAME"
  )
  namespace: str | None = _option("the namespace", "NAME", default=None)
  spot: bool = _spot()
  restarts: int = _restarts()
  remote: ClassVar[bool] = True

  def __post_init__(self):
    _at_least(1, self, "nodes", "chips_per_node")
    _at_least(0, self, "gpus_per_node", "restarts")
    if (self.topology is None) == (self.gpus_per_node < 1):
      raise ConfigError(
        "On GKE give --topology (4x4, ...) for TPUs or --gpus-per-node for GPUs, one of them."
      )
    if self.topology is None:
      return
    if not re.fullmatch(r"\d+(x\d+){1,2}", self.topology):
      raise ConfigError(f"--topology takes a shape such as 4x4 or 2x2x4, not {self.topology!r}.")
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
class SkyPilot:
  """A managed job of SkyPilot, on whichever cloud has room."""

  nodes: int = _nodes()
  accelerator: str = _option("the kind of device, by the name it has in that place", "KIND")
  bucket: str = _bucket()
  package: str = _package()
  spot: bool = _spot()
  restarts: int = _restarts()
  remote: ClassVar[bool] = True

  def __post_init__(self):
    _at_least(1, self, "nodes")
    _at_least(0, self, "restarts")
    _check_bucket(self.bucket)
    if not re.fullmatch(r"[^:]+(:[1-9]\d*)?", self.accelerator):
      raise ConfigError(
        f"--accelerator takes KIND:NUMBER of each node, as in H100:8, not {self.accelerator!r}."
      )

  @property
  def hardware(self) -> Hardware:
    count = self.accelerator.partition(":")[2] or "1"
    return Hardware("gpu", self.nodes * int(count), self.nodes)


def _seconds(time: str) -> int:
  """Returns the seconds in a time as SLURM writes it: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S."""
  found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", time)
  if found is None:
    raise ConfigError(f"--time takes a time as SLURM writes it, as in 1-12:00:00, not {time!r}.")
  days, *rest = found.groups()
  numbers = [int(each) for each in rest if each is not None]
  if days is None and len(numbers) < 3:
    numbers = [0, *numbers]
  hours, minutes, seconds = (numbers + [0, 0])[:3]
  return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def _check_bucket(bucket: str) -> None:
  if not re.fullmatch(r"gs://[a-z0-9][a-z0-9._-]*/?", bucket):
    raise ConfigError(
      f"--bucket takes gs://NAME, not {bucket!r}. A workdir has folders that are renamed and files "
      "that grow, which mounts of other object stores refuse."
    )


PLACES = {"local": Local, "slurm": Slurm, "tpu_vm": TpuVm, "gke": Gke, "skypilot": SkyPilot}
