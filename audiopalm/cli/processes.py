"""Several processes that train one model: how they find each other, and how one leaves the rest."""

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

MEETING_S = 1_800.0  # how long processes wait for the others to be started
PARTING_S = 20.0  # how long one that ends by an error waits to see whether the others do too
AUTO = "auto"
HOW = (
  "Several processes train together by --coordinator-address HOST:PORT --num-processes N "
  "--process-id I on each of them (HOST:PORT: a free port of process 0; I: 0 to N - 1), or on TPU "
  "pods and under SLURM by --coordinator-address auto alone"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds how several processes find each other."""
  summary = (
    "train with several processes, each started by this command: the host of process 0 and a free "
    "port there; 'auto' on TPU pods and under SLURM, where JAX finds all three itself"
  )
  options.add(parser, "--coordinator-address HOST:PORT", summary)
  options.add(parser, "--num-processes N", "how many processes there are", type=int)
  options.add(parser, "--process-id I", "which of them this is, from 0", type=int)


def check(args: argparse.Namespace) -> None:
  """Raises ConfigError unless all of the options were given, or none, and mean something."""
  address, number, index = args.coordinator_address, args.num_processes, args.process_id
  given = {"--coordinator-address": address, "--num-processes": number, "--process-id": index}
  command_line = " ".join(f"{name} {value}" for name, value in given.items() if value is not None)
  if address == AUTO:
    fits = number is None and index is None
  elif None in given.values():
    fits = not command_line
  else:
    port = re.fullmatch(r".+:(\d{1,5})", address)
    fits = port and 0 < int(port[1]) < 2**16 and 0 <= index < number
  if not fits:
    raise ConfigError(f"{HOW}; got {command_line}.")


def join(args: argparse.Namespace, meeting_s: float = MEETING_S) -> None:
  """Meets the other processes of a run that has some; no device may have been touched before.

  ConfigError where JAX finds no cluster or the port is taken. After `meeting_s` seconds without the
  others it prints one text and ends this process: JAX itself would abort it with a stack trace.
  """
  check(args)
  if args.coordinator_address is None:
    return
  jax.config.update("jax_cpu_collectives_implementation", "gloo")
  # JAX's own handler of SIGTERM would take the place of ours.
  jax.config.update("jax_enable_preemption_service", False)
  meant = {"initialization_timeout": int(meeting_s) + 60}
  if args.coordinator_address != AUTO:
    if args.process_id == 0:
      _check_port(args.coordinator_address)
    meant |= {
      "coordinator_address": args.coordinator_address,
      "num_processes": args.num_processes,
      "process_id": args.process_id,
      "cluster_detection_method": "deactivate",
    }
  with _meeting(args, meeting_s):
    try:
      jax.distributed.initialize(**meant)
    except Exception as error:
      raise ConfigError(f"The processes did not meet: {error} {HOW}.") from error


def check_alike(mine: Mapping[str, str]) -> None:
  """Raises ConfigError on every process of a run where one of them says something else."""
  all_values = together.gathered(dict(mine))
  for name in mine:
    if difference := _difference([values[name] for values in all_values]):
      raise ConfigError(
        f"The processes do not run the same {name}: {difference}. Start all of them with one "
        "config, one --set, one --machine and one installation."
      )


def agree(choose: Callable[[], tuple[Machine, str]]) -> tuple[Machine, str]:
  """Returns choose(), a machine and why it multiplies as it does; an error of one process is raised
  on all of them, and so is it when they would multiply in several dtypes."""
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
      f"The processes do not multiply in one type: {difference}. Start all of them with one "
      "--products, such as --products float32, which every CPU has."
    )
  return chosen


def _difference(values: Sequence[str]) -> str:
  """Returns how a process differs from the first one, '' where all have one value."""
  for index, value in enumerate(values):
    if value != values[0]:
      return f"{values[0]} on process 0, {value} on process {index}"
  return ""


def leave(exit_code: int, error: BaseException | None = None) -> None:
  """Ends this process here if others of its run go on; returns in a run of one process.

  To end as usual is to wait five minutes for the others, which may be waiting for this process. So
  `error`, if it was not said yet, and the exit code go out now, and the others end when JAX misses
  this one: at once, or after some 100 seconds.
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
      f"Process 0 cannot listen on port {port}: {error.strerror}. Name a free port of its host in "
      "the --coordinator-address of all processes."
    ) from error


@contextlib.contextmanager
def _meeting(args: argparse.Namespace, seconds: float) -> Iterator[None]:
  """Ends this process with one text unless the block ends first; SIGTERM and Ctrl-C end it at once,
  because Python's own handlers wait for JAX to return."""

  def end():
    print(f"{ConfigError.__name__}: {_absence(args, seconds)}", file=sys.stderr, flush=True)
    os._exit(EXIT_USER)

  timer = threading.Timer(seconds, end)
  timer.daemon = True
  is_main = threading.current_thread() is threading.main_thread()
  numbers = (signal.SIGTERM, signal.SIGINT) if is_main else ()
  before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
  timer.start()
  try:
    yield
  finally:
    timer.cancel()
    for number, handler in before.items():
      signal.signal(number, handler)


def _absence(args: argparse.Namespace, seconds: float) -> str:
  """Returns what to say when the others did not come."""
  if args.coordinator_address == AUTO:
    return f"The processes did not meet within {seconds:,.0f} s. Start all of them. {HOW}."
  host, _, port = args.coordinator_address.rpartition(":")
  try:
    socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    state = "process 0 is there, but others are not"
  except OSError as error:
    state = f"nobody answers there ({error.strerror or error})"
  return (
    f"The {args.num_processes} processes did not meet at {args.coordinator_address} within "
    f"{seconds:,.0f} s: {state}. Start all of them, each with its own --process-id, and see that "
    "they reach that port."
  )
