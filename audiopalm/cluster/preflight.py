"""Checks a run in seconds before it gets its machines; nothing runs on a device."""

import dataclasses
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import jax

import audiopalm
from audiopalm import quantities, runs, sharding, version
from audiopalm import trust as trusts
from audiopalm.data import files, lock, prepare
from audiopalm.data.prepared import Prepared
from audiopalm.errors import AudiopalmError, ConfigError
from audiopalm.experiment import Experiment
from audiopalm.exports import folder
from audiopalm.planning import plan, program
from audiopalm.settings import Machine
from audiopalm.tokens import space as token_space
from audiopalm.training import checkpoint
from audiopalm.training.state import TrainState

MIN_CHECKPOINTS = 2  # must fit in the workdir: the latest one, and the one being written


@dataclasses.dataclass(frozen=True)
class Check:
  """One line of a preflight. A "note" informs; "wrong" stops a launch."""

  name: str
  state: Literal["ok", "note", "wrong"]
  text: str


class Note(AudiopalmError):
  """Raised by a check that neither passes nor fails; its text is shown as a note."""


@dataclasses.dataclass(frozen=True)
class TargetHardware:
  """The hardware a run will use.

  `topology` names the topology of a stored plan, "v5e:16x16"; without it memory is not checked.
  """

  machine: Machine
  devices: int
  processes: int = 1
  topology: str | None = None


def checks(experiment: Experiment, target: TargetHardware, workdir: Path | None) -> Iterator[Check]:
  """Yields the result of each check; without a workdir only of code, config and mesh."""
  names = ["code", "config", "mesh"]
  names += [] if workdir is None else ["memory", "workdir", "data", "checkpoint"]
  preflight = _Preflight(experiment, target, workdir)
  for name in names:
    try:
      yield Check(name, "ok", getattr(preflight, name)())
    except Note as note:
      yield Check(name, "note", str(note))
    except AudiopalmError as error:
      yield Check(name, "wrong", " ".join(str(error).split()))


def code(trust: Sequence[str] = ()) -> str:
  """Returns the version of the package, and 12 hex digits of a hash over all of its code and that
  of the trusted packages."""
  root, digest = Path(audiopalm.__file__).parent, hashlib.sha256()
  for path in sorted(root.rglob("*.py")):
    digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
  for name, path in trusts.files(trust):
    digest.update(name.encode() + path.read_bytes())
  return f"audiopalm {version.VERSION}, code {digest.hexdigest()[:12]}, jax {jax.__version__}"


class _Preflight:
  """The checks of a run. Some use results of earlier ones, if those succeeded."""

  def __init__(self, experiment: Experiment, target: TargetHardware, workdir: Path | None):
    self._experiment, self._target, self._workdir = experiment, target, workdir
    self._state: TrainState | None = None
    self._prepared: Prepared | None = None

  def code(self) -> str:
    return code(self._experiment.trust)

  def config(self) -> str:
    experiment = self._experiment
    if experiment.export is not None:
      folder.check(experiment)
    return (
      f"{experiment.name}, digest {experiment.digest}: {experiment.steps:,} steps of "
      f"{experiment.data.batch_rows} rows of {experiment.data.length}"
    )

  def mesh(self) -> str:
    experiment, machine, devices = self._experiment, self._target.machine, self._target.devices
    sharding.mesh_sizes(machine, devices, whole=self._target.processes > 1)
    mesh = program.abstract_mesh(machine, devices)
    with jax.sharding.use_abstract_mesh(mesh):
      micro_batches = program.check_divisible(experiment, machine, mesh)
      space = program.space_of(experiment)
      self._state = program.state_shapes(experiment, experiment.model.build(space), mesh)
    axes = ", ".join(f"{axis}={size}" for axis, size in mesh.shape.items() if size > 1)
    return (
      f"machine {machine.name}, {devices} devices{f', {axes}' if axes else ''}: "
      f"{experiment.model.parameters(space):,} parameters, {micro_batches} micro-batches"
    )

  def memory(self) -> str:
    machine, topology = self._target.machine, self._target.topology
    if topology is None:
      raise Note("unknown before the first step: give --topology to check a stored plan")
    path = plan.path_in(self._workdir, topology, machine)
    hint = (
      f"audiopalm plan CONFIG --topology {topology} --workdir {self._workdir}, with the same "
      "options for the machine, makes one in minutes"
    )
    if not path.is_file():
      raise Note(f"no plan in {path}: {hint}")
    stored = files.read_json(path)
    difference = plan.difference(stored, self._experiment, machine)
    if difference:
      raise Note(f"the plan in {path} is for {difference}: {hint}")
    limit = f"{quantities.size(stored['memory_limit'])} of a device of {topology}"
    if not stored["fits"]:
      raise ConfigError(
        f"{quantities.size(stored['over'])} more than the {limit}, according to {path}. Use more "
        "devices, smaller micro-batches (--micro-batch-tokens) or more remat (--remat full)."
      )
    peak = quantities.size(stored["memory"]["peak"])
    return f"{peak} of the {limit}, according to the plan of this config"

  def workdir(self) -> str:
    workdir = self._workdir
    places = (workdir.absolute(), *workdir.absolute().parents)
    existing = next(place for place in places if place.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
      raise ConfigError(f"{existing} is not a writable folder. Give another --workdir.")
    if existing == workdir.absolute():
      with tempfile.TemporaryFile(dir=existing) as file:  # permission bits do not show a full disk
        file.write(b"preflight")
    free = shutil.disk_usage(existing).free
    room = f"{quantities.size(free)} free in {workdir}"
    if self._state is None:
      raise Note(f"{room}; the size of a checkpoint is unknown because the mesh is wrong")
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(self._state))
    needs = f"a checkpoint takes {quantities.size(size)}"
    if free < MIN_CHECKPOINTS * size:
      raise ConfigError(f"{room}, but {needs}, and two must fit. Free some space.")
    for command in ("train", "prepare"):
      lock.check_free(workdir, command)
    return f"{room}; {needs}"

  def data(self) -> str:
    if not (self._workdir / "prepare.json").is_file():
      raise Note(
        f"nothing is prepared in {self._workdir}: train prepares first, while its devices are "
        "idle; audiopalm prepare CONFIG does it beforehand"
      )
    self._prepared = prepared = prepare.open_prepared(self._experiment, self._workdir)
    rows = sum(prepared.data.feed(prepared, prepared.tasks, "train").rows)
    return (
      f"{len(prepared.tasks)} tasks, {rows:,} rows, token space {prepared.manifest_hash}: complete"
    )

  def checkpoint(self) -> str:
    folder = self._workdir / runs.CHECKPOINTS
    if not runs.steps(self._workdir):
      return f"none in {folder}: training starts at its first step"
    messages: list[str] = []
    meta = checkpoint.latest(self._workdir, messages.append)
    if self._prepared is not None:
      token_space.check(
        self._prepared.manifest, meta.manifest, f"The checkpoint of step {meta.step}"
      )
    if messages:
      raise Note(" ".join([*messages, f"Training resumes after step {meta.step}."]))
    return f"training resumes after step {meta.step} of {folder}"
