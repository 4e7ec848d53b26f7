"""Checkpoints of a run: written in the background, found again, compared before they are used.

    WORKDIR/checkpoints/<step>/params    the model's arrays, the tree models/decoder.py documents
    WORKDIR/checkpoints/<step>/rest      optimizer, variables and counters
    WORKDIR/checkpoints/<step>/meta      JSON: experiment, manifest, position, versions

A checkpoint is a folder that gets its name when it is whole. One that cannot be read is passed over
for the one before, by name; nothing is ever deleted but what `keep` newer good ones replace.

Several processes save into and restore from one folder, all of them together. What they do next is
decided from what each of them found, so that none waits for one that took another way.
"""

import contextlib
import dataclasses
import errno
import importlib.metadata
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from audiopalm.errors import AudiopalmError, CheckpointError
from audiopalm.tokens import space as token_space
from audiopalm.training import state as states
from audiopalm.training import together

FOLDER = "checkpoints"
DAMAGED = "damaged_checkpoints"  # where a resumed run moves what it could not read
UNFINISHED = ".orbax-checkpoint-tmp"
PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "grain")
SHOWN = 12  # lines of a difference that are printed


@dataclasses.dataclass(frozen=True, eq=False)
class Meta:
  """What a checkpoint says of itself: `position` holds step and `seen`, `experiment` is JSON."""

  step: int
  experiment: str
  manifest: Mapping[str, Any]
  position: Mapping[str, Any]
  versions: Mapping[str, str]


def versions() -> dict[str, str]:
  """Returns the versions of the packages that a result can depend on."""
  return {name: importlib.metadata.version(name) for name in PACKAGES}


def steps(workdir: Path) -> list[int]:
  """Returns the steps of all whole checkpoints of a run, oldest first."""
  folder = workdir / FOLDER
  return sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal())


def latest(workdir: Path, report: Callable[[str], None] = print) -> Meta:
  """Returns what the newest readable checkpoint says of itself; CheckpointError without one."""
  found = _newest(workdir, lambda step: read_meta(workdir, step), report)
  if found is None:
    raise _none(workdir)
  return found


def restore_params(
  workdir: Path,
  shapes: Any,
  manifest: Mapping[str, Any],
  report: Callable[[str], None] = print,
) -> tuple[Any, Meta]:
  """Returns (parameters, meta) of the newest readable checkpoint, for evaluation and generation.

  `shapes` is `model.shapes(mesh)`, so the devices need not be those of training. ManifestError if
  the checkpoint's ids mean something else than `manifest`, CheckpointError if its arrays do not
  fit.
  """

  def read(step):
    meta = _checked_meta(workdir, step, manifest)
    return _read_tree(workdir, step, "params", shapes), meta

  found = _newest(workdir, read, report)
  if found is None:
    raise _none(workdir)
  return found


def restore_state(
  workdir: Path,
  state: states.TrainState,
  manifest: Mapping[str, Any],
  report: Callable[[str], None] = print,
) -> tuple[states.TrainState, Meta] | None:
  """Returns (state, meta) of the newest readable checkpoint; None where a run has not saved yet.

  `state` is a state of the wanted shapes and placement, arrays or ShapeDtypeStructs. Checkpoints
  newer than the one restored are moved to WORKDIR/damaged_checkpoints, out of the way of new ones.
  """

  def read(step):
    meta = _checked_meta(workdir, step, manifest)
    if not (_path(workdir, step) / "rest").is_dir():
      raise CheckpointError(
        f"The checkpoint {_path(workdir, step)} holds parameters alone, as imported runs do: it "
        "can be evaluated and asked, but without its optimizer's state not trained any further. "
        "Train in the workdir it was exported from, or anew in another --workdir."
      )
    params = _read_tree(workdir, step, "params", state.params)
    rest = _read_tree(workdir, step, "rest", _rest(state))
    return states.TrainState(params=params, **rest), meta

  found = _newest(workdir, read, report)
  if found is not None:
    _set_aside(workdir, found[1].step, report)
  return found


def read_meta(workdir: Path, step: int) -> Meta:
  """Returns what the checkpoint of one step says of itself."""
  return Meta(step=step, **ocp.JsonCheckpointHandler().restore(_path(workdir, step) / "meta"))


class Writer:
  """Saves states in the background, the newest `keep` of them stay.

  Every method may raise the CheckpointError of an earlier save: then that checkpoint does not
  exist, and those before it are as they were. Use it as a context: leaving it waits for the last.
  """

  def __init__(self, workdir: Path, keep: int):
    self._workdir = workdir
    self._manager = ocp.CheckpointManager(
      (workdir / FOLDER).absolute(),
      options=ocp.CheckpointManagerOptions(
        max_to_keep=keep, create=True, cleanup_tmp_directories=True
      ),
    )

  def save(self, state: states.TrainState, meta: Meta) -> None:
    """Starts to save; returns as soon as the arrays are copied and the state may be given up."""
    self._check_space(state)
    self._save(meta, params=state.params, rest=_rest(state))

  def save_params(self, params: Any, meta: Meta) -> None:
    """Saves parameters alone: enough to evaluate and generate, not to go on training."""
    self._save(meta, params=params)

  def _save(self, meta: Meta, **trees: Any) -> None:
    fields = {name: value for name, value in dataclasses.asdict(meta).items() if name != "step"}
    items = {name: ocp.args.StandardSave(tree) for name, tree in trees.items()}
    with full_device(self._workdir):
      self._manager.save(
        meta.step, args=ocp.args.Composite(**items, meta=ocp.args.JsonSave(fields)), force=True
      )

  def wait(self) -> None:
    """Returns when everything that was saved is on disk."""
    with full_device(self._workdir):
      self._manager.wait_until_finished()

  def __enter__(self) -> "Writer":
    # Orbax logs a trace in its own thread for what `wait` and `save` raise here.
    self._level = logging.getLogger("absl").level
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    return self

  def __exit__(self, kind, error, trace) -> None:
    try:
      # After an error too: what the run had begun to save is not lost with it.
      self.wait()
      self._manager.close()
    finally:
      logging.getLogger("absl").setLevel(self._level)

  def _check_space(self, state: states.TrainState) -> None:
    whole = sum(array.nbytes for array in jax.tree.leaves(state))  # the parts of all processes
    free = together.from_first(lambda: shutil.disk_usage(self._workdir).free)
    if free < whole:
      self.wait()  # what is being saved counts among what is intact
      raise _no_space(self._workdir, f"a checkpoint takes {_size(whole)}, {_size(free)} are free")


@contextlib.contextmanager
def full_device(workdir: Path) -> Iterator[None]:
  """Turns a full device, however it is reported while the block runs, into one CheckpointError."""
  try:
    yield
  except AudiopalmError:
    raise
  except Exception as error:
    full = [errno.ENOSPC, errno.EDQUOT]
    # TensorStore quotes the system's words in a ValueError.
    if getattr(error, "errno", None) in full or any(os.strerror(n) in str(error) for n in full):
      raise _no_space(workdir, str(error).splitlines()[0][:300]) from error
    raise


def _no_space(workdir: Path, why: str) -> CheckpointError:
  have = steps(workdir)
  kept = f"The checkpoint of step {have[-1]} is intact" if have else "There is no checkpoint yet"
  return CheckpointError(
    f"No space left on the device of {workdir / FOLDER}: {why}. {kept}. Free space (or lower "
    "keep_checkpoints) and run the same command again: it resumes."
  )


def _size(number: int) -> str:
  return f"{number / 2**20:,.1f} MiB"


def _none(workdir: Path) -> CheckpointError:
  return CheckpointError(
    f"No checkpoint in {workdir / FOLDER}. Train first: audiopalm train CONFIG --workdir {workdir}"
  )


def _path(workdir: Path, step: int) -> Path:
  return (workdir / FOLDER / str(step)).absolute()


def _rest(state: states.TrainState) -> dict[str, Any]:
  return {
    field.name: getattr(state, field.name)
    for field in dataclasses.fields(state)
    if field.name != "params"
  }


def _newest(workdir: Path, read: Callable[[int], Any], report: Callable[[str], None]) -> Any:
  """Returns read(step) of the newest checkpoint that can be read; None where there is none."""
  for part in sorted((workdir / FOLDER).glob(f"*{UNFINISHED}*")):
    report(f"Checkpoint {part} is half written (the run stopped while saving it): skipped.")
  faults = []
  for step in reversed(together.from_first(lambda: steps(workdir))):
    found, fault = None, None
    try:
      found = read(step)
    except (AudiopalmError, MemoryError, jax.errors.JaxRuntimeError):
      raise
    except Exception as error:  # damaged files show up as any kind of error of their readers
      fault = f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
    why = next((each for each in together.gathered(fault) if each is not None), None)
    if why is None:
      return found
    faults.append(f"{_path(workdir, step)}: {why}")
    report(f"Checkpoint {faults[-1]}. It is damaged or half written: skipped.")
  if faults:
    raise CheckpointError(
      f"None of the {len(faults)} checkpoints in {workdir / FOLDER} can be read:\n  "
      + "\n  ".join(faults)
      + "\nNothing was deleted. Restore one from a copy, or start anew in another --workdir."
    )
  return None


def _checked_meta(workdir: Path, step: int, manifest: Mapping[str, Any]) -> Meta:
  meta = read_meta(workdir, step)
  # Through JSON, as the saved one went: tuples are lists there.
  expected = json.loads(json.dumps(manifest))
  token_space.check(expected, meta.manifest, f"The checkpoint {_path(workdir, step)}")
  return meta


def _read_tree(workdir: Path, step: int, item: str, target: Any) -> Any:
  """Returns the saved tree placed as `target`; CheckpointError listing what differs in shape."""
  path = _path(workdir, step) / item
  # A Checkpointer would wait for all processes, one that could not read its part among them, and
  # its own metadata() warns of a file that lies one folder higher.
  with contextlib.closing(ocp.StandardCheckpointHandler()) as handler:
    saved = handler.metadata(path).tree
    _compare(saved, target, f"{_path(workdir, step)} ({item})")
    abstract = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), target
    )
    return handler.restore(path, args=ocp.args.StandardRestore(abstract))


def _compare(saved: Any, target: Any, what: str) -> None:
  found, wanted = _shapes(saved), _shapes(target)
  lines = [
    f"{name}: saved {found.get(name, 'nothing')}, expected {wanted.get(name, 'nothing')}"
    for name in [*wanted, *(name for name in found if name not in wanted)]
    if found.get(name) != wanted.get(name)
  ]
  if lines:
    more = [f"... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    raise CheckpointError(
      f"The checkpoint {what} has other arrays than this experiment:\n  "
      + "\n  ".join(lines[:SHOWN] + more)
      + "\nUse the model, objective and optimizer it was trained with, or another --workdir."
    )


def _shapes(tree: Any) -> dict[str, str]:
  """Returns {path: "float32 (4, 256)"}; tuples, lists and named tuples have the same paths."""
  leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype} {tuple(leaf.shape)}"
    for path, leaf in leaves
  }


def _set_aside(workdir: Path, restored: int, report: Callable[[str], None]) -> None:
  """Moves the checkpoints after `restored` away, before any process looks for them."""
  for step in steps(workdir) if together.is_first() else ():
    if step > restored:
      number, place = 0, workdir / DAMAGED / str(step)
      while place.exists():
        number += 1
        place = workdir / DAMAGED / f"{step}.{number}"
      place.parent.mkdir(exist_ok=True)
      _path(workdir, step).rename(place)
      report(f"Moved the damaged checkpoint of step {step} to {place}.")
  together.gathered(None)
