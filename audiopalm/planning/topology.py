"""The devices of a plan: TPU slices, for which libtpu compiles without a TPU, and CPU devices.

v5e:16x16     256 chips of TPU v5e        cpu:8     8 forced devices of this machine
"""

import dataclasses
import difflib
import importlib.util
import math
import os
import re

import jax
from jax.experimental import topologies

from audiopalm.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Chip:
  """The rates of one device, in bytes and operations per second, and their source.

  `link` is one direction of one link of the interconnect, `network` a device's share of the network
  between slices. A torus axis whose length is a multiple of `rings` chips is a closed ring that
  carries traffic in both directions; `rings` is 0 for devices without a torus. `latency_s` is the
  fixed time of a collective, added to that of its bytes. A `serial` device, such as a CPU core,
  cannot overlap arithmetic, memory traffic and communication.
  """

  name: str
  flops: float  # bfloat16, dense
  memory: float  # bytes
  memory_bandwidth: float
  link: float
  network: float
  rings: int
  latency_s: float
  source: str
  serial: bool = False


BOOK = "jax-ml.github.io/scaling-book/tpus, and cloud.google.com/tpu/docs"
CHIPS = {
  chip.name: chip
  for chip in (
    Chip("v5e", 1.97e14, 16 * 2**30, 8.1e11, 4.5e10, 3.1e9, 16, 1e-6, BOOK),
    Chip("v5p", 4.59e14, 95 * 2**30, 2.765e12, 9e10, 6.2e9, 4, 1e-6, BOOK),
    Chip("v6e", 9.18e14, 32 * 2**30, 1.64e12, 9e10, 1.25e10, 16, 1e-6, BOOK),
  )
}
# `_cpu` sets the memory: the devices share that of this machine.
CPU = Chip("cpu", 5e10, 0.0, 1e10, 1e9, 0.0, 0, 1e-4, "a guess at CPU cores, not measured", True)
# libtpu must not look for a TPU, and another process may compile at the same time.
LIBTPU = {
  "TPU_SKIP_MDS_QUERY": "1",
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
  "TPU_ACCELERATOR_TYPE": "v5litepod-8",
  "TPU_WORKER_HOSTNAMES": "localhost",
}
TORUS_AXES = {"v5e": 2, "v5p": 3, "v6e": 2}


@dataclasses.dataclass(frozen=True, eq=False)
class Topology:
  """Devices in the order of a mesh, and the rates of each."""

  name: str
  devices: tuple[jax.Device, ...]
  chip: Chip


def named(name: str, slices: int = 1) -> Topology:
  """Returns a topology by name; ConfigError with similar or valid names if it is unknown."""
  kind, _, shape = name.partition(":")
  if kind == "cpu":
    return _cpu(name, shape, slices)
  if kind not in CHIPS or not re.fullmatch(r"\d+(x\d+)+", shape):
    near = difflib.get_close_matches(kind, [*CHIPS, "cpu"], n=1, cutoff=0.3)
    hint = f" Did you mean {near[0]!r}?" if near and near[0] != kind else ""
    raise ConfigError(
      f"Unknown topology {name!r}.{hint} Expected one of {', '.join(CHIPS)} with the shape of a "
      "slice, as in v5e:16x16 or v5p:8x8x8, or cpu:N for N devices of this machine."
    )
  if shape.count("x") + 1 != TORUS_AXES[kind]:
    example = {2: "4x4", 3: "4x4x4"}[TORUS_AXES[kind]]
    raise ConfigError(
      f"Topology {name!r}: a slice of {kind} has {TORUS_AXES[kind]} axes, as in {kind}:{example}."
    )
  if importlib.util.find_spec("libtpu") is None:
    raise ConfigError(
      "Planning for TPUs needs libtpu, their compiler, which is not installed. Install it with "
      "pip install 'audiopalm[aot]'; no TPU is needed."
    )
  for variable, value in LIBTPU.items():
    os.environ.setdefault(variable, value)
  try:
    description = topologies.get_topology_desc(name, platform="tpu", num_slices=slices)
  except jax.errors.JaxRuntimeError as error:
    raise ConfigError(
      f"Topology {name!r}: libtpu knows no slice of {kind} of this shape. Axes are 2, 4, 8, 16 and "
      f"so on, smallest first, as in {kind}:{'4x8' if TORUS_AXES[kind] == 2 else '4x4x8'}. "
      f"({str(error).splitlines()[0]})"
    ) from error
  return Topology(name, tuple(description.devices), CHIPS[kind])


def device_count(name: str) -> int:
  """Returns the number of devices in a topology: 256 for "v5e:16x16", 8 for "cpu:8"."""
  sizes = name.partition(":")[2].split("x")
  if not all(size.isdecimal() for size in sizes):
    raise ConfigError(f"--topology takes KIND:SHAPE, as in v5e:16x16 or cpu:8, not {name!r}.")
  return math.prod(map(int, sizes))


def _cpu(name: str, count: str, slices: int) -> Topology:
  devices = jax.devices("cpu")
  if not count.isdecimal() or slices != 1:
    raise ConfigError(f"Topology {name!r}: expected cpu:N for N devices, in one slice.")
  if int(count) != len(devices):
    raise ConfigError(
      f"Topology {name!r}: this process has {len(devices)} CPU devices. Set "
      f"XLA_FLAGS=--xla_force_host_platform_device_count={count} and run the command again."
    )
  memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / len(devices)
  return Topology(name, tuple(devices), dataclasses.replace(CPU, memory=memory))
