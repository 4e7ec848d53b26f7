"""A SLURM cluster of two nodes on this machine, with all of its files in one folder.

It needs Debian's slurm-wlm and munge. The daemons (munged, slurmctld and two slurmd, each on its
own port) run as root and stop at the end of the `Cluster` block.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "scancel")
NODES = ("n0", "n1")
CONF = """
ClusterName=audiopalm
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SchedulerType=sched/builtin
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
KillWait=5
{nodes}
PartitionName=all Nodes=n0,n1 Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
  """Returns why no cluster can start on this machine, '' where one can."""
  absent = [name for name in PROGRAMS if shutil.which(name) is None]
  if absent:
    return f"needs slurm-wlm and munge: no {', '.join(absent)}"
  return "" if os.geteuid() == 0 else "needs to be root"


class Cluster:
  """Two nodes, n0 and n1, inside a `with` block."""

  def __init__(self, folder: Path):
    self.folder = folder
    self.daemons: dict[str, subprocess.Popen] = {}
    self.conf = folder / "slurm.conf"
    self.environment = {**os.environ, "SLURM_CONF": str(self.conf)}

  def __enter__(self) -> "Cluster":
    self.folder.mkdir(mode=0o755)
    (self.folder / "state").mkdir()
    control, *ports = _free_ports(1 + len(NODES))
    nodes = "\n".join(
      f"NodeName={name} NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 Port={port} CPUs=1"
      for name, port in zip(NODES, ports, strict=True)
    )
    self.conf.write_text(
      CONF.format(host=socket.gethostname(), port=control, folder=self.folder, nodes=nodes)
    )
    with contextlib.ExitStack() as stack:
      stack.callback(self._stop)
      subprocess.run(["mungekey", "--create", f"--keyfile={self.folder}/munge.key"], check=True)
      self._start(
        "munged", "--foreground", "--force", f"--key-file={self.folder}/munge.key",
        *(f"--{name}={self.folder}/munge.{name.removesuffix('-file')}"
          for name in ("socket", "pid-file", "log-file", "seed-file")),
      )  # fmt: skip
      self.until(lambda: (self.folder / "munge.socket").exists(), 30, "munged listens")
      self._start("slurmctld", "-D", "-i")
      for name in NODES:
        self.start_node(name)
      self.until(lambda: self.states() == {"IDLE"}, 60, "both nodes are idle")
      stack.pop_all()
    return self

  def __exit__(self, kind, error, trace) -> None:
    for job in self("squeue", "--noheader", "--format=%i").split():
      self("scancel", job)
    with contextlib.suppress(TimeoutError):
      self.until(lambda: not self("squeue", "--noheader"), 30, "no job is left")
    self._stop()

  def __call__(self, *command: str) -> str:
    """Returns the output of a SLURM command."""
    process = subprocess.run(command, env=self.environment, capture_output=True, text=True)
    assert process.returncode == 0, (command, process.stdout, process.stderr)
    return process.stdout

  def until(self, true: Callable[[], bool], seconds: float, what: str) -> None:
    """Returns when true() holds; after `seconds` raises an error with the daemons' logs."""
    deadline = time.monotonic() + seconds
    while not true():
      if time.monotonic() > deadline:
        raise TimeoutError(f"Waited {seconds:.0f} s in vain until {what}.\n{self.log()}")
      time.sleep(0.2)

  def start_node(self, name: str) -> None:
    self._start("slurmd", "-D", "-N", name, key=name)

  def freeze_node(self, name: str) -> None:
    """Makes a node unresponsive with its connections open, like a machine without power."""
    _signal(self._processes_of(name), signal.SIGSTOP)

  def kill_node(self, name: str) -> None:
    """Kills the slurmd of a node and all processes it started."""
    _signal(self._processes_of(name), signal.SIGKILL)
    self.daemons.pop(name).wait()

  def slow_down(self) -> None:
    """Pauses the tasks of all jobs for two seconds."""
    tasks = [
      process
      for process, environment in self._processes().items()
      if any(name.startswith(b"SLURM_STEP_ID=") for name in environment)
    ]
    _signal(tasks, signal.SIGSTOP)
    time.sleep(2.0)
    _signal(tasks, signal.SIGCONT)

  def states(self) -> set[str]:
    """Returns the states of the nodes."""
    return set(re.findall(r" State=(\S+)", self("scontrol", "--oneliner", "show", "node")))

  def job(self, number: str) -> dict[str, str]:
    """Returns the fields of a job."""
    fields = self("scontrol", "--oneliner", "show", "job", number)
    return dict(word.split("=", 1) for word in fields.split() if "=" in word)

  def log(self) -> str:
    """Returns the ends of the daemons' logs."""
    logs = sorted(self.folder.glob("*.log"))
    return "\n".join(f"{path.name}:\n{path.read_text()[-3000:]}" for path in logs)

  def _start(self, *command: str, key: str = "") -> None:
    with (self.folder / f"{key or command[0]}.out.log").open("a") as out:
      self.daemons[key or command[0]] = subprocess.Popen(
        command, env=self.environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
      )

  def _processes(self) -> dict[int, list[bytes]]:
    """Returns the processes of jobs, each with its initial environment."""
    environments = {}
    for path in Path("/proc").glob("[0-9]*"):
      with contextlib.suppress(OSError):
        environment = (path / "environ").read_bytes().split(b"\0")
        if f"SLURM_CONF={self.conf}".encode() in environment:
          environments[int(path.name)] = environment
    return environments

  def _processes_of(self, node: str) -> list[int]:
    """Returns the slurmd of a node, the slurmstepd of its steps, and the processes of the steps."""
    name = f"SLURMD_NODENAME={node}".encode()
    tasks = [process for process, environment in self._processes().items() if name in environment]
    stepds = {parent for task in tasks if _name(parent := _parent(task)).startswith("slurmstepd")}
    return [self.daemons[node].pid, *stepds, *tasks]

  def _stop(self) -> None:
    for daemon in reversed(self.daemons.values()):
      daemon.terminate()
    for daemon in self.daemons.values():
      try:
        daemon.wait(timeout=10)
      except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _signal(processes: Iterable[int], number: int) -> None:
  for process in processes:
    with contextlib.suppress(ProcessLookupError):
      os.kill(process, number)


def _parent(process: int) -> int:
  with contextlib.suppress(OSError):
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
  return 0


def _name(process: int) -> str:
  with contextlib.suppress(OSError):
    return Path(f"/proc/{process}/cmdline").read_text()
  return ""


def _free_ports(number: int) -> list[int]:
  with contextlib.ExitStack() as stack:
    servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
    return [server.getsockname()[1] for server in servers]
