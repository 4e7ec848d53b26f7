"""Communication between the processes of a run: values between hosts, and sums over devices.

`from_first` and `gathered` use JAX's coordination service: they use no device and wait without a
limit, while Gloo gives a collective 30 seconds to begin. All processes must make the calls of each
`channel` in the same order, so every thread needs its own channel. `Exchange` shares the few
numbers of a step that every process must know. With one process none of this costs anything.
"""

import json
import signal
import time
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax._src import distributed  # the service has no public name; Orbax uses this one too

from audiopalm import errors
from audiopalm.batch import Counts

MAIN = "main"  # the channel of the main threads
WAIT_MS = 1_000  # how long a stop signal may wait for its handler
SIGNALS = (signal.SIGTERM, signal.SIGINT)

Value = TypeVar("Value")  # of JSON


def is_first() -> bool:
  """Returns whether this process writes the files of a run and prints; uses no device."""
  return distributed.global_state.process_id == 0


def from_first(make: Callable[[], Value], channel: str = MAIN) -> Value:
  """Calls make() on the first process and returns its result on all processes, through JSON.

  An AudiopalmError is raised on all of them.
  """
  if distributed.global_state.client is None:
    return make()
  return _broadcast(_round(channel), make)


def gathered(value: Value, channel: str = MAIN) -> list[Value]:
  """Returns the values of all processes in their order, through JSON; also a barrier."""
  state = distributed.global_state
  if state.client is None:
    return [value]
  number = _round(channel)
  folder = f"{number}/of"
  state.client.key_value_set(f"{folder}/{state.process_id}", json.dumps(value))

  def all_values():
    while True:
      values = dict(state.client.key_value_dir_get(folder))
      if len(values) == state.num_processes:
        return [json.loads(values[f"{folder}/{index}"]) for index in range(state.num_processes)]
      time.sleep(0.05)

  return _broadcast(number, all_values)


def wait_for_all(seconds: float) -> bool:
  """Waits for all processes, up to a time limit; returns whether all called it."""
  client = distributed.global_state.client
  if client is not None:
    try:
      client.wait_at_barrier("audiopalm/end", int(seconds * 1000))
    except jax.errors.JaxRuntimeError:
      return False
  return True


def _broadcast(number: str, make: Callable[[], Value]) -> Value:
  client, key = distributed.global_state.client, f"{number}/told"
  if is_first():
    try:
      value = make()
    except errors.AudiopalmError as error:
      client.key_value_set(key, json.dumps([type(error).__name__, str(error)]))
      raise
    client.key_value_set(key, json.dumps([None, value]))
    return value
  while True:
    try:
      kind, value = json.loads(client.blocking_key_value_get(key, WAIT_MS))
      break
    except jax.errors.JaxRuntimeError as error:
      if "DEADLINE_EXCEEDED" not in str(error):
        raise
  if kind is None:
    return value
  raise getattr(errors, kind)(f"Process 0: {value}")


def _round(channel: str) -> str:
  """Returns the name of the next call, the same on all processes; the service counts the calls."""
  state = distributed.global_state
  own = f"audiopalm/{channel}/rounds/{state.process_id}"
  return f"audiopalm/{channel}/{state.client.key_value_increment(own, 1)}"


class Exchange:
  """Sums the counts of all processes for a batch, and shares which process was asked to stop.

  The sums are computed on the devices after the step and read with its metrics, so no process waits
  for another. It costs one all-reduce of 4 x (length + 3 x tasks + 4) bytes a step, and a process
  stops one step later than it would alone. Call it from the main thread: all processes must begin
  their collectives in one order. With one process nothing is computed.

  `asked_by` names the signal that any process had received when the step last read began. It is the
  same on all processes, so they stop after the same step.
  """

  def __init__(self, mesh: jax.sharding.Mesh, tasks: int, length: int):
    self.asked_by = ""
    self._alone = jax.process_count() == 1
    self._parts = (len(SIGNALS), tasks, tasks, tasks, length + 1, 1)
    self._shape = (mesh.size, sum(self._parts))
    self._sharding = jax.NamedSharding(mesh, jax.P(mesh.axis_names))
    process = jax.process_index()
    self._first, *others = [d for d in mesh.devices.flat if d.process_index == process]
    zeros = np.zeros((1, self._shape[1]), np.int32)
    self._zeros = [] if self._alone else [jax.device_put(zeros, device) for device in others]
    replicated = jax.NamedSharding(mesh, jax.P())
    self._sum = jax.jit(lambda numbers_PN: jnp.sum(numbers_PN, axis=0), out_shardings=replicated)

  def begin(self, counts: Counts, asked_by: str) -> Callable[[], Counts]:
    """Returns a function that waits for the summed counts, returns them, and sets `asked_by`."""
    if self._alone:
      self.asked_by = asked_by
      return lambda: counts
    signals = [asked_by == stop.name for stop in SIGNALS]
    lengths_N = np.bincount(counts.lengths_N, minlength=self._parts[4])
    numbers_N = np.concatenate(
      [signals, counts.rows_T, counts.examples_T, counts.tokens_T, lengths_N, [counts.digest]]
    )
    numbers_N = numbers_N.astype(np.uint32).view(np.int32)  # digests add up modulo 2^32
    numbers_1N = jax.device_put(numbers_N[None], self._first)
    numbers_PN = jax.make_array_from_single_device_arrays(
      self._shape, self._sharding, [numbers_1N, *self._zeros]
    )
    sums_N = self._sum(numbers_PN)
    return lambda: self._read(jax.device_get(sums_N))

  def _read(self, sums_N: np.ndarray) -> Counts:
    signals, *by_task, lengths_N, digest = np.split(sums_N, np.cumsum(self._parts[:-1]))
    self.asked_by = next((s.name for s, number in zip(SIGNALS, signals, strict=True) if number), "")
    lengths_N = np.repeat(np.arange(len(lengths_N)), lengths_N)
    by_task = (numbers_T.astype(np.int64) for numbers_T in by_task)
    return Counts(*by_task, lengths_N, int(digest.view(np.uint32)[0]))
