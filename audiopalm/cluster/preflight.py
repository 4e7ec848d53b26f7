"""What can be known of a run before it is given its machines: seconds, and no device is touched."""

import dataclasses
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import jax

import audiopalm
from audiopalm import quantities, sharding, version
from audiopalm import trust as trusts
from audiopalm.data import lock, prepare
from audiopalm.errors import AudiopalmError, ConfigError
from audiopalm.exports import folder
from audiopalm.parts import runs
from audiopalm.planning import program, stored
from audiopalm.settings import Machine
from audiopalm.tokens import space as token_space
from audiopalm.training import checkpoint

CHECKPOINTS = 2  # there must be room for: one that is whole, and one that is being written


@dataclasses.dataclass(frozen=True)
class Check:
  """One line of a preflight. A "note" is worth knowing and stops nothing."""

  name: str
  state: Literal["ok", "note", "wrong"]
  text: str


class Note(AudiopalmError):
  """What a check has to say that is neither well nor wrong."""


@dataclasses.dataclass(frozen=True)
class Given:
  """The hardware a run will have.

  `topology` names what a plan was made for, "v5e:16x16"; without it memory is not checked.
  """

  machine: Machine
  devices: int
  processes: int = 1
  topology: str | None = None


def checks(experiment: Any, given: Given, workdir: Path | None) -> Iterator[Check]:
  """Yields what was found, check by check; without a workdir nothing that lies in it."""
  yield _check("code", lambda: code(experiment.trust))
  yield _check("config", lambda: _config(experiment))
  shapes: list[Any] = []
  yield _check("mesh", lambda: _mesh(experiment, given, shapes))
  if workdir is None:
    return
  yield _check("memory", lambda: _memory(experiment, given, workdir))
  yield _check("workdir", lambda: _workdir(workdir, shapes[0] if shapes else None))
  prepared: list[Any] = []
  yield _check("data", lambda: _data(experiment, workdir, prepared))
  yield _check("checkpoint", lambda: _checkpoint(workdir, prepared[0] if prepared else None))


def code(trust: Sequence[str] = ()) -> str:
  """Returns the version of the package and 12 hex digits of all of its code, and of that of the
  packages that a config is trusted with."""
  root, digest = Path(audiopalm.__file__).parent, hashlib.sha256()
  for path in sorted(root.rglob("*.py")):
    digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
  for name, path in trusts.files(trust):
    digest.update(name.encode() + path.read_bytes())
  return f"audiopalm {version.VERSION}, code {digest.hexdigest()[:12]}, jax {jax.__version__}"


def _check(name: str, look: Callable[[], str]) -> Check:
  try:
    return Check(name, "ok", look())
  except Note as note:
    return Check(name, "note", str(note))
  except AudiopalmError as error:
    return Check(name, "wrong", " ".join(str(error).split()))


def _config(experiment: Any) -> str:
  if experiment.export is not None:
    folder.check(experiment)
  return (
    f"{experiment.name}, digest {experiment.digest}: {experiment.steps:,} steps of "
    f"{experiment.data.batch_rows} rows of {experiment.data.length}"
  )


def _mesh(experiment: Any, given: Given, shapes: list[Any]) -> str:
  machine, devices = given.machine, given.devices
  sharding.mesh_sizes(machine, devices, whole=given.processes > 1)
  mesh = program.abstract_mesh(machine, devices)
  with jax.sharding.use_abstract_mesh(mesh):
    accumulation = program.check_divisible(experiment, machine, mesh)
    space = program.space_of(experiment)
    shapes.append(program.state_shapes(experiment, experiment.model.build(space), mesh))
  axes = ", ".join(f"{axis}={size}" for axis, size in mesh.shape.items() if size > 1)
  return (
    f"machine {machine.name}, {devices} devices{f', {axes}' if axes else ''}: "
    f"{experiment.model.parameters(space):,} parameters, {accumulation} micro-batches"
  )


def _memory(experiment: Any, given: Given, workdir: Path) -> str:
  machine, topology = given.machine, given.topology
  if topology is None:
    raise Note("not known before the first step: --topology names one to look for a plan of")
  path = stored.path_of(workdir, topology, machine)
  found = stored.read(path)
  how = (
    f"audiopalm plan CONFIG --topology {topology} --workdir {workdir}, with the options of the "
    "machine as here, makes one (minutes)"
  )
  if found is None:
    raise Note(f"no plan in {path}: {how}")
  changed = stored.stale(found, experiment, machine)
  if changed:
    raise Note(f"the plan in {path} was made for {changed}: {how}")
  limit = f"{quantities.size(found['memory_limit'])} of a device of {topology}"
  if not found["fits"]:
    raise ConfigError(
      f"{quantities.size(found['over'])} more than the {limit}, says {path}. Take more devices, "
      "fewer rows of a device at once (--micro-batch-tokens) or a stronger policy (--remat full)."
    )
  return f"{quantities.size(found['memory']['peak'])} of the {limit}, says the plan of this config"


def _workdir(workdir: Path, shapes: Any) -> str:
  there = workdir.absolute()
  while not there.exists():
    there = there.parent
  if not there.is_dir() or not os.access(there, os.W_OK):
    raise ConfigError(f"{there} is no folder that can be written to. Give another --workdir.")
  if there == workdir.absolute():
    with tempfile.TemporaryFile(dir=there) as file:  # says what a permission bit does not
      file.write(b"preflight")
  free = shutil.disk_usage(there).free
  room = f"{quantities.size(free)} free in {workdir}"
  if shapes is None:
    raise Note(f"{room}; how large a checkpoint is follows from the mesh, which is wrong")
  size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
  needs = f"a checkpoint takes {quantities.size(size)}"
  if free < CHECKPOINTS * size:
    raise ConfigError(f"{room}, but {needs}, and there must be room for two. Free some.")
  for command in ("train", "prepare"):
    lock.check_free(workdir, command)
  return f"{room}; {needs}"


def _data(experiment: Any, workdir: Path, prepared: list[Any]) -> str:
  if not (workdir / "prepare.json").is_file():
    raise Note(
      f"nothing is prepared in {workdir}: train does it first, while its devices wait; audiopalm "
      "prepare CONFIG does it before"
    )
  found = prepare.open_prepared(experiment, workdir)
  prepared.append(found)
  rows = sum(found.data.feed(found, found.tasks, "train").rows)
  return f"{len(found.tasks)} tasks, {rows:,} rows, manifest {found.manifest_hash}: whole"


def _checkpoint(workdir: Path, prepared: Any) -> str:
  have = runs.steps(workdir)
  if not have:
    return f"none in {workdir / runs.CHECKPOINTS}: the run starts at its first step"
  said: list[str] = []
  meta = checkpoint.latest(workdir, said.append)
  if prepared is not None:
    token_space.check(prepared.manifest, meta.manifest, f"The checkpoint of step {meta.step}")
  if said:
    raise Note(" ".join([*said, f"The run goes on after step {meta.step}."]))
  return f"the run goes on after step {meta.step} of {workdir / runs.CHECKPOINTS}"
