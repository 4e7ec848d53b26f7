"""Stops a run early: on a signal, after too many bad steps, or on faulty hardware."""

import contextlib
import dataclasses
import signal
import threading
from collections.abc import Callable, Iterator

import jax

from audiopalm import bits
from audiopalm.batch import Batch
from audiopalm.errors import BadSteps, HardwareFault
from audiopalm.sharding import ArrayTree
from audiopalm.training.state import TrainState

FILE = "bad_steps.json"  # in the workdir: the records of the last steps of a run that gave up
MOST_BAD_STEPS = 20  # skipped steps in a row before a run gives up


@dataclasses.dataclass
class StopRequest:
  """The name of the signal that asked the run to stop, '' for none."""

  asked_by: str = ""


@contextlib.contextmanager
def stop_signals() -> Iterator[StopRequest]:
  """Yields a StopRequest that SIGTERM or SIGINT sets; a second signal has its default effect.

  Python delivers signals only to the main thread, so nothing is caught in other threads.
  """
  stop = StopRequest()
  if threading.current_thread() is not threading.main_thread():
    yield stop
    return
  before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

  def restore():
    for number, handler in before.items():
      signal.signal(number, handler)

  def ask(number, frame):
    stop.asked_by = signal.Signals(number).name
    restore()

  for number in before:
    signal.signal(number, ask)
  try:
    yield stop
  finally:
    restore()


def check_saved(due: bool, steps: int) -> None:
  """Raises BadSteps if a run ends without saving its last state because no step was finite."""
  if due:
    raise BadSteps(
      f"No step of this run up to the last, {steps}, had a finite loss, gradient and update, so "
      "there is nothing to save; earlier checkpoints are as they were. Look at grad_norm in "
      "metrics.jsonl; then lower optimizer.peak_lr or lengthen optimizer.warmup_steps, and start "
      "again."
    )


def check_streak(skipped_in_a_row: int, step: int) -> None:
  """Raises BadSteps once MOST_BAD_STEPS steps in a row were skipped."""
  if skipped_in_a_row >= MOST_BAD_STEPS:
    raise BadSteps(
      f"The last {skipped_in_a_row} steps up to step {step} were skipped: their loss, gradients or "
      "update were not finite, or their gradient norm was beyond optimizer.spike. The parameters "
      f"are those of the last good step. See grad_norm in metrics.jsonl, the records in {FILE} and "
      "audiopalm inspect batch --workdir DIR --step N; then lower optimizer.peak_lr, lengthen "
      "optimizer.warmup_steps or tighten optimizer.clip_norm, and start again: the run resumes "
      "from its latest checkpoint."
    )


def computed_twice(
  compiled: Callable, state: TrainState, batch: Batch, key: jax.Array, step: int
) -> tuple[TrainState, dict[str, ArrayTree]]:
  """Returns compiled(state, batch, key), computed twice; HardwareFault unless the bits are equal.

  It needs memory for a second state.
  """
  copy = jax.tree.map(lambda array: array.copy(), state)
  first = bits.sums(compiled(state, batch, key))
  second = compiled(copy, batch, key)
  differing = bits.differing(first, bits.sums(second))
  if differing:
    names = ", ".join(differing[:3])
    raise HardwareFault(
      f"Step {step}, computed twice, differs in {len(differing)} arrays ({names}): a device or "
      "its memory errs, or an operation has no fixed order (GPUs need XLA_FLAGS="
      "--xla_gpu_deterministic_ops=true for this check). Nothing of the step was saved. Take that "
      "machine out of service, or find which, and run the same command again: it resumes."
    )
  return second
