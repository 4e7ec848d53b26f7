"""Checkpoints of a run: written in the background, found again, compared before they are used.

    WORKDIR/checkpoints/<step>/params    the model's arrays, the tree models/decoder.py documents
    WORKDIR/checkpoints/<step>/rest      optimizer, variables and counters
    WORKDIR/checkpoints/<step>/meta      JSON: experiment, manifest, position, versions, sums

A checkpoint is a folder that gets its name when it is whole. One that cannot be read, or whose bits
are not those that were saved, is passed over for the one before, by name; nothing is ever deleted
but what newer good ones replace by `Keep`.

Several processes save into and restore from one folder, all of them together. What they do next is
decided from what each of them found, so that none waits for one that took another way.
"""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import logging
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from audiopalm.data import files
from audiopalm.errors import AudiopalmError, CheckpointError, FullDevice
from audiopalm.tokens import space as token_space
from audiopalm.training import bits, together
from audiopalm.training import state as states

FOLDER = "checkpoints"
DAMAGED = "damaged_checkpoints"  # where a resumed run moves what it could not read
UNFINISHED = ".orbax-checkpoint-tmp"
PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "grain")
LEFT_OVER = ("Event loop is closed", "_read_array_index")  # by readers of a damaged checkpoint
SHOWN = 12  # lines of a difference that are printed


@dataclasses.dataclass(frozen=True, eq=False)
class Meta:
  """What a checkpoint says of itself: `position` holds step and `seen`, `experiment` is JSON,
  `products` is the dtype of matrix products, None in older checkpoints and imported ones."""

  step: int
  experiment: str
  manifest: Mapping[str, Any]
  position: Mapping[str, Any]
  versions: Mapping[str, str]
  products: str | None = None


@dataclasses.dataclass(frozen=True)
class Keep:
  """Which checkpoints stay: the `newest`, and those of every `every_steps`-th step."""

  newest: int
  every_steps: int | None = None


def versions() -> dict[str, str]:
  """Returns the versions of the packages that a result can depend on."""
  return {name: importlib.metadata.version(name) for name in PACKAGES}


def steps(workdir: Path) -> list[int]:
  """Returns the steps of all whole checkpoints of a run, oldest first."""
  folder = workdir / FOLDER
  return sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal())


def latest(workdir: Path, report: Callable[[str], None] = print, step: int | None = None) -> Meta:
  """Returns what the newest readable checkpoint, or that of a step, says of itself."""
  found = _newest(workdir, lambda step: read_meta(workdir, step), report, step=step)
  if found is None:
    raise _none(workdir)
  return found


def restore_params(
  workdir: Path,
  shapes: Any,
  manifest: Mapping[str, Any],
  report: Callable[[str], None] = print,
  step: int | None = None,
) -> tuple[Any, Meta]:
  """Returns (parameters, meta) of the newest readable checkpoint, or of that of a step.

  `shapes` is `model.shapes(mesh)`, so the devices need not be those of training. ManifestError if
  the checkpoint's ids mean something else than `manifest`, CheckpointError if its arrays do not
  fit.
  """

  def read(step):
    meta = _checked_meta(workdir, step, manifest)
    return _read_tree(workdir, step, "params", shapes), meta

  def check(found):
    params, meta = found
    _check_sums(workdir, meta.step, params=params)

  found = _newest(workdir, read, report, check, step)
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
    if "rest" not in _read_fields(workdir, step)["sums"]:
      raise CheckpointError(
        f"The checkpoint {_path(workdir, step)} holds parameters alone, as imported runs do: it "
        "can be evaluated and asked, but without its optimizer's state not trained any further. "
        "Train in the workdir it was exported from, or anew in another --workdir."
      )
    params = _read_tree(workdir, step, "params", state.params)
    rest = _read_tree(workdir, step, "rest", _rest(state))
    return states.TrainState(params=params, **rest), meta

  def check(found):
    state, meta = found
    _check_sums(workdir, meta.step, params=state.params, rest=_rest(state))

  found = _newest(workdir, read, report, check)
  if found is not None:
    _set_aside(workdir, found[1].step, report)
  return found


def read_meta(workdir: Path, step: int) -> Meta:
  """Returns what the checkpoint of one step says of itself."""
  fields = _read_fields(workdir, step)
  return Meta(step=step, **{name: value for name, value in fields.items() if name != "sums"})


class Writer:
  """Saves states in the background; `keep` says which stay, and so does the one of step `best`.

  Every method may raise the FullDevice of an earlier save: then that checkpoint does not exist, and
  those before it are as they were. It can go on saving. Use it as a context: leaving it waits for
  the last.
  """

  def __init__(self, workdir: Path, keep: Keep):
    self.best: int | None = None
    self._workdir, self._keep = workdir, keep
    self._manager = self._opened()

  def save(self, state: states.TrainState, meta: Meta) -> None:
    """Starts to save; returns as soon as the arrays are copied and the state may be given up."""
    self._check_space(state)
    self._save(meta, params=state.params, rest=_rest(state))

  def save_params(self, params: Any, meta: Meta) -> None:
    """Saves parameters alone: enough to evaluate and generate, not to go on training."""
    self._save(meta, params=params)

  def _save(self, meta: Meta, **trees: Any) -> None:
    fields = {name: value for name, value in dataclasses.asdict(meta).items() if name != "step"}
    fields["sums"] = {name: bits.sums(tree) for name, tree in trees.items()}
    fields["digest"] = _digest(fields)
    items = {name: ocp.args.StandardSave(tree) for name, tree in trees.items()}
    with self._anew_if_full():
      self._manager.save(
        meta.step, args=ocp.args.Composite(**items, meta=ocp.args.JsonSave(fields)), force=True
      )

  def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
    """Returns which of the checkpoints stay; Orbax asks after each save."""
    found = [each.step for each in checkpoints]
    stays, every = {*found[-self._keep.newest :], self.best}, self._keep.every_steps
    return [step in stays or (every is not None and step % every == 0) for step in found]

  def wait(self) -> None:
    """Returns when everything that was saved is on disk."""
    with self._anew_if_full():
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

  def _opened(self) -> ocp.CheckpointManager:
    return ocp.CheckpointManager(
      (self._workdir / FOLDER).absolute(),
      options=ocp.CheckpointManagerOptions(
        preservation_policy=self, create=True, cleanup_tmp_directories=True
      ),
    )

  @contextlib.contextmanager
  def _anew_if_full(self) -> Iterator[None]:
    """Removes what a save that failed for want of room has left, which takes room too."""
    try:
      with full_device(self._workdir):
        yield
    except FullDevice as error:
      if jax.process_count() > 1:  # the others do not know of it, and opening waits for all
        raise CheckpointError(str(error)) from error
      self._manager = self._opened()
      raise

  def _check_space(self, state: states.TrainState) -> None:
    whole = sum(array.nbytes for array in jax.tree.leaves(state))  # the parts of all processes
    free = together.from_first(lambda: shutil.disk_usage(self._workdir).free)
    if free < whole:
      self.wait()  # what is being saved counts among what is intact
      raise _no_space(self._workdir, f"a checkpoint takes {_size(whole)}, {_size(free)} are free")


@contextlib.contextmanager
def full_device(workdir: Path) -> Iterator[None]:
  """Turns a full device, however it is reported while the block runs, into one FullDevice."""
  try:
    yield
  except AudiopalmError:
    raise
  except Exception as error:
    if files.is_full(error):
      raise _no_space(workdir, str(error).splitlines()[0][:300]) from error
    raise


def _no_space(workdir: Path, why: str) -> FullDevice:
  have = steps(workdir)
  kept = f"The checkpoint of step {have[-1]} is intact" if have else "There is no checkpoint yet"
  return FullDevice(
    f"No space left on the device of {workdir / FOLDER}: {why}. {kept}. Free space, or lower "
    "keep_checkpoints; a run that ends for want of it resumes by the same command."
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


def _newest(
  workdir: Path,
  read: Callable[[int], Any],
  report: Callable[[str], None],
  check: Callable[[Any], None] = lambda found: None,
  step: int | None = None,
) -> Any:
  """Returns read(step) of the newest checkpoint that can be read, or of that of `step` alone; None
  where there is none at all.

  `check` may raise for what was read: it sees what all processes have read, and says the same on
  each of them.
  """
  for part in sorted((workdir / FOLDER).glob(f"*{UNFINISHED}*")):
    report(f"Checkpoint {part} is half written (the run stopped while saving it): skipped.")
  faults, have = [], together.from_first(lambda: steps(workdir))
  if step is not None and step not in have:
    raise CheckpointError(
      f"No checkpoint of step {step} in {workdir / FOLDER}: there are those of "
      f"{', '.join(map(str, have)) or 'no step'}."
    )
  for number in reversed(have if step is None else [step]):
    found, fault = _tried(lambda number=number: read(number))
    why = next((each for each in together.gathered(fault) if each is not None), None)
    if why is None:
      _, why = _tried(lambda found=found: check(found))
    if why is None:
      return found
    faults.append(f"{_path(workdir, number)}: {why}")
    report(f"Checkpoint {faults[-1]}. It is damaged or half written: skipped.")
  if faults:
    raise CheckpointError(
      f"None of the {len(faults)} checkpoints in {workdir / FOLDER} can be read:\n  "
      + "\n  ".join(faults)
      + "\nNothing was deleted. Restore one from a copy, or start anew in another --workdir."
    )
  return None


def _tried(act: Callable[[], Any]) -> tuple[Any, str | None]:
  """Returns (act(), None), or (None, what is damaged)."""
  try:
    return act(), None
  except (AudiopalmError, MemoryError, jax.errors.JaxRuntimeError):
    raise
  except Exception as error:  # damaged files show up as any kind of error of their readers
    _hush_readers()
    return None, f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"


def _hush_readers() -> None:
  """Keeps quiet what else is read of a damaged checkpoint, and finds nobody waiting for it."""
  hook = sys.unraisablehook

  def quiet(unraisable):
    said = f"{unraisable.exc_value} {unraisable.object!r}"
    if not any(words in said for words in LEFT_OVER):
      hook(unraisable)

  sys.unraisablehook = quiet


def _digest(fields: Mapping[str, Any]) -> str:
  """Returns 16 hex digits of what a checkpoint says of itself."""
  text = json.dumps(fields, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read_fields(workdir: Path, step: int) -> dict[str, Any]:
  fields = ocp.JsonCheckpointHandler().restore(_path(workdir, step) / "meta")
  digest = fields.pop("digest", None)
  if digest is None:
    raise ValueError("meta has no digest: audiopalm wrote none before checkpoints had sums")
  if digest != _digest(fields):
    raise ValueError("meta is not what was saved")
  return fields


def _check_sums(workdir: Path, step: int, **trees: Any) -> None:
  """Raises ValueError naming arrays whose bits are not those that were saved."""
  saved = _read_fields(workdir, step)["sums"]
  wrong = [
    f"{item}/{name}"
    for item, tree in trees.items()
    for name in bits.differing(saved[item], bits.sums(tree))
  ]
  if wrong:
    raise ValueError(f"{len(wrong)} arrays are not what was saved: {', '.join(wrong[:3])}")


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
  return {bits.name_of(path): f"{leaf.dtype} {tuple(leaf.shape)}" for path, leaf in leaves}


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
