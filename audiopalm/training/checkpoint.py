"""Checkpoints of a run: found again, compared before they are used, and which of them count.

    WORKDIR/checkpoints/<step>/params      the model's arrays, the tree its module documents
    WORKDIR/checkpoints/<step>/variables   those of its objective, where it has any
    WORKDIR/checkpoints/<step>/rest        optimizer and counters
    WORKDIR/checkpoints/<step>/meta        JSON: experiment, manifest, position, versions, sums

A checkpoint is a folder that gets its name when it was written (`training/writing.py`) and opened
again (`training/verification.py`); until then it is called <step>.unverified. One that cannot be
read, or whose bits are not those that were saved, is passed over for the one before, by name;
nothing is ever deleted but what newer good ones replace by `writing.Keep`.

Several processes save into and restore from one folder, all of them together. What they do next is
decided from what each of them found, so that none waits for one that took another way.
"""

import contextlib
import dataclasses
import importlib.metadata
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp
from etils import epath

from audiopalm.errors import AudiopalmError, CheckpointError, ConfigError
from audiopalm.models.base import Params
from audiopalm.parts import runs
from audiopalm.sharding import ArrayTree
from audiopalm.tokens import space as token_space
from audiopalm.training import bits, together
from audiopalm.training import state as states

DAMAGED = "damaged_checkpoints"  # where a run moves what it could not read
UNVERIFIED = ".unverified"
UNFINISHED = ".orbax-checkpoint-tmp"
PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "grain")
LEFT_OVER = ("Event loop is closed", "_read_array_index")  # by readers of a damaged checkpoint
SHOWN = 12  # lines of a difference that are printed
Read = TypeVar("Read")  # what is read of a checkpoint
VARIABLES = "variables"  # the item, and the field of a state


@dataclasses.dataclass(frozen=True, eq=False)
class Meta:
  """What a checkpoint says of itself. `experiment` is JSON; `position` holds the step, what was
  `seen` of each task, and the `schedule` of the batches (`data/schedule.py`); `products` is the
  dtype of matrix products, None in older checkpoints and imported ones."""

  step: int
  experiment: str
  manifest: Mapping[str, Any]
  position: Mapping[str, Any]
  versions: Mapping[str, str]
  products: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Expected:
  """What a checkpoint should hold: shapes with shardings of parameters and variables, and ids.

  With None for `variables` they are not read, whether it holds any or not.
  """

  params: Params
  variables: Params | None
  manifest: Mapping[str, Any]


class LiteralPath(epath.gpath.PosixGPath):
  """A path for Orbax that holds no pattern, whatever characters are in it.

  Orbax looks for the parts of a checkpoint by `path.glob(pattern)`, and etils takes the path before
  the pattern for a pattern too: below a folder called "[proj]" it finds nothing, and the arrays are
  lost without an error.
  """

  def glob(self, pattern: str) -> Iterator["LiteralPath"]:
    return (self._new(str(found)) for found in Path(str(self)).glob(pattern))


def versions() -> dict[str, str]:
  """Returns the versions of the packages that a result can depend on."""
  return {name: importlib.metadata.version(name) for name in PACKAGES}


def latest(workdir: Path, report: Callable[[str], None] = print, step: int | None = None) -> Meta:
  """Returns what the newest readable checkpoint, or that of a step, says of itself."""
  meta = _newest(workdir, lambda step: read_meta(workdir, step), report, step=step)
  if meta is None:
    raise _none(workdir)
  return meta


def restore_model(
  workdir: Path,
  expected: Callable[[Meta], Expected],
  report: Callable[[str], None] = print,
  step: int | None = None,
) -> tuple[Params, Params, Meta]:
  """Returns (parameters, variables, meta) of the newest readable checkpoint, or of that of a step.

  `expected(meta)` says what a checkpoint should hold which says this of itself: by its own
  experiment, so that no checkpoint is read with the settings of another one. The devices need not
  be those of training. TokenSpaceError if its ids have other meanings, CheckpointError if its
  arrays do not fit.
  """

  def read(step):
    meta = read_meta(workdir, step)
    target = expected(meta)
    _check_manifest(workdir, meta, target.manifest)
    if target.variables is not None:
      _check_variables(workdir, step, target.variables)
    return _read_items(workdir, step, params=target.params, variables=target.variables), meta

  def check(newest):
    items, meta = newest
    _check_sums(workdir, meta.step, **items)

  newest = _newest(workdir, read, report, check, step)
  if newest is None:
    raise _none(workdir)
  items, meta = newest
  return items["params"], items.get("variables", {}), meta


def restore_state(
  workdir: Path,
  state: states.TrainState,
  manifest: Mapping[str, Any],
  report: Callable[[str], None] = print,
) -> tuple[states.TrainState, Meta] | None:
  """Returns (state, meta) of the newest readable checkpoint; None where a run has not saved yet.

  `state` is a state of the wanted shapes and placement, arrays or ShapeDtypeStructs. A checkpoint
  that a start wrote and was killed before it opened it again counts from here on, if it is whole.
  Those newer than the one restored are moved to WORKDIR/damaged_checkpoints, out of the way of new
  ones, and config.json says what the one restored says.
  """

  def read(step):
    meta = read_meta(workdir, step)
    _check_manifest(workdir, meta, manifest)
    if "rest" not in runs.fields(folder_of(workdir, step))["sums"]:
      raise CheckpointError(
        f"The checkpoint {folder_of(workdir, step)} holds parameters alone, as imported runs do: "
        "it can be evaluated and asked, but without its optimizer's state not trained any further. "
        "Train in the workdir it was exported from, or anew in another --workdir."
      )
    _check_variables(workdir, step, state.variables)
    return _read_items(workdir, step, **items_of(state)), meta

  def check(newest):
    items, meta = newest
    _check_sums(workdir, meta.step, **items)

  newest = _newest(workdir, read, report, check, unverified=True)
  together.from_first(lambda: _go_on_from(workdir, newest and newest[1], report))
  if newest is None:
    return None
  items, meta = newest
  params, variables = items["params"], items.get("variables", {})
  return states.TrainState(params=params, variables=variables, **items["rest"]), meta


def read_meta(workdir: Path, step: int) -> Meta:
  """Returns what the checkpoint of one step says of itself."""
  fields = runs.fields(folder_of(workdir, step))
  return Meta(step=step, **{name: value for name, value in fields.items() if name != "sums"})


def check_place(workdir: Path) -> None:
  """Raises ConfigError for a workdir whose checkpoints could not be found again."""
  if "\\" in str(workdir.absolute()):
    raise ConfigError(
      f"No checkpoint can be kept in {workdir.absolute()}: TensorStore, which writes the arrays, "
      "reads the backslash in it as a slash. Give a --workdir without one."
    )


def folder_of(workdir: Path, step: int) -> Path:
  """Returns where the checkpoint of a step lies: under its name, or as one that was written and
  not opened again yet."""
  named, written = named_of(workdir, step), unverified_of(workdir, step)
  return written if written.is_dir() and not named.is_dir() else named


def named_of(workdir: Path, step: int) -> Path:
  return (workdir / runs.CHECKPOINTS / str(step)).absolute()


def unverified_of(workdir: Path, step: int) -> Path:
  named = named_of(workdir, step)
  return named.with_name(named.name + UNVERIFIED)


def accept(workdir: Path, step: int, experiment: str) -> None:
  """Gives a checkpoint that was opened again its name; config.json says its `experiment` then.

  What comes between these two renames is up to the readers, who ask `runs.config`.
  """
  with runs.saying(workdir, experiment):
    if not named_of(workdir, step).is_dir():
      unverified_of(workdir, step).rename(named_of(workdir, step))


def set_aside(workdir: Path, step: int) -> Path:
  """Moves the checkpoint of a step to the damaged ones; returns where it lies now."""
  number, place = 0, workdir / DAMAGED / str(step)
  while place.exists():
    number += 1
    place = workdir / DAMAGED / f"{step}.{number}"
  place.parent.mkdir(exist_ok=True)
  return folder_of(workdir, step).rename(place)


def _go_on_from(workdir: Path, restored: Meta | None, report: Callable[[str], None]) -> None:
  """Makes a checkpoint the newest: those after it are moved away before any process looks."""
  for step in _steps(workdir, unverified=True):
    if restored is None or step > restored.step:
      place = set_aside(workdir, step)
      report(f"Moved the damaged checkpoint of step {step} to {place}.")
  if restored is not None:
    accept(workdir, restored.step, restored.experiment)


def _steps(workdir: Path, unverified: bool) -> list[int]:
  """Returns the steps of all checkpoints, with or without those not opened again, oldest first."""
  steps = set(runs.steps(workdir))
  if unverified:
    folder = workdir / runs.CHECKPOINTS
    names = (path.name.removesuffix(UNVERIFIED) for path in folder.glob(f"*{UNVERIFIED}"))
    steps |= {int(name) for name in names if name.isdecimal()}
  return sorted(steps)


def _none(workdir: Path) -> CheckpointError:
  return CheckpointError(
    f"No checkpoint in {workdir / runs.CHECKPOINTS}. Train first: audiopalm train CONFIG "
    f"--workdir {workdir}"
  )


def items_of(state: states.TrainState) -> dict[str, Any]:
  """Returns the trees that are saved of a state; no item where an objective has no variables."""
  apart = {"params": state.params, VARIABLES: state.variables}
  rest = {
    field.name: getattr(state, field.name)
    for field in dataclasses.fields(state)
    if field.name not in apart
  }
  return {**{name: tree for name, tree in apart.items() if tree}, "rest": rest}


def _newest(
  workdir: Path,
  read: Callable[[int], Read],
  report: Callable[[str], None],
  check: Callable[[Read], None] = lambda found: None,
  step: int | None = None,
  unverified: bool = False,
) -> Read | None:
  """Returns read(step) of the newest checkpoint that can be read, or of that of `step` alone; None
  where there is none at all.

  `check` may raise for what was read: it sees what all processes have read, and says the same on
  each of them.
  """
  for part in sorted((workdir / runs.CHECKPOINTS).glob(f"*{UNFINISHED}*")):
    report(f"Checkpoint {part} is half written (the run stopped while saving it): skipped.")
  faults, have = [], together.from_first(lambda: _steps(workdir, unverified))
  if step is not None and step not in have:
    raise CheckpointError(
      f"No checkpoint of step {step} in {workdir / runs.CHECKPOINTS}: there are those of "
      f"{', '.join(map(str, have)) or 'no step'}."
    )
  for number in reversed(have if step is None else [step]):
    found, fault = _tried(lambda number=number: read(number))
    why = next((each for each in together.gathered(fault) if each is not None), None)
    if why is None:
      _, why = _tried(lambda found=found: check(found))
    if why is None:
      return found
    faults.append(f"{folder_of(workdir, number)}: {why}")
    report(f"Checkpoint {faults[-1]}. It is damaged or half written: skipped.")
  if together.from_first(lambda: runs.steps(workdir)):  # what was not opened again never counted
    raise CheckpointError(
      f"None of the {len(faults)} checkpoints in {workdir / runs.CHECKPOINTS} can be read:\n  "
      + "\n  ".join(faults)
      + "\nNothing was deleted. Restore one from a copy, or start anew in another --workdir."
    )
  return None


def _tried(act: Callable[[], Read]) -> tuple[Read | None, str | None]:
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
    text = f"{unraisable.exc_value} {unraisable.object!r}"
    if not any(words in text for words in LEFT_OVER):
      hook(unraisable)

  sys.unraisablehook = quiet


def _check_sums(workdir: Path, step: int, **trees: ArrayTree) -> None:
  """Raises ValueError naming arrays whose bits are not those that were saved."""
  saved = runs.fields(folder_of(workdir, step))["sums"]
  wrong = [
    f"{item}/{name}"
    for item, tree in trees.items()
    for name in bits.differing(saved[item], bits.sums(tree))
  ]
  if wrong:
    raise ValueError(f"{len(wrong)} arrays are not what was saved: {', '.join(wrong[:3])}")


def _check_variables(workdir: Path, step: int, wanted: Params) -> None:
  """Raises CheckpointError where an objective has variables and a checkpoint none, or the other way
  round."""
  folder = folder_of(workdir, step)
  if bool(wanted) != (VARIABLES in runs.fields(folder)["sums"]):
    holds, has = ("none", "some") if wanted else ("some", "none")
    raise CheckpointError(
      f"The checkpoint {folder} holds {holds} of the variables that an objective keeps, and this "
      f"experiment's has {has}. Use the objective it was trained with, or another --workdir."
    )


def _check_manifest(workdir: Path, meta: Meta, manifest: Mapping[str, Any]) -> None:
  # Through JSON, as the saved one went: tuples are lists there.
  expected = json.loads(json.dumps(manifest))
  token_space.check(expected, meta.manifest, f"The checkpoint {folder_of(workdir, meta.step)}")


def _read_items(workdir: Path, step: int, **targets: ArrayTree) -> dict[str, Any]:
  """Returns the saved trees placed as `targets`, without those that hold nothing."""
  return {name: _read_tree(workdir, step, name, tree) for name, tree in targets.items() if tree}


def _read_tree(workdir: Path, step: int, item: str, target: ArrayTree) -> Params:
  """Returns the saved tree placed as `target`; CheckpointError listing what differs in shape."""
  path = LiteralPath(str(folder_of(workdir, step) / item))
  # A Checkpointer would wait for all processes, one that could not read its part among them, and
  # its own metadata() warns of a file that lies one folder higher.
  with contextlib.closing(ocp.StandardCheckpointHandler()) as handler:
    saved = handler.metadata(path).tree
    _compare(saved, target, f"{folder_of(workdir, step)} ({item})")
    abstract = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), target
    )
    if not isinstance(target, Mapping) or VARIABLES not in saved or VARIABLES in target:
      return handler.restore(path, args=ocp.args.StandardRestore(abstract))
    # Of before variables were an item: nothing, under their name, which Orbax asks for.
    args = ocp.args.StandardRestore({**abstract, VARIABLES: {}})
    return {name: tree for name, tree in handler.restore(path, args=args).items() if name in target}


def _compare(saved: ArrayTree, target: ArrayTree, what: str) -> None:
  saved_shapes, expected = shapes_of(saved), shapes_of(target)
  lines = [
    f"{name}: saved {saved_shapes.get(name, 'nothing')}, expected {expected.get(name, 'nothing')}"
    for name in [*expected, *(name for name in saved_shapes if name not in expected)]
    if saved_shapes.get(name) != expected.get(name)
  ]
  if lines:
    more = [f"... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    raise CheckpointError(
      f"The checkpoint {what} has other arrays than this experiment:\n  "
      + "\n  ".join(lines[:SHOWN] + more)
      + "\nUse the model, objective and optimizer it was trained with, or another --workdir."
    )


def shapes_of(tree: ArrayTree) -> dict[str, str]:
  """Returns {path: "float32 (4, 256)"}; tuples, lists and named tuples have the same paths."""
  leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
  return {bits.name_of(path): shape_of(leaf) for path, leaf in leaves}


def shape_of(array: jax.Array | jax.ShapeDtypeStruct) -> str:
  return f"{array.dtype} {tuple(array.shape)}"
