"""Writing of checkpoints on a thread; each is read back before it becomes valid.

<step>.unverified.orbax-checkpoint-tmp   while it is written
<step>.unverified                        written, not read back yet
<step>                                   read back and equal; only now may older ones be removed
"""

import contextlib
import dataclasses
import logging
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import jax
import orbax.checkpoint as ocp

from audiopalm import bits, quantities, runs, stored, system
from audiopalm.errors import AudiopalmError, CheckpointError, DamagedSave, FullDevice
from audiopalm.models.base import Params
from audiopalm.sharding import ArrayTree
from audiopalm.training import checkpoint, together, verification
from audiopalm.training import state as states

REMOVED = ".removed"
CHANNEL = "checkpoints"  # of the writer threads (`together`)
# Attempts to remove the files of a failed save, and the pause between them.
REMOVALS, SETTLES_S = 50, 0.1
MOST_DAMAGED = 3  # damaged checkpoints in a row before a run gives up


class Writer:
  """Saves states in the background. The newest `keep` checkpoints are kept, those of each
  `keep_every_steps`-th step, and that of step `best`. A context manager, which waits for the last
  save on exit.

  Every method may raise the error of an earlier save: FullDevice, or DamagedSave if the files
  differed from the saved state and were moved to the damaged ones. Earlier checkpoints are then
  unchanged, and saving may continue; after MOST_DAMAGED in a row the error is a CheckpointError,
  which should end the run. `verify_s` is how long it took to read back the last checkpoint.
  """

  def __init__(self, workdir: Path, keep: int, keep_every_steps: int | None = None):
    checkpoint.check_place(workdir)
    self.best: int | None = None
    self.verify_s = 0.0
    self._workdir, self._keep, self._keep_every = workdir, keep, keep_every_steps
    self._thread: threading.Thread | None = None
    self._error: BaseException | None = None
    self._damaged = 0
    self._checkpointer = self._opened()

  def save(self, state: states.TrainState, meta: checkpoint.Meta) -> None:
    """Starts to save; returns when the arrays are copied, so that the state may be donated."""
    self.wait()
    needed = sum(array.nbytes for array in jax.tree.leaves(state))  # of all processes
    free = together.from_first(lambda: shutil.disk_usage(self._workdir).free)
    if free < needed:
      sizes = f"takes {quantities.size(needed)}, {quantities.size(free)} are free"
      raise _no_space(self._workdir, f"a checkpoint {sizes}")
    self._save(meta, **checkpoint.items_of(state))

  def save_model(self, params: Params, variables: Params, meta: checkpoint.Meta) -> None:
    """Saves parameters and variables: enough to evaluate and generate, not to resume."""
    self.wait()
    self._save(meta, params=params, **({"variables": variables} if variables else {}))

  def wait(self) -> None:
    """Waits until everything that was saved is on disk, read back and valid."""
    if self._thread is None:
      return
    self._thread.join()
    self._thread = None
    if self._error is not None:
      error, self._error = self._error, None
      self._raise(error)
    self._damaged = 0

  def __enter__(self) -> "Writer":
    # Orbax's thread logs a traceback for errors that `wait` and `save` raise here.
    self._level = logging.getLogger("absl").level
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    return self

  def __exit__(
    self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
  ) -> None:
    try:
      self.wait()  # also after an error, so that a save in progress is finished
      self._checkpointer.close()
    finally:
      logging.getLogger("absl").setLevel(self._level)

  def _save(self, meta: checkpoint.Meta, **trees: ArrayTree) -> None:
    sums = {name: bits.sums(tree) for name, tree in trees.items()}
    fields = dataclasses.asdict(dataclasses.replace(meta, sums=sums))
    del fields["step"]
    shapes = {name: stored.shapes_of(tree) for name, tree in trees.items()}
    items = {name: ocp.args.StandardSave(tree) for name, tree in trees.items()}
    meta_item = ocp.args.JsonSave({**fields, "digest": runs.digest(fields)})
    path = stored.LiteralPath(str(checkpoint.unverified_of(self._workdir, meta.step)))
    try:
      self._checkpointer.save(path, args=ocp.args.Composite(**items, meta=meta_item), force=True)
    except Exception as error:  # many kinds of errors report a full device
      self._raise(error)
    self._thread = threading.Thread(
      target=self._verify, args=(meta, fields, shapes), name="checkpoint", daemon=True
    )
    self._thread.start()

  def _verify(self, meta: checkpoint.Meta, fields: dict, shapes: dict) -> None:
    """Reads back a save when it is written; runs on the thread, whose error `wait` raises."""
    try:
      self._wait_until_written()
      begun_s = time.perf_counter()
      folder = checkpoint.unverified_of(self._workdir, meta.step)
      processes = jax.process_index(), jax.process_count()
      fault = verification.fault(folder, fields, shapes, meta.step, *processes)
      self.verify_s = time.perf_counter() - begun_s
      faults = [text for text in together.gathered(fault, CHANNEL) if text]
      together.from_first(lambda: self._accept_or_set_aside(meta, faults), CHANNEL)
    except BaseException as error:
      self._error = error

  def _wait_until_written(self) -> None:
    """Waits until all processes have written their part; an error of one is raised on all."""
    error = None
    try:
      self._checkpointer.wait_until_finished()
    except Exception as own:
      error = own
    errors = together.gathered(None if error is None else str(error)[:500], CHANNEL)
    if error is not None:
      raise error
    for number, text in enumerate(errors):
      if text is not None:
        raise CheckpointError(f"Process {number} could not write its part of a checkpoint: {text}")

  def _accept_or_set_aside(self, meta: checkpoint.Meta, faults: list[str]) -> None:
    """Gives a checkpoint its final name and removes old ones, or moves it to the damaged ones; runs
    on the first process."""
    if not faults:
      checkpoint.accept(self._workdir, meta.step, meta.experiment)
      self._remove(runs.steps(self._workdir))
      return
    place = checkpoint.set_aside(self._workdir, meta.step)
    raise DamagedSave(
      f"The checkpoint of step {meta.step} is not what was saved, as it was opened again: "
      f"{faults[0]}. It lies in {place}. {_intact(self._workdir)}."
    )

  def _remove(self, steps: list[int]) -> None:
    stay = {*steps[-self._keep :], self.best}
    for step in steps:
      if step not in stay and (self._keep_every is None or step % self._keep_every):
        path = checkpoint.named_of(self._workdir, step)
        # Rename first: a partly removed checkpoint must not look like a damaged one.
        shutil.rmtree(path.rename(path.with_name(path.name + REMOVED)))

  def _raise(self, error: BaseException) -> None:
    if isinstance(error, DamagedSave):
      self._damaged += 1
      if self._damaged >= MOST_DAMAGED:
        raise CheckpointError(
          f"{error} It is the last of {MOST_DAMAGED} in a row: what writes to the device of "
          f"{self._workdir / runs.CHECKPOINTS} cannot be trusted. Check the device, or copy the "
          "workdir to another one, and run the same command there: it resumes."
        ) from error
      raise error
    if isinstance(error, AudiopalmError) or not system.is_full(error):
      raise error
    full = _no_space(self._workdir, str(error).splitlines()[0][:300])
    if jax.process_count() > 1:  # the others have another error, or none
      raise CheckpointError(str(full)) from error
    # The files of the failed save take room too. Wait for its threads first, which would continue
    # to write: Orbax waits only for the first that fails.
    try:
      self._checkpointer.close()
    except Exception as closing:
      if not system.is_full(closing):
        raise closing from error
    for thread in threading.enumerate():
      if type(thread).__module__.partition(".")[0] == "orbax":
        threading.Thread.join(thread)  # its own `join` would raise the error again
    self._checkpointer = self._opened()
    raise full from error

  def _opened(self) -> ocp.AsyncCheckpointer:
    folder = self._workdir / runs.CHECKPOINTS
    if together.is_first():
      folder.mkdir(parents=True, exist_ok=True)
      _remove_remains(folder)
    return ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler())


def _remove_remains(folder: Path) -> None:
  """Removes partly written and partly removed folders, repeatedly, because TensorStore may still
  write files of a failed save after their folder was removed."""
  for left in reversed(range(REMOVALS)):
    remains = [*folder.glob(f"*{checkpoint.UNFINISHED}*"), *folder.glob(f"*{REMOVED}")]
    if not remains:
      return
    for path in remains:
      shutil.rmtree(path, ignore_errors=left > 0)  # files may appear during removal
    time.sleep(SETTLES_S)


@contextlib.contextmanager
def full_device(workdir: Path) -> Iterator[None]:
  """Raises FullDevice for the error of a full device in the block, however it is reported."""
  try:
    yield
  except AudiopalmError:
    raise
  except Exception as error:
    if system.is_full(error):
      raise _no_space(workdir, str(error).splitlines()[0][:300]) from error
    raise


def _no_space(workdir: Path, why: str) -> FullDevice:
  return FullDevice(
    f"No space left on the device of {workdir / runs.CHECKPOINTS}: {why}. {_intact(workdir)}. Free "
    "space, or lower keep_checkpoints; a run that ended resumes with the same command."
  )


def _intact(workdir: Path) -> str:
  have = runs.steps(workdir)
  return f"The checkpoint of step {have[-1]} is intact" if have else "There is no checkpoint yet"
