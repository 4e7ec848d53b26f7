"""Checkpoints of a run: their files, which of them are valid, and how they are restored.

    WORKDIR/checkpoints/<step>/params      the model's arrays, the tree its module documents
    WORKDIR/checkpoints/<step>/variables   the variables of its objective, if it has any
    WORKDIR/checkpoints/<step>/rest        optimizer and counters
    WORKDIR/checkpoints/<step>/meta        JSON: experiment, manifest, position, versions, sums

A checkpoint is called <step>.unverified until it was written (`training/writing.py`) and read back
(`training/verification.py`). One that cannot be read, or whose checksums differ, is skipped, and a
printed line names it. A checkpoint is deleted only if newer valid ones replace it.

Several processes save into and restore from one folder together. They decide together, from the
reports of all of them.
"""

import dataclasses
import importlib.metadata
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax

from audiopalm import bits, runs, stored
from audiopalm import experiment as experiments
from audiopalm.errors import AudiopalmError, CheckpointError, ConfigError
from audiopalm.models.base import Params
from audiopalm.sharding import ArrayTree
from audiopalm.tokens import space as token_space
from audiopalm.training import state as states
from audiopalm.training import together

DAMAGED = "damaged_checkpoints"  # where a run moves checkpoints that it could not read
UNVERIFIED = ".unverified"
UNFINISHED = ".orbax-checkpoint-tmp"
PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "grain")
LEFT_OVER = ("Event loop is closed", "_read_array_index")  # by readers of a damaged checkpoint
SHOWN = 12  # lines of a difference that are printed
VARIABLES = "variables"  # the item, and the field of a state
Read = TypeVar("Read")


@dataclasses.dataclass(frozen=True, eq=False)
class Meta:
  """The metadata of a checkpoint. `experiment` is JSON; `position` has the step, the counts `seen`
  of each task, and the `schedule` of the batches (`data/schedule.py`); `products` is the dtype of
  matrix products, None in older and imported checkpoints; `sums` are checksums by item and path."""

  step: int
  experiment: str
  manifest: Mapping[str, Any]
  position: Mapping[str, Any]
  versions: Mapping[str, str]
  products: str | None = None
  sums: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class Expected:
  """The expected contents of a checkpoint: the token space as JSON, and shapes with shardings.
  Variables and the `rest` of a state are not read if they are None."""

  params: Params
  variables: Params | None
  manifest: Mapping[str, Any]
  rest: Mapping[str, Any] | None = None


def versions() -> dict[str, str]:
  """Returns the versions of the packages that a result can depend on."""
  return {name: importlib.metadata.version(name) for name in PACKAGES}


def latest(workdir: Path, report: Callable[[str], None] = print, step: int | None = None) -> Meta:
  """Returns the metadata of the newest readable checkpoint, or of the one of `step`."""
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
  """Returns (parameters, variables, meta) of the newest readable checkpoint, or of the one of
  `step`.

  `expected(meta)` is computed from the checkpoint's own experiment. The devices need not be those
  of training. TokenSpaceError if its ids have other meanings, CheckpointError if its arrays do not
  fit.
  """
  restored = _restore(workdir, expected, report, step)
  if restored is None:
    raise _none(workdir)
  items, meta = restored
  return items["params"], items.get(VARIABLES, {}), meta


def restore_state(
  workdir: Path,
  state: states.TrainState,
  manifest: Mapping[str, Any],
  report: Callable[[str], None] = print,
) -> tuple[states.TrainState, Meta] | None:
  """Returns (state, meta) of the newest readable checkpoint; None if the run has not saved yet.

  `state` has the wanted shapes and shardings: arrays or ShapeDtypeStructs. A checkpoint that an
  earlier start wrote but did not read back before it was killed becomes valid if it is complete.
  Checkpoints newer than the restored one are moved to WORKDIR/damaged_checkpoints, and config.json
  is set to the experiment of the restored one.
  """
  expected = Expected(state.params, state.variables, manifest, items_of(state)["rest"])
  restored = _restore(workdir, lambda meta: expected, report, unverified=True)
  together.from_first(lambda: _resume_from(workdir, restored and restored[1], report))
  if restored is None:
    return None
  items, meta = restored
  variables = items.get(VARIABLES, {})
  return states.TrainState(items["params"], variables=variables, **items["rest"]), meta


def read_meta(workdir: Path, step: int) -> Meta:
  """Returns the metadata of the checkpoint of one step."""
  return Meta(step=step, **runs.fields(folder_of(workdir, step)))


def check_place(workdir: Path) -> None:
  """Raises ConfigError for a workdir in which checkpoints could not be found again."""
  if "\\" in str(workdir.absolute()):
    raise ConfigError(
      f"No checkpoint can be kept in {workdir.absolute()}: TensorStore, which writes the arrays, "
      "reads the backslash in it as a slash. Give a --workdir without one."
    )


def folder_of(workdir: Path, step: int) -> Path:
  """Returns the folder of the checkpoint of a step, verified or not."""
  named, written = named_of(workdir, step), unverified_of(workdir, step)
  return written if written.is_dir() and not named.is_dir() else named


def named_of(workdir: Path, step: int) -> Path:
  return (workdir / runs.CHECKPOINTS / str(step)).absolute()


def unverified_of(workdir: Path, step: int) -> Path:
  named = named_of(workdir, step)
  return named.with_name(named.name + UNVERIFIED)


def accept(workdir: Path, step: int, experiment: str) -> None:
  """Gives a verified checkpoint its final name, then writes its `experiment` to config.json.

  Readers use `runs.config`, which is also right if the process stops between the two renames.
  """
  with experiments.replacing_config(workdir, experiment):
    if not named_of(workdir, step).is_dir():
      unverified_of(workdir, step).rename(named_of(workdir, step))


def set_aside(workdir: Path, step: int) -> Path:
  """Moves the checkpoint of a step to the damaged ones; returns its new path."""
  number, place = 0, workdir / DAMAGED / str(step)
  while place.exists():
    number += 1
    place = workdir / DAMAGED / f"{step}.{number}"
  place.parent.mkdir(exist_ok=True)
  return folder_of(workdir, step).rename(place)


def items_of(state: states.TrainState) -> dict[str, Any]:
  """Returns the trees of a state that are saved; no item for variables if there are none."""
  fields = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
  items = {name: tree for name in ("params", VARIABLES) if (tree := fields.pop(name))}
  return {**items, "rest": fields}


def _none(workdir: Path) -> CheckpointError:
  return CheckpointError(
    f"No checkpoint in {workdir / runs.CHECKPOINTS}. Train first: audiopalm train CONFIG "
    f"--workdir {workdir}"
  )


def _restore(
  workdir: Path,
  expected: Callable[[Meta], Expected],
  report: Callable[[str], None],
  step: int | None = None,
  unverified: bool = False,
) -> tuple[dict[str, Any], Meta] | None:
  """Returns ({item: tree}, meta) of the newest readable checkpoint, or of the one of `step`."""

  def read(step):
    folder, meta = folder_of(workdir, step), read_meta(workdir, step)
    target = expected(meta)
    _check_fits(folder, meta, target)
    items = {"params": target.params, VARIABLES: target.variables, "rest": target.rest}
    return {name: _read_tree(folder / name, tree) for name, tree in items.items() if tree}, meta

  def check(restored):
    items, meta = restored
    wrong = [
      f"{item}/{name}"
      for item, tree in items.items()
      for name in bits.differing(meta.sums[item], bits.sums(tree))
    ]
    if wrong:
      raise ValueError(f"{len(wrong)} arrays are not what was saved: {', '.join(wrong[:3])}")

  return _newest(workdir, read, report, check, step, unverified)


def _resume_from(workdir: Path, restored: Meta | None, report: Callable[[str], None]) -> None:
  """Makes a checkpoint the newest: later ones are moved away before any process reads the
  folder."""
  for step in _steps(workdir, unverified=True):
    if restored is None or step > restored.step:
      place = set_aside(workdir, step)
      report(f"Moved the damaged checkpoint of step {step} to {place}.")
  if restored is not None:
    accept(workdir, restored.step, restored.experiment)


def _steps(workdir: Path, unverified: bool) -> list[int]:
  """Returns the steps of all checkpoints, unverified ones only if asked for, oldest first."""
  steps = set(runs.steps(workdir))
  if unverified:
    folder = workdir / runs.CHECKPOINTS
    names = (path.name.removesuffix(UNVERIFIED) for path in folder.glob(f"*{UNVERIFIED}"))
    steps |= {int(name) for name in names if name.isdecimal()}
  return sorted(steps)


def _newest(
  workdir: Path,
  read: Callable[[int], Read],
  report: Callable[[str], None],
  check: Callable[[Read], None] = lambda result: None,
  step: int | None = None,
  unverified: bool = False,
) -> Read | None:
  """Returns read(step) of the newest readable checkpoint, or of the one of `step`; None if there
  are no checkpoints.

  `check` may raise an error about the value that was read, which is the same on all processes.
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
    result, fault = _tried(lambda number=number: read(number))
    fault = next((text for text in together.gathered(fault) if text is not None), None)
    if fault is None:
      _, fault = _tried(lambda result=result: check(result))
    if fault is None:
      return result
    faults.append(f"{folder_of(workdir, number)}: {fault}")
    report(f"Checkpoint {faults[-1]}. It is damaged or half written: skipped.")
  if together.from_first(lambda: runs.steps(workdir)):  # unverified ones never counted
    raise CheckpointError(
      f"None of the {len(faults)} checkpoints in {workdir / runs.CHECKPOINTS} can be read:\n  "
      + "\n  ".join(faults)
      + "\nNothing was deleted. Restore one from a copy, or start anew in another --workdir."
    )
  return None


def _tried(act: Callable[[], Read]) -> tuple[Read | None, str | None]:
  """Returns (act(), None), or (None, a text that says what is damaged)."""
  try:
    return act(), None
  except (AudiopalmError, MemoryError, jax.errors.JaxRuntimeError):
    raise
  except Exception as error:  # readers raise many kinds of errors for damaged files
    _silence_readers()
    return None, text_of(error)


def text_of(error: Exception) -> str:
  """Returns the class of an error and the first line of its text."""
  return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')[:200]}"


def _silence_readers() -> None:
  """Suppresses the late messages of background readers of a damaged checkpoint."""
  hook = sys.unraisablehook

  def quiet(unraisable):
    text = f"{unraisable.exc_value} {unraisable.object!r}"
    if not any(words in text for words in LEFT_OVER):
      hook(unraisable)

  sys.unraisablehook = quiet


def _check_fits(folder: Path, meta: Meta, expected: Expected) -> None:
  # Compare as JSON, like the saved one: tuples become lists.
  manifest = json.loads(json.dumps(expected.manifest))
  token_space.check(manifest, meta.manifest, f"The checkpoint {folder}")
  if expected.rest is not None and "rest" not in meta.sums:
    raise CheckpointError(
      f"The checkpoint {folder} holds parameters alone, as imported runs do: it can be evaluated "
      "and used to generate, but not trained further without its optimizer's state. Train in the "
      "workdir it was exported from, or start anew in another --workdir."
    )
  variables = expected.variables
  if variables is not None and bool(variables) != (VARIABLES in meta.sums):
    holds, has = ("none", "some") if variables else ("some", "none")
    raise CheckpointError(
      f"The checkpoint {folder} holds {holds} of the variables that an objective keeps, and this "
      f"experiment's has {has}. Use the objective it was trained with, or another --workdir."
    )


def _read_tree(folder: Path, target: ArrayTree) -> Params:
  """Returns the saved tree placed as `target`; CheckpointError listing what differs in shape."""
  saved = stored.described(folder)
  _compare(saved, target, f"{folder.parent} ({folder.name})")
  abstract = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), target
  )
  if VARIABLES not in saved or VARIABLES in target:
    return stored.read(folder, abstract)
  # From before variables were an item: nothing, under their name, which Orbax asks for.
  tree = stored.read(folder, {**abstract, VARIABLES: {}})
  return {name: subtree for name, subtree in tree.items() if name in target}


def _compare(saved: ArrayTree, target: ArrayTree, what: str) -> None:
  saved_shapes, expected = stored.shapes_of(saved), stored.shapes_of(target)
  lines = [
    f"{name}: saved {saved_shapes.get(name, 'nothing')}, expected {expected.get(name, 'nothing')}"
    for name in {**expected, **saved_shapes}
    if saved_shapes.get(name) != expected.get(name)
  ]
  if lines:
    more = [f"... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    raise CheckpointError(
      f"The checkpoint {what} has other arrays than this experiment:\n  "
      + "\n  ".join(lines[:SHOWN] + more)
      + "\nUse the model, objective and optimizer it was trained with, or another --workdir."
    )
