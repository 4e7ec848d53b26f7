"""Devices to plan for, which need not be there: TPU slices by libtpu's compiler, and CPUs.

v5e:16x16     256 chips of TPU v5e        cpu:8     8 forced devices of this machine
"""

import dataclasses
import difflib
import importlib.util
import json
import os
import re
from pathlib import Path

import jax
from jax.experimental import topologies

from audiopalm.errors import ConfigError, DataError


@dataclasses.dataclass(frozen=True)
class Chip:
  """What one device can do, in bytes and operations a second, and where the figures are from.

  `link` is one direction of one link of the interconnect, `network` a device's share of the network
  between slices. An axis of a torus that is a multiple of `rings` chips long is a closed ring,
  whose two directions both carry traffic; 0 rings is no torus. `latency_s` is what a collective
  takes beside its bytes. `serial` devices compute, read and send one after
  another, as a core does.
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
# No TPU is asked for or looked for, and another process may compile at the same time.
LIBTPU = {
  "TPU_SKIP_MDS_QUERY": "1",
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
  "TPU_ACCELERATOR_TYPE": "v5litepod-8",
  "TPU_WORKER_HOSTNAMES": "localhost",
}
TORUS = {"v5e": 2, "v5p": 3, "v6e": 2}  # axes of a slice


@dataclasses.dataclass(frozen=True, eq=False)
class Topology:
  """Devices, in the order a mesh is made of them, and what each can do."""

  name: str
  devices: tuple[jax.Device, ...]
  chip: Chip

  @property
  def platform(self) -> str:
    return self.devices[0].platform


def named(name: str, slices: int = 1, rates: Path | None = None) -> Topology:
  """Returns a topology by its name; ConfigError with near or legal names for any other.

  The rates of a CPU are those in the file `rates`, which `calibrate.measure` wrote.
  """
  kind, _, shape = name.partition(":")
  if kind == "cpu":
    return _cpu(name, shape, slices, rates)
  if kind not in CHIPS or not re.fullmatch(r"\d+(x\d+)+", shape):
    near = difflib.get_close_matches(kind, [*CHIPS, "cpu"], n=1, cutoff=0.3)
    hint = f" Did you mean {near[0]!r}?" if near and near[0] != kind else ""
    raise ConfigError(
      f"Unknown topology {name!r}.{hint} Expected a kind of {', '.join(CHIPS)} with the shape of a "
      "slice, as in v5e:16x16 or v5p:8x8x8; or cpu:N for N devices of this machine."
    )
  if shape.count("x") + 1 != TORUS[kind]:
    example = {2: "4x4", 3: "4x4x4"}[TORUS[kind]]
    raise ConfigError(
      f"Topology {name!r}: a slice of {kind} has {TORUS[kind]} axes, as in {kind}:{example}."
    )
  _load_libtpu()
  try:
    found = topologies.get_topology_desc(name, platform="tpu", num_slices=slices)
  except jax.errors.JaxRuntimeError as error:
    raise ConfigError(
      f"Topology {name!r}: libtpu knows no slice of {kind} of that shape. Axes are 2, 4, 8, 16 and "
      f"so on, in rising order, as in {kind}:{'4x8' if TORUS[kind] == 2 else '4x4x8'}. "
      f"({str(error).splitlines()[0]})"
    ) from error
  return Topology(name, tuple(found.devices), CHIPS[kind])


def _load_libtpu() -> None:
  if importlib.util.find_spec("libtpu") is None:
    raise ConfigError(
      "Planning for TPUs needs libtpu, their compiler, which is not installed. Install it with "
      "pip install 'audiopalm[aot]'; no TPU is needed."
    )
  for variable, value in LIBTPU.items():
    os.environ.setdefault(variable, value)


def _cpu(name: str, count: str, slices: int, rates: Path | None) -> Topology:
  devices = jax.devices("cpu")
  if not count.isdecimal() or slices != 1:
    raise ConfigError(f"Topology {name!r}: expected cpu:N for N devices, in one slice.")
  if int(count) != len(devices):
    raise ConfigError(
      f"Topology {name!r}: this process has {len(devices)} CPU devices. Set "
      f"XLA_FLAGS=--xla_force_host_platform_device_count={count} and run the command again."
    )
  return Topology(name, tuple(devices), _measured(name, rates))


def _measured(name: str, path: Path | None) -> Chip:
  """Returns the rates that were measured of exactly so many devices: they share the cores."""
  measure = f"audiopalm plan --topology {name} --measure-rates FILE"
  if path is None or not path.is_file():
    raise ConfigError(
      f"The rates of a CPU are not in any table. Measure them once with {measure}, and give that "
      "file as --rates FILE."
    )
  try:
    chip = Chip(**json.loads(path.read_text(encoding="utf-8"))["chip"])
  except (KeyError, TypeError, ValueError) as error:
    raise DataError(
      f"{path}: expected what audiopalm plan --measure-rates writes, but it is damaged ({error}). "
      f"Measure again with {measure}."
    ) from error
  if chip.name != name:
    raise ConfigError(
      f"{path} was measured with {chip.name}, whose devices have other shares of the cores than "
      f"those of {name}. Measure those with {measure}."
    )
  return chip
