"""What the processes of one run agree on: values from host to host, and sums over the devices.

`from_first` and `gathered` go through the service by which the processes found one another. They
touch no device and wait without an end, as collectives of devices cannot: Gloo gives a process that
comes late 30 seconds. All processes call them in one order, that of each `channel`: a thread beside
the main one needs one of its own. `Alone` and `Exchange` carry the few
numbers of a step that every process must know. A run of one process pays for none of it.
"""

import json
import signal
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax._src import distributed  # nothing public leads to the service; Orbax goes in here too

from audiopalm import errors
from audiopalm.batch import Counts

MAIN = "main"  # the channel of the main threads
WAIT_MS = 1_000  # the longest that a signal to stop waits for its handler
SIGNALS = (signal.SIGTERM, signal.SIGINT)


Value = TypeVar("Value")  # of JSON


class Client(Protocol):
  """What the service by which processes find one another offers, as far as it is used here."""

  def key_value_set(self, key: str, value: str) -> None: ...

  def key_value_dir_get(self, key: str) -> list[tuple[str, str]]: ...

  def key_value_increment(self, key: str, by: int) -> int: ...

  def blocking_key_value_get(self, key: str, timeout_ms: int) -> str: ...


def is_first() -> bool:
  """Returns whether this is the process that writes a run's files and prints; touches no device."""
  return distributed.global_state.process_id == 0


def from_first(make: Callable[[], Value], channel: str = MAIN) -> Value:
  """Returns on every process what make() returns on the first one alone, through JSON.

  An error for the user is raised on all of them.
  """
  client = distributed.global_state.client
  if client is None:
    return make()
  return _broadcast(client, _round(client, channel), make)


def gathered(value: Value, channel: str = MAIN) -> list[Value]:
  """Returns the values of all processes in their order, through JSON; so it is a barrier too."""
  state = distributed.global_state
  if state.client is None:
    return [value]
  number = _round(state.client, channel)
  folder = f"{number}/of"
  state.client.key_value_set(f"{folder}/{state.process_id}", json.dumps(value))

  def whole():
    while True:
      values = dict(state.client.key_value_dir_get(folder))
      if len(values) == state.num_processes:
        return [json.loads(values[f"{folder}/{each}"]) for each in range(state.num_processes)]
      time.sleep(0.05)

  return _broadcast(state.client, number, whole)


def wait_for_all(seconds: float) -> bool:
  """Waits until all processes call it, at most so long; returns whether they did."""
  client = distributed.global_state.client
  if client is not None:
    try:
      client.wait_at_barrier("audiopalm/end", int(seconds * 1000))
    except jax.errors.JaxRuntimeError:
      return False
  return True


def _broadcast(client: Client, number: str, make: Callable[[], Value]) -> Value:
  key = f"{number}/told"
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


def _round(client: Client, channel: str) -> str:
  """Returns a name that the next call has on all processes; the service counts the calls."""
  mine = f"audiopalm/{channel}/rounds/{distributed.global_state.process_id}"
  return f"audiopalm/{channel}/{client.key_value_increment(mine, 1)}"


class Alone:
  """What `Exchange` is to a run of one process: it knows everything at once."""

  def __init__(self):
    self.asked_by = ""

  def begin(self, counts: Counts, asked_by: str) -> Callable[[], Counts]:
    self.asked_by = asked_by
    return lambda: counts


class Exchange:
  """Adds up what each process counted in its rows of a batch, and who was asked to stop.

  The sums are made on the devices behind the step and read with its metrics, so no process waits
  for another. It costs one all-reduce of 4 x (length + 3 x tasks + 4) bytes a step, and a
  process stops one step later than it would alone. Call it from the main thread: all processes
  must begin their collectives in one order.

  `asked_by` names the signal that any process had been given when the step last read was begun:
  the same on all of them, so they stop after the same step.
  """

  def __init__(self, mesh: jax.sharding.Mesh, tasks: int, length: int):
    self.asked_by = ""
    self._tasks = tasks
    self._size = len(SIGNALS) + 3 * tasks + length + 1 + 1
    self._devices = list(mesh.devices.flat)
    self._where = jax.NamedSharding(mesh, jax.P(mesh.axis_names))
    local = [device for device in self._devices if device.process_index == jax.process_index()]
    self._speaker = local[0]
    nothing = np.zeros((1, self._size), np.int32)
    self._silent = [jax.device_put(nothing, device) for device in local[1:]]
    whole = jax.NamedSharding(mesh, jax.P())
    self._sum = jax.jit(lambda numbers_PN: jnp.sum(numbers_PN, axis=0), out_shardings=whole)

  def begin(self, counts: Counts, asked_by: str) -> Callable[[], Counts]:
    """Returns what waits for the counts of all processes; once called, `asked_by` is as new."""
    asked = [asked_by == each.name for each in SIGNALS]
    lengths_N = np.bincount(counts.lengths_N, minlength=self._length + 1)
    numbers_N = np.concatenate(
      [asked, counts.rows_T, counts.examples_T, counts.tokens_T, lengths_N, [counts.digest]]
    )
    numbers_N = numbers_N.astype(np.uint32).view(np.int32)  # digests add up modulo 2^32
    numbers_1N = jax.device_put(numbers_N[None], self._speaker)
    numbers_PN = jax.make_array_from_single_device_arrays(
      (len(self._devices), self._size), self._where, [numbers_1N, *self._silent]
    )
    sums_N = self._sum(numbers_PN)
    return lambda: self._read(jax.device_get(sums_N))

  @property
  def _length(self) -> int:
    return self._size - len(SIGNALS) - 3 * self._tasks - 2

  def _read(self, sums_N: np.ndarray) -> Counts:
    ends = np.cumsum([len(SIGNALS), *3 * [self._tasks], self._length + 1])
    asked, *by_task, lengths_N, digest = np.split(sums_N, ends)
    asking = [each.name for each, number in zip(SIGNALS, asked, strict=True) if number]
    self.asked_by = asking[0] if asking else ""
    rows_T, examples_T, tokens_T = (numbers_T.astype(np.int64) for numbers_T in by_task)
    lengths_N = np.repeat(np.arange(len(lengths_N)), lengths_N)
    return Counts(rows_T, examples_T, tokens_T, lengths_N, int(digest.view(np.uint32)[0]))
