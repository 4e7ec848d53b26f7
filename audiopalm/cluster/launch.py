"""Renders the files that launch training in a place. Nothing is written or run here.

The templates are in launch/. `{{name}}` stands for a value, which is quoted here as its file
requires; a line that holds only `{{name}}` stands for any number of lines.
"""

import dataclasses
import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from audiopalm.cluster import places
from audiopalm.errors import ConfigError

# Inside the installed package, or beside it in a checkout.
_PACKAGE = Path(__file__).parents[1]
TEMPLATES = (_PACKAGE / "launch", _PACKAGE.parent / "launch")

CONFIG, MACHINE = "config.json", "machine.json"
PORT = 8482  # of the coordinator, on machines that run nothing else

Value = str | int | Sequence[str]


@dataclasses.dataclass(frozen=True)
class TrainingJob:
  """What to launch, in any place.

  `config` is the experiment as JSON, and `machine` the contents of a machine file, None without
  one. Both are read and checked before the launch, so later changes of their files have no effect.
  `options` are further options of `audiopalm train`. `python` and `folder` are paths of this
  machine, for places that share its disks.
  """

  name: str
  workdir: str
  config: str
  options: tuple[str, ...]
  python: str
  folder: str
  machine: str | None = None

  def __post_init__(self):
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", self.name):
      raise ConfigError(
        f"A job name has at most 40 lower-case letters, digits and dashes and begins with a "
        f"letter, as clouds require, not {self.name!r}. Give another by --name."
      )

  def train(self, prefix: str) -> tuple[str, ...]:
    """Returns the arguments of `audiopalm`; `prefix` begins the paths of its files there."""
    machine = ("--machine", f"{prefix}{MACHINE}") if self.machine else ()
    return ("train", f"{prefix}{CONFIG}", *self.options, *machine)

  def files(self, folder: Path) -> dict[Path, str]:
    """Returns the config, and the machine if it came from a file, as files in `folder`."""
    machine = {folder / MACHINE: self.machine} if self.machine else {}
    return {folder / CONFIG: self.config, **machine}

  @property
  def compilation_cache(self) -> str:
    """The folder of compiled programs, which a restart reads."""
    return f"{self.workdir}/compiled"


@dataclasses.dataclass(frozen=True)
class Launch:
  """The files of a job, the command that submits them, and folders that must exist before."""

  files: Mapping[Path, str]
  command: tuple[str, ...]
  folders: tuple[Path, ...] = ()


def render(job: TrainingJob, place: places.LaunchPlace, folder: Path) -> Launch:
  """Returns the files that launch a job, with paths in `folder`, and the command to submit them."""
  _check_printable(
    *dataclasses.astuple(place), job.workdir, job.options, job.python, job.folder, folder
  )
  return _RENDER[type(place)](job, place, folder)


def fill(name: str, values: Mapping[str, Value]) -> str:
  """Returns a template with its values inserted."""
  lines = []
  for line in template(name).splitlines():
    alone = re.fullmatch(r"( *)\{\{(\w+)\}\}", line)
    if alone:
      lines += [alone[1] + inserted for inserted in values[alone[2]]]
    else:
      lines.append(re.sub(r"\{\{(\w+)\}\}", lambda match: str(values[match[1]]), line))
  return "\n".join(lines) + "\n"


def template(name: str) -> str:
  """Returns the text of a file in launch/."""
  folder = next(filter(Path.is_dir, TEMPLATES), TEMPLATES[0])
  return (folder / name).read_text(encoding="utf-8")


def _slurm(job: TrainingJob, place: places.Slurm, folder: Path) -> Launch:
  script = folder / "train.sbatch"
  options = {
    "gpus-per-node": place.gpus_per_node or None,
    "partition": place.partition,
    "time": place.time,
    "account": place.account,
  }
  arguments = [f"--{name}={value}" for name, value in options.items() if value is not None]
  logs = f"{job.workdir}/logs".replace("%", "%%")  # sbatch expands %j to the job's number
  text = fill(
    "slurm.sbatch",
    {
      "name": job.name,
      "nodes": place.nodes,
      "processes_per_node": place.processes_per_node,
      "gpus_per_node": place.gpus_per_node,
      "options": [f"#SBATCH {shlex.quote(option)}" for option in (*arguments, *place.sbatch)],
      "folder": shlex.quote(job.folder),
      "log": shlex.quote(f"{logs}/%j.log"),
      "warn_s": place.warn_s,
      "restarts": place.restarts,
      "workdir": shlex.quote(job.workdir),
      "train": shlex.join((job.python, "-m", "audiopalm", *job.train(f"{folder}/"))),
    },
  )
  files = {script: text, **job.files(folder)}
  return Launch(files, ("sbatch", str(script)), (Path(job.workdir, "logs"),))


def _tpu_vm(job: TrainingJob, place: places.TpuVm, folder: Path) -> Launch:
  script = folder / "tpu_vm.sh"
  wheel, package = _package(place.package)
  text = fill(
    "tpu_vm.sh",
    {
      "name": job.name,
      "project": shlex.quote(place.project),
      "zone": shlex.quote(place.zone),
      "accelerator": shlex.quote(place.accelerator),
      "runtime": shlex.quote(place.runtime),
      "spot": "--spot" if place.spot else "",
      "wheel": shlex.quote(wheel),
      "package": shlex.quote(package),
      "bucket": shlex.quote(place.bucket.removeprefix("gs://").rstrip("/")),
      "storage": places.STORAGE,
      "train": shlex.join(job.train("")),
      "cache": shlex.quote(job.compilation_cache),
      "restarts": place.restarts,
      "machine": [f'copy "$here/{MACHINE}" audiopalm/{MACHINE} || return'] if job.machine else [],
    },
  )
  return Launch({script: text, **job.files(folder)}, ("bash", str(script)))


def _gke(job: TrainingJob, place: places.Gke, folder: Path) -> Launch:
  manifest = folder / "gke.yaml"
  tpu = place.topology is not None
  if tpu:
    annotations = [
      "annotations:",
      "  # All pods in one node pool, which is one TPU slice.",
      "  alpha.jobset.sigs.k8s.io/exclusive-topology: cloud.google.com/gke-nodepool",
    ]
    selector = {"gke-tpu-accelerator": place.accelerator, "gke-tpu-topology": place.topology}
    # JAX reads the addresses of a slice's pods from variables that GKE sets.
    coordinator = ("--coordinator-address", "auto")
  else:
    annotations = []
    selector = {"gke-accelerator": place.accelerator}
    address = f"{job.name}-train-0-0.{job.name}:{PORT}"
    coordinator = ("--coordinator-address", address, "--num-processes", str(place.nodes))
  if place.spot:
    selector["gke-spot"] = "true"
  words = ("audiopalm", *job.train("/config/"), *coordinator)
  command = [word.replace("$", "$$") for word in words]  # Kubernetes would expand $(NAME)
  command += [] if tpu else ["--process-id", "$(JOB_COMPLETION_INDEX)"]
  machine = (job.machine or "").splitlines()
  text = fill(
    "gke.yaml",
    {
      "name": job.name,
      "config": job.config.splitlines(),
      "machine": [f"{MACHINE}: |", *(f"  {line}" for line in machine)] if machine else [],
      "annotations": annotations,
      "node_selector": [
        f"cloud.google.com/{label}: {json.dumps(value)}" for label, value in selector.items()
      ],
      "nodes": place.nodes,
      "restarts": place.restarts,
      "image": json.dumps(place.image),
      "command": json.dumps(command),
      "cache": json.dumps(job.compilation_cache),
      "resource": "google.com/tpu" if tpu else "nvidia.com/gpu",
      "devices": place.chips_per_node if tpu else place.gpus_per_node,
      "storage": places.STORAGE,
      "claim": json.dumps(place.claim),
    },
  )
  namespace = () if place.namespace is None else ("--namespace", place.namespace)
  return Launch({manifest: text}, ("kubectl", "apply", *namespace, "-f", str(manifest)))


def _skypilot(job: TrainingJob, place: places.SkyPilot, folder: Path) -> Launch:
  task = folder / "skypilot.yaml"
  wheel, package = _package(place.package)
  mounts = {path.name: str(path) for path in job.files(folder)}
  if wheel:
    mounts[Path(wheel).name] = wheel
  text = fill(
    "skypilot.yaml",
    {
      "name": job.name,
      "nodes": place.nodes,
      "accelerator": json.dumps(place.accelerator),
      "spot": json.dumps(place.spot),
      "restarts": place.restarts,
      "storage": places.STORAGE,
      "bucket": json.dumps(place.bucket),
      "files": [
        f"{json.dumps(f'~/audiopalm/{name}')}: {json.dumps(path)}" for name, path in mounts.items()
      ],
      "package": shlex.quote(package),
      "train": shlex.join(job.train("")),
      "cache": shlex.quote(job.compilation_cache),
    },
  )
  command = ("sky", "jobs", "launch", "--yes", "--name", job.name, str(task))
  return Launch({task: text, **job.files(folder)}, command)


_RENDER: dict[type[places.LaunchPlace], Callable[..., Launch]] = {
  places.Slurm: _slurm,
  places.TpuVm: _tpu_vm,
  places.Gke: _gke,
  places.SkyPilot: _skypilot,
}


def _package(requirement: str) -> tuple[str, str]:
  """Returns (the wheel to copy, '' for none, what pip installs)."""
  path, bracket, extras = requirement.partition("[")
  if not path.endswith(".whl") or "://" in path:
    return "", requirement
  return str(Path(path).absolute()), f"./{Path(path).name}{bracket}{extras}"


def _check_printable(*values: object) -> None:
  for value in values:
    for text in value if isinstance(value, tuple) else (value,):
      if not str(text).isprintable():
        raise ConfigError(
          f"{str(text)!r} holds a line break or another control character, which a script cannot "
          "keep: choose another name."
        )
