"""The files that start training in a place: settings in, text out. Nothing is written or run here.

They are made from the templates in launch/, where `{{name}}` is a value, quoted as that file needs
it, and a line of nothing but `{{name}}` is any number of lines.
"""

import dataclasses
import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from audiopalm.cluster import places
from audiopalm.errors import ConfigError

# Installed inside the package; in a checkout beside it.
_PACKAGE = Path(__file__).parents[1]
TEMPLATES = (_PACKAGE / "launch", _PACKAGE.parent / "launch")

CONFIG, MACHINE = "config.json", "machine.json"
PORT = 8482  # of process 0, on machines that run nothing else

Value = str | int | Sequence[str]


@dataclasses.dataclass(frozen=True)
class Job:
  """What is started, wherever that is.

  `config` is the JSON of the experiment, and `machine` that of a machine which came from a file: as
  both were read and checked here they are trained there.
  `options` are those of `audiopalm train` beside it. `python` and `folder` are this machine's, for
  places that share its disks.
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
        f"A job is called by at most 40 small letters, digits and dashes, from a letter on, not "
        f"{self.name!r}: clouds allow no other names. Give one by --name."
      )


@dataclasses.dataclass(frozen=True)
class Launch:
  """What a job becomes: files, the command that submits them, folders that have to be there."""

  files: Mapping[Path, str]
  command: tuple[str, ...]
  folders: tuple[Path, ...] = ()


def render(job: Job, place: object, folder: Path) -> Launch:
  """Returns the files that start a job, in `folder`, and what submits them."""
  _check_lines(
    *dataclasses.astuple(place), job.workdir, job.options, job.python, job.folder, folder
  )
  return _RENDER[type(place)](job, place, folder)


def fill(name: str, values: Mapping[str, Value]) -> str:
  """Returns a template with its values put in, as they are."""
  lines = []
  for line in template(name).splitlines():
    alone = re.fullmatch(r"( *)\{\{(\w+)\}\}", line)
    if alone:
      lines += [alone[1] + each for each in values[alone[2]]]
    else:
      lines.append(re.sub(r"\{\{(\w+)\}\}", lambda found: str(values[found[1]]), line))
  return "\n".join(lines) + "\n"


def template(name: str) -> str:
  """Returns the text of a file in launch/."""
  folder = next(filter(Path.is_dir, TEMPLATES), TEMPLATES[0])
  return (folder / name).read_text(encoding="utf-8")


def _slurm(job: Job, place: places.Slurm, folder: Path) -> Launch:
  script = folder / "train.sbatch"
  options = {
    "gpus-per-node": place.gpus_per_node or None,
    "partition": place.partition,
    "time": place.time,
    "account": place.account,
  }
  given = [f"--{name}={value}" for name, value in options.items() if value is not None]
  logs = f"{job.workdir}/logs".replace("%", "%%")  # sbatch puts the job's number for %j
  train = (
    job.python,
    "-m",
    "audiopalm",
    "train",
    str(folder / CONFIG),
    *_options(job, f"{folder}/"),
  )
  text = fill(
    "slurm.sbatch",
    {
      "name": job.name,
      "nodes": place.nodes,
      "processes_per_node": place.processes_per_node,
      "gpus_per_node": place.gpus_per_node,
      "options": [f"#SBATCH {shlex.quote(each)}" for each in (*given, *place.sbatch)],
      "folder": shlex.quote(job.folder),
      "log": shlex.quote(f"{logs}/%j.log"),
      "warn_s": place.warn_s,
      "restarts": place.restarts,
      "workdir": shlex.quote(job.workdir),
      "train": shlex.join(train),
    },
  )
  files = {script: text, **_files(job, folder)}
  return Launch(files, ("sbatch", str(script)), (Path(job.workdir, "logs"),))


def _tpu_vm(job: Job, place: places.TpuVm, folder: Path) -> Launch:
  script = folder / "tpu_vm.sh"
  wheel, package = _package(place.package)
  here = {
    "name": job.name,
    "project": shlex.quote(place.project),
    "zone": shlex.quote(place.zone),
    "accelerator": shlex.quote(place.accelerator),
    "runtime": shlex.quote(place.runtime),
    "spot": "--spot" if place.spot else "",
    "wheel": shlex.quote(wheel),
    "machine": [f'copy "$here/{MACHINE}" audiopalm/{MACHINE} || return'] if job.machine else [],
    "restarts": place.restarts,
  }
  there = {
    "bucket": shlex.quote(place.bucket.removeprefix("gs://").rstrip("/")),
    "storage": places.STORAGE,
    "package": shlex.quote(package),
    "train": shlex.join(("train", CONFIG, *_options(job, ""))),
    "cache": shlex.quote(_cache(job)),
  }
  files = {
    script: fill("tpu_vm.sh", here),
    folder / "tpu_vm_worker.sh": fill("tpu_vm_worker.sh", there),
    **_files(job, folder),
  }
  return Launch(files, ("bash", str(script)))


def _gke(job: Job, place: places.Gke, folder: Path) -> Launch:
  manifest = folder / "gke.yaml"
  tpu = place.topology is not None
  if tpu:
    annotations = [
      "annotations:",
      "  # All pods in one node pool: that is one slice.",
      "  alpha.jobset.sigs.k8s.io/exclusive-topology: cloud.google.com/gke-nodepool",
    ]
    selector = {"gke-tpu-accelerator": place.accelerator, "gke-tpu-topology": place.topology}
    # GKE tells each pod of a slice who the others are, and JAX finds it out.
    meeting = ("--coordinator-address", "auto")
  else:
    annotations = []
    selector = {"gke-accelerator": place.accelerator}
    first = f"{job.name}-train-0-0.{job.name}"
    meeting = (
      "--coordinator-address",
      f"{first}:{PORT}",
      "--num-processes",
      str(place.nodes),
      "--process-id",
    )
  if place.spot:
    selector["gke-spot"] = "true"
  train = ("audiopalm", "train", f"/config/{CONFIG}", *_options(job, "/config/"), *meeting)
  command = [each.replace("$", "$$") for each in train]  # Kubernetes would expand $(NAME)
  command += [] if tpu else ["$(JOB_COMPLETION_INDEX)"]
  text = fill(
    "gke.yaml",
    {
      "name": job.name,
      "config": job.config.splitlines(),
      "machine": [f"{MACHINE}: |", *(f"  {line}" for line in job.machine.splitlines())]
      if job.machine
      else [],
      "annotations": annotations,
      "node_selector": [
        f"cloud.google.com/{label}: {json.dumps(value)}" for label, value in selector.items()
      ],
      "nodes": place.nodes,
      "restarts": place.restarts,
      "image": json.dumps(place.image),
      "command": json.dumps(command),
      "cache": json.dumps(_cache(job)),
      "resource": "google.com/tpu" if tpu else "nvidia.com/gpu",
      "devices": place.chips_per_node if tpu else place.gpus_per_node,
      "storage": places.STORAGE,
      "claim": json.dumps(place.claim),
    },
  )
  where = () if place.namespace is None else ("--namespace", place.namespace)
  return Launch({manifest: text}, ("kubectl", "apply", *where, "-f", str(manifest)))


def _skypilot(job: Job, place: places.SkyPilot, folder: Path) -> Launch:
  task = folder / "skypilot.yaml"
  wheel, package = _package(place.package)
  there = f"~/audiopalm/{Path(wheel).name}"
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
      "config_file": json.dumps(str(folder / CONFIG)),
      "machine_file": [f"~/audiopalm/{MACHINE}: {json.dumps(str(folder / MACHINE))}"]
      if job.machine
      else [],
      "package_file": [f"{json.dumps(there)}: {json.dumps(wheel)}"] if wheel else [],
      "package": shlex.quote(package),
      "train": shlex.join(("train", CONFIG, *_options(job, ""))),
      "cache": shlex.quote(_cache(job)),
    },
  )
  command = ("sky", "jobs", "launch", "--yes", "--name", job.name, str(task))
  return Launch({task: text, **_files(job, folder)}, command)


_RENDER: dict[type, Callable[..., Launch]] = {
  places.Slurm: _slurm,
  places.TpuVm: _tpu_vm,
  places.Gke: _gke,
  places.SkyPilot: _skypilot,
}


def _files(job: Job, folder: Path) -> dict[Path, str]:
  """Returns the files that say what is trained, and on which machine if that came from a file."""
  machine = {folder / MACHINE: job.machine} if job.machine else {}
  return {folder / CONFIG: job.config, **machine}


def _options(job: Job, there: str) -> tuple[str, ...]:
  """Returns the options of training, whose files begin with `there` where it runs."""
  return (*job.options, *(("--machine", f"{there}{MACHINE}") if job.machine else ()))


def _package(given: str) -> tuple[str, str]:
  """Returns the wheel that has to be copied, '' for none, and what pip is told beside it."""
  path, bracket, extras = given.partition("[")
  if not path.endswith(".whl") or "://" in path:
    return "", given
  return str(Path(path).absolute()), f"./{Path(path).name}{bracket}{extras}"


def _cache(job: Job) -> str:
  """Returns where compiled programs are kept: what was compiled once is read after a restart."""
  return f"{job.workdir}/compiled"


def _check_lines(*values: object) -> None:
  for value in values:
    for each in value if isinstance(value, tuple) else (value,):
      if not str(each).isprintable():
        raise ConfigError(
          f"{str(each)!r} holds a line break or another character that cannot be printed, which no "
          "script keeps as it is: choose another name."
        )
