"""Several processes of one run on this machine: started together, stopped together."""

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

from audiopalm.cluster import places
from audiopalm.errors import EXIT_DONE, EXIT_REQUEUE, ConfigError

GRACE_S = 10.0  # how long the others may take to end by themselves where one has failed
POLL_S = 0.1
# A terminal that is closed sends SIGHUP, which training does not catch.
SENT_ON = {
  signal.SIGTERM: signal.SIGTERM, signal.SIGINT: signal.SIGINT, signal.SIGHUP: signal.SIGTERM
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Process:
  """A command and what its environment has beside that of the launcher."""

  command: tuple[str, ...]
  environment: Mapping[str, str]

  def __str__(self):
    return shlex.join(
      [*(f"{name}={value}" for name, value in self.environment.items()), *self.command]
    )


def processes(
  train: Sequence[str], place: places.Local, port: int, environment: Mapping[str, str] = os.environ
) -> list[Process]:
  """Returns the processes of a run that meet at a port of this machine; `train` is their command.

  `environment` is that of the launcher: devices are taken from its CUDA_VISIBLE_DEVICES, and its
  XLA_FLAGS stay. ConfigError where it has too few GPUs.
  """
  address, count = f"127.0.0.1:{port}", str(place.num_processes)
  meeting = ("--coordinator-address", address, "--num-processes", count)
  return [
    Process((*train, *meeting, "--process-id", str(index)), _devices(place, index, environment))
    for index in range(place.num_processes)
  ]


def free_port() -> int:
  """Returns a port of this machine that nobody listens on."""
  with socket.create_server(("127.0.0.1", 0)) as server:
    return server.getsockname()[1]


def run(started: Sequence[Process], grace_s: float = GRACE_S) -> int:
  """Returns the exit code of the process that failed first, 0 where none did.

  What they print is printed with the number of the process before each line. A signal to this
  process (SIGTERM, Ctrl-C, a terminal that is closed) goes to all of them. Where one fails the
  others are killed if they have not ended `grace_s` seconds later. One that a signal ends counts as
  128 + its number, or as 75, "please requeue", where it was this process that was asked to stop.
  """
  printing: list[threading.Thread] = []
  with _forwarded() as (running, asked):
    for index, process in enumerate(started):
      running.append(_start(process))
      printing += _print(running[-1], f"[{index}] ")
    code = _first_failure(running)
    deadline = time.monotonic() + grace_s
    while code != EXIT_DONE and time.monotonic() < deadline and _any_runs(running):
      time.sleep(POLL_S)
  for each in printing:
    each.join()
  if code < 0:
    return EXIT_REQUEUE if -code in asked else 128 - code
  return code


def _devices(place: places.Local, index: int, environment: Mapping[str, str]) -> dict[str, str]:
  if place.devices_per_process is not None:
    flag = f"--xla_force_host_platform_device_count={place.devices_per_process}"
    return {"XLA_FLAGS": f"{environment.get('XLA_FLAGS', '')} {flag}".strip()}
  if place.gpus_per_process is None:
    return {}
  first, wanted = index * place.gpus_per_process, place.num_processes * place.gpus_per_process
  visible = environment.get("CUDA_VISIBLE_DEVICES")
  gpus = [str(number) for number in range(wanted)] if visible is None else visible.split(",")
  if len(gpus) < wanted:
    raise ConfigError(
      f"{place.num_processes} processes of {place.gpus_per_process} GPUs need {wanted}, but "
      f"CUDA_VISIBLE_DEVICES={visible} has {len(gpus)}."
    )
  return {"CUDA_VISIBLE_DEVICES": ",".join(gpus[first : first + place.gpus_per_process])}


def _start(process: Process) -> subprocess.Popen:
  return subprocess.Popen(
    process.command,
    env={**os.environ, "PYTHONUNBUFFERED": "1", **process.environment},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    # Ctrl-C in a terminal goes to its whole group: they would get it twice, and not save.
    process_group=0,
  )


def _print(process: subprocess.Popen, prefix: str) -> list[threading.Thread]:
  """Returns the threads that print what a process prints until it has ended."""

  def copy(source, target):
    for line in source:
      target.write(prefix + line.decode(errors="replace"))
      target.flush()

  pairs = (process.stdout, sys.stdout), (process.stderr, sys.stderr)
  threads = [threading.Thread(target=copy, args=pair, daemon=True) for pair in pairs]
  for each in threads:
    each.start()
  return threads


def _first_failure(running: Sequence[subprocess.Popen]) -> int:
  """Returns the code of the first one that fails, when it does; 0 when all have ended well."""
  while True:
    runs = _any_runs(running)
    failed = [each.returncode for each in running if each.returncode]
    if failed or not runs:
      return failed[0] if failed else EXIT_DONE
    time.sleep(POLL_S)


def _any_runs(running: Sequence[subprocess.Popen]) -> bool:
  return any([each.poll() is None for each in running])


@contextlib.contextmanager
def _forwarded() -> Iterator[tuple[list[subprocess.Popen], set[int]]]:
  """Yields a list whose processes get the signals that this one gets, and the set of these."""
  running: list[subprocess.Popen] = []
  asked: set[int] = set()

  def forward(number, frame):
    asked.add(SENT_ON[number])
    for each in running:
      each.send_signal(SENT_ON[number])

  before = {number: signal.getsignal(number) for number in SENT_ON}
  for number, handler in before.items():
    if handler is not signal.SIG_IGN:  # as nohup leaves SIGHUP
      signal.signal(number, forward)
  try:
    yield running, asked
  finally:
    for each in running:
      with contextlib.suppress(ProcessLookupError):
        os.killpg(each.pid, signal.SIGKILL)  # what it had started too
      each.wait()
    for number, handler in before.items():
      signal.signal(number, handler)
