"""How long a program takes at least: arithmetic, memory and links, each at full rate."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jax.sharding import Mesh

from audiopalm.planning import collectives, dots, hlo, topology, traffic


@dataclasses.dataclass(frozen=True)
class Roofline:
  """Lower bounds of a run of a program, in seconds, and what they are made of, on one device.

  `links_s` holds the seconds of the collectives over each set of mesh axes: "fsdp x tensor".
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
    """Nothing is faster than its slowest part, or than all of them where none overlap."""
    parts = self.arithmetic_s, self.memory_s, self.interconnect_s
    return sum(parts) if self.serial else max(parts)

  @property
  def binds(self) -> str:
    """What the bound comes from."""
    parts = {
      "arithmetic": self.arithmetic_s,
      "memory": self.memory_s,
      "interconnect": self.interconnect_s,
    }
    return max(parts, key=parts.get)


def of(
  program: hlo.Module,
  found: Sequence[collectives.Collective],
  mesh: Mesh,
  chip: topology.Chip,
  hidden_flops: float = 0.0,
) -> Roofline:
  """Returns the roofline of a program for a mesh of chips.

  `hidden_flops` are operations of a device inside kernels that do not say what they do.
  """
  flops, moved = dots.flops(program) + hidden_flops, traffic.bytes_moved(program)
  links_s = {}
  for each in found:
    name = " x ".join(each.axes) or "itself"
    seconds = collectives.bytes_on_wire(each) / bandwidth(each, mesh, chip) + chip.latency_s
    links_s[name] = links_s.get(name, 0.0) + each.times * seconds
  arithmetic_s, memory_s = flops / chip.flops, moved / chip.memory_bandwidth
  return Roofline(flops, moved, arithmetic_s, memory_s, links_s, chip.serial)


def bandwidth(collective: collectives.Collective, mesh: Mesh, chip: topology.Chip) -> float:
  """Returns the bytes a second that a device can send for a collective.

  A device has links along each axis of the torus that its group spans, both ways where the ring is
  closed, and uses them all at once. Source: "How to Scale Your Model"
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
  """Returns {axis of the torus: chips} that differ between the devices of a group."""
  known = [axis for axis in axes if axis in mesh.shape]
  places = tuple(slice(None) if axis in known else 0 for axis in mesh.axis_names)
  coords = np.array([device.coords for device in np.ravel(mesh.devices[places])])
  sizes = {axis: len(set(coords[:, axis])) for axis in range(coords.shape[1])}
  return {axis: size for axis, size in sizes.items() if size > 1}
