"""Several processes that train one model: how they join, agree, and how one of them exits."""

import argparse
import contextlib
import os
import re
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax

from audiopalm.cli import options
from audiopalm.errors import EXIT_USER, ConfigError
from audiopalm.settings import Machine
from audiopalm.training import together

MEETING_S = 1_800.0  # how long a process waits for the others to start
PARTING_S = 20.0  # how long a failed process waits to see whether the others fail too
AUTO = "auto"
HOW = (
  "To train with several processes, start each with --coordinator-address HOST:PORT "
  "--num-processes N --process-id I (HOST:PORT: a free port of process 0; I: 0 to N - 1), or on "
  "TPU pods and under SLURM with --coordinator-address auto alone"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the options by which several processes find each other."""
  summary = (
    "train with several processes, each started by this command: the host of process 0 and a free "
    "port there; 'auto' on TPU pods and under SLURM, where JAX detects all three options"
  )
  options.add(parser, "--coordinator-address HOST:PORT", summary)
  options.add(parser, "--num-processes N", "number of processes", type=int)
  options.add(parser, "--process-id I", "index of this process, from 0", type=int)


def check(args: argparse.Namespace) -> None:
  """Raises ConfigError unless all three options are given with valid values, or none is."""
  address, number, index = args.coordinator_address, args.num_processes, args.process_id
  named = {"--coordinator-address": address, "--num-processes": number, "--process-id": index}
  command_line = " ".join(f"{name} {value}" for name, value in named.items() if value is not None)
  if address == AUTO:
    fits = number is None and index is None
  elif None in named.values():
    fits = not command_line
  else:
    port = re.fullmatch(r".+:(\d{1,5})", address)
    fits = port and 0 < int(port[1]) < 2**16 and 0 <= index < number
  if not fits:
    raise ConfigError(f"{HOW}; got {command_line}.")


def join(args: argparse.Namespace, meeting_s: float = MEETING_S) -> None:
  """Joins the other processes of the run, if there are any. Must precede any use of a device.

  ConfigError if JAX finds no cluster or the port is taken. If the others are missing after
  `meeting_s` seconds, prints an error and exits: JAX itself would abort with a stack trace.
  """
  check(args)
  if args.coordinator_address is None:
    return
  jax.config.update("jax_cpu_collectives_implementation", "gloo")
  # JAX's own handler of SIGTERM would replace ours.
  jax.config.update("jax_enable_preemption_service", False)
  settings = {"initialization_timeout": int(meeting_s) + 60}
  if args.coordinator_address != AUTO:
    if args.process_id == 0:
      _check_port(args.coordinator_address)
    settings |= {
      "coordinator_address": args.coordinator_address,
      "num_processes": args.num_processes,
      "process_id": args.process_id,
      "cluster_detection_method": "deactivate",
    }
  with _meeting(args, meeting_s):
    try:
      jax.distributed.initialize(**settings)
    except Exception as error:
      raise ConfigError(f"The processes did not meet: {error} {HOW}.") from error


def check_equal(mine: Mapping[str, str]) -> None:
  """Raises ConfigError on every process unless all processes pass the same values."""
  all_values = together.gathered(dict(mine))
  for name in mine:
    if difference := _difference([values[name] for values in all_values]):
      raise ConfigError(
        f"The processes do not run the same {name}: {difference}. Start all of them with the same "
        "config, --set, --machine and installation."
      )


def agree(choose: Callable[[], tuple[Machine, str]]) -> tuple[Machine, str]:
  """Returns choose(), a machine and the reason for its dtype of matrix products.

  Raises ConfigError on all processes if choose() does so on one, or if the dtypes differ.
  """
  chosen, fault = None, None
  try:
    chosen = choose()
  except ConfigError as error:
    fault = str(error)
  answers = together.gathered([chosen and chosen[0].products, fault])
  for index, (_, why) in enumerate(answers):
    if why is not None:
      raise ConfigError(why if len(answers) == 1 else f"Process {index}: {why}")
  if difference := _difference([dtype for dtype, _ in answers]):
    raise ConfigError(
      f"The processes use different dtypes for matrix products: {difference}. Start all of them "
      "with the same --products, such as --products float32, which every CPU supports."
    )
  return chosen


def _difference(values: Sequence[str]) -> str:
  """Returns how the values of two processes differ, "" if all are the same."""
  for index, value in enumerate(values):
    if value != values[0]:
      return f"{values[0]} on process 0, {value} on process {index}"
  return ""


def leave(exit_code: int, error: BaseException | None = None) -> None:
  """Exits at once if other processes of the run are still running, else returns.

  A normal exit would wait five minutes for the others, which may be waiting for this process. So
  this prints `error`, unless it is None, and exits; the others end when JAX notices: at once, or
  after about 100 seconds.
  """
  if together.wait_for_all(PARTING_S):
    return
  if error is not None:
    traceback.print_exception(error)
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(exit_code)


def _check_port(address: str) -> None:
  port = int(address.rpartition(":")[2])
  try:
    socket.create_server(("", port)).close()
  except OSError as error:
    raise ConfigError(
      f"Process 0 cannot listen on port {port}: {error.strerror}. Give a free port of its host as "
      "the --coordinator-address of all processes."
    ) from error


@contextlib.contextmanager
def _meeting(args: argparse.Namespace, seconds: float) -> Iterator[None]:
  """Prints an error and exits unless the block ends within `seconds`. In the block SIGTERM and
  Ctrl-C end the process at once, because Python's own handlers wait for JAX to return."""

  def end():
    print(f"{ConfigError.__name__}: {_absence(args, seconds)}", file=sys.stderr, flush=True)
    os._exit(EXIT_USER)

  timer = threading.Timer(seconds, end)
  timer.daemon = True
  is_main = threading.current_thread() is threading.main_thread()
  numbers = (signal.SIGTERM, signal.SIGINT) if is_main else ()
  handlers = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
  timer.start()
  try:
    yield
  finally:
    timer.cancel()
    for number, handler in handlers.items():
      signal.signal(number, handler)


def _absence(args: argparse.Namespace, seconds: float) -> str:
  """Returns the error message for processes that did not join in time."""
  if args.coordinator_address == AUTO:
    return f"The processes did not meet within {seconds:,.0f} s. Start all of them. {HOW}."
  host, _, port = args.coordinator_address.rpartition(":")
  try:
    socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    state = "process 0 is running, but others are missing"
  except OSError as error:
    state = f"process 0 does not answer ({error.strerror or error})"
  return (
    f"The {args.num_processes} processes did not meet at {args.coordinator_address} within "
    f"{seconds:,.0f} s: {state}. Start all of them, each with its own --process-id, and check that "
    "they can reach that port."
  )
