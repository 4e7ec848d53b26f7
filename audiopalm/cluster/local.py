"""Runs the processes of one training run on this machine; they start and stop together."""

import contextlib
import dataclasses
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO, TextIO

from audiopalm.cluster import places
from audiopalm.errors import EXIT_DONE, EXIT_REQUEUE, ConfigError

GRACE_S = 10.0  # how long the other processes may take to exit after one has failed
POLL_S = 0.1
# Closing a terminal sends SIGHUP, which training does not handle.
FORWARDED = {
  signal.SIGTERM: signal.SIGTERM, signal.SIGINT: signal.SIGINT, signal.SIGHUP: signal.SIGTERM
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Process:
  """A command, and the variables it adds to the launcher's environment."""

  command: tuple[str, ...]
  environment: Mapping[str, str]

  def __str__(self):
    return shlex.join(
      [*(f"{name}={value}" for name, value in self.environment.items()), *self.command]
    )


def processes(
  command: Sequence[str],
  place: places.LocalProcesses,
  port: int,
  environment: Mapping[str, str] = os.environ,
) -> list[Process]:
  """Returns the processes of a run, whose coordinator listens on a port of this machine.

  `environment` is the launcher's: GPUs come from its CUDA_VISIBLE_DEVICES, and its XLA_FLAGS are
  kept. ConfigError if it has too few GPUs.
  """
  words = (*command, "--coordinator-address", f"127.0.0.1:{port}")
  words += ("--num-processes", str(place.num_processes), "--process-id")
  return [
    Process((*words, str(index)), _devices(place, index, environment))
    for index in range(place.num_processes)
  ]


def free_port() -> int:
  """Returns a free port of this machine."""
  with socket.create_server(("127.0.0.1", 0)) as server:
    return server.getsockname()[1]


def run(processes: Sequence[Process], grace_s: float = GRACE_S) -> int:
  """Runs the processes and returns the exit code of the one that failed first, 0 if none did.

  Prefixes each line of their output with the index of the process, and forwards signals (SIGTERM,
  Ctrl-C, a closed terminal) to all of them. When one fails, kills those still running `grace_s`
  seconds later. The code of a process that a signal ended is 128 + the signal's number, or 75
  (requeue) if the launcher forwarded that signal.
  """
  threads: list[threading.Thread] = []
  with _forwarding() as (running, forwarded):
    for index, process in enumerate(processes):
      running.append(
        subprocess.Popen(
          process.command,
          env={**os.environ, "PYTHONUNBUFFERED": "1", **process.environment},
          stdout=subprocess.PIPE,
          stderr=subprocess.PIPE,
          # A terminal sends Ctrl-C to its whole group: processes would get it twice and not save.
          process_group=0,
        )
      )
      for pipe, target in ((running[-1].stdout, sys.stdout), (running[-1].stderr, sys.stderr)):
        threads.append(threading.Thread(target=_copy, args=(pipe, target, index), daemon=True))
        threads[-1].start()
    while not any(codes := [process.poll() for process in running]) and None in codes:
      time.sleep(POLL_S)
    code = next(filter(None, codes), EXIT_DONE)
    deadline = time.monotonic() + (grace_s if code else 0)
    while time.monotonic() < deadline and None in [process.poll() for process in running]:
      time.sleep(POLL_S)
  for thread in threads:
    thread.join()
  if code < 0:
    return EXIT_REQUEUE if -code in forwarded else 128 - code
  return code


def _copy(source: BinaryIO, target: TextIO, index: int) -> None:
  """Prints the output of a process until it ends."""
  for line in source:
    target.write(f"[{index}] {line.decode(errors='replace')}")
    target.flush()


@contextlib.contextmanager
def _forwarding() -> Iterator[tuple[list[subprocess.Popen], set[int]]]:
  """Yields a list whose processes receive this process's signals, and the set of those signals."""
  running: list[subprocess.Popen] = []
  forwarded: set[int] = set()

  def forward(number, frame):
    forwarded.add(FORWARDED[number])
    for process in running:
      process.send_signal(FORWARDED[number])

  handlers = {number: signal.getsignal(number) for number in FORWARDED}
  for number, handler in handlers.items():
    if handler is not signal.SIG_IGN:  # nohup ignores SIGHUP
      signal.signal(number, forward)
  try:
    yield running, forwarded
  finally:
    for process in running:
      with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # its children too
      process.wait()
    for number, handler in handlers.items():
      signal.signal(number, handler)


def _devices(
  place: places.LocalProcesses, index: int, environment: Mapping[str, str]
) -> dict[str, str]:
  if place.devices_per_process is not None:
    flag = f"--xla_force_host_platform_device_count={place.devices_per_process}"
    return {
      "XLA_FLAGS": f"{environment.get('XLA_FLAGS', '')} {flag}".strip(),
      # Threads of XLA: with the default number, devices of jaxlib 0.11 can deadlock.
      "NPROC": environment.get("NPROC", str(2 * place.devices_per_process)),
    }
  if place.gpus_per_process is None:
    return {}
  first, needed = index * place.gpus_per_process, place.num_processes * place.gpus_per_process
  visible = environment.get("CUDA_VISIBLE_DEVICES")
  gpus = [str(number) for number in range(needed)] if visible is None else visible.split(",")
  if len(gpus) < needed:
    raise ConfigError(
      f"{place.num_processes} processes of {place.gpus_per_process} GPUs need {needed}, but "
      f"CUDA_VISIBLE_DEVICES={visible} has {len(gpus)}."
    )
  return {"CUDA_VISIBLE_DEVICES": ",".join(gpus[first : first + place.gpus_per_process])}
