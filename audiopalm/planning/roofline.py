"""Lower bounds on the time of a program: arithmetic, memory and links, each at its full rate."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jax.sharding import Mesh

from audiopalm.planning import collectives, dots, hlo, topology, traffic


@dataclasses.dataclass(frozen=True)
class Roofline:
  """Lower bounds in seconds on a run of a program, and the amounts behind them, on one device.

  `links_s` holds the seconds of the collectives by mesh axes, as in "fsdp x tensor".
  """

  flops: float
  bytes_moved: float
  arithmetic_s: float
  memory_s: float
  links_s: Mapping[str, float]
  serial: bool = False

  @property
  def interconnect_s(self) -> float:
    """All collectives one after another."""
    return sum(self.links_s.values())

  @property
  def bound_s(self) -> float:
    """The slowest part; the sum of all parts on a serial device, where none overlap."""
    parts = self.arithmetic_s, self.memory_s, self.interconnect_s
    return sum(parts) if self.serial else max(parts)

  @property
  def bottleneck(self) -> str:
    """The slowest part: "arithmetic", "memory" or "interconnect"."""
    parts = {
      "arithmetic": self.arithmetic_s,
      "memory": self.memory_s,
      "interconnect": self.interconnect_s,
    }
    return max(parts, key=parts.get)


def bounds(
  program: hlo.Module,
  sent: Sequence[collectives.Collective],
  mesh: Mesh,
  chip: topology.Chip,
  undeclared_flops: float = 0.0,
) -> Roofline:
  """Returns the roofline of a program for a mesh of chips.

  `undeclared_flops` are operations of one device in kernels that do not declare them.
  """
  flops, moved = dots.flops(program) + undeclared_flops, traffic.bytes_moved(program)
  links_s: dict[str, float] = {}
  for collective in sent:
    wire_s = collectives.bytes_on_wire(collective) / bandwidth(collective, mesh, chip)
    seconds = collective.times * (wire_s + chip.latency_s)
    links_s[collective.over] = links_s.get(collective.over, 0.0) + seconds
  arithmetic_s, memory_s = flops / chip.flops, moved / chip.memory_bandwidth
  return Roofline(flops, moved, arithmetic_s, memory_s, links_s, chip.serial)


def bandwidth(collective: collectives.Collective, mesh: Mesh, chip: topology.Chip) -> float:
  """Returns the bytes per second that a device can send for a collective.

  A device uses its links along all axes of the torus that its group spans at once, in both
  directions where the ring is closed. Source: "How to Scale Your Model"
  (jax-ml.github.io/scaling-book), section 2.
  """
  if collective.between_slices:
    return chip.network
  if not chip.rings:
    return chip.link
  spanned = _spanned(mesh, collective.axes)
  links = [2 if size % chip.rings == 0 else 1 for size in spanned.values()] or [1]
  return chip.link * sum(links)


def _spanned(mesh: Mesh, axes: Sequence[str]) -> dict[int, int]:
  """Returns {axis of the torus: chips along it} for the axes that a group spans."""
  index = tuple(slice(None) if axis in axes else 0 for axis in mesh.axis_names)
  coords = np.array([device.coords for device in np.ravel(mesh.devices[index])])
  sizes = {axis: len(set(coords[:, axis])) for axis in range(coords.shape[1])}
  return {axis: size for axis, size in sizes.items() if size > 1}
