"""Replica groups in HLO text, and the mesh axes they run over."""

import dataclasses
import functools
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

Groups = tuple[tuple[int, ...], ...]
NO_AXES = ("?",)


def replica_groups(text: str, devices: int) -> Groups:
  """Returns the groups of partition ids that a text describes; `{}` means all devices.

      {{0,1},{2,3}}           listed
      [2,4]<=[8]              0..7 as 2 groups of 4
      [4,2]<=[2,4]T(1,0)      0..7 as [2,4], transposed, as 4 groups of 2
      mesh['a'=2,'b'=4] {'b'}                                 along axis b of 0..7 as [2,4]
      mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'a'}       as [4,2], transposed, as [2,4]
      mesh['a'=8] {'a':(2)4}                                  along the inner 4 of a = [2,4]

  Source: xla/hlo/ir/replica_group.cc and mesh_and_axis.cc, and the output of JAX 0.10.
  """
  if text.startswith("mesh["):
    return _mesh_groups(text)
  if "<=" in text:
    sizes, _, order = text.partition("<=")
    return _rows(_iota(order).reshape(_numbers(sizes)))
  groups = re.findall(r"\{([\d,\s]+)\}", text)
  return tuple(tuple(_numbers(group)) for group in groups) or (tuple(range(devices)),)


def pairs(text: str) -> list[tuple[int, int]]:
  """Returns the (source, target) pairs of a permutation such as `{{0,1},{1,0}}`."""
  ids = _numbers(text)
  return list(zip(ids[::2], ids[1::2], strict=True))


def _numbers(text: str) -> list[int]:
  return [int(number) for number in re.findall(r"\d+", text)]


def _rows(ids: np.ndarray) -> Groups:
  return tuple(tuple(row) for row in ids.tolist())


def _iota(text: str) -> np.ndarray:
  """Returns 0..n-1 in the order of a text such as "[2,4]T(1,0)"."""
  sizes, _, transposed = text.partition("T")
  sizes = _numbers(sizes)
  return np.arange(math.prod(sizes)).reshape(sizes).transpose(_numbers(transposed) or None)


def _mesh_groups(text: str) -> Groups:
  sizes = {name: int(size) for name, size in re.findall(r"'([^']*)'=(\d+)", text.partition("]")[0])}
  order = re.search(r"device_ids=\(((?:[^()]|\([^()]*\))*)\)", text)
  if order is None:
    ids = np.arange(math.prod(sizes.values()))
  else:
    ids = _iota(order[1]).ravel() if "[" in order[1] else np.array(_numbers(order[1]))
  along = re.findall(r"'([^']*)'(?::\((\d+)\)(\d+))?", text[text.rindex("{") :])
  parts = {name: (int(outer), int(size)) for name, outer, size in along if size}
  split, chosen = [], []
  for name, size in sizes.items():
    outer, inside = parts.get(name, (1, size))
    if name in {axis for axis, _, _ in along}:
      chosen.append(len(split) + 1)
    split += [outer, inside, size // outer // inside]
  return _rows(_along(ids.reshape(split), chosen))


def _along(ids: np.ndarray, axes: Sequence[int]) -> np.ndarray:
  """Returns the groups along some axes of an array of ids, one group a row."""
  width = math.prod(ids.shape[axis] for axis in axes)
  return np.moveaxis(ids, axes, range(ids.ndim - len(axes), ids.ndim)).reshape(-1, width)


@dataclasses.dataclass(frozen=True)
class MeshAxes:
  """The axes of a mesh with more than one device, outermost first.

  JAX numbers partitions in row-major order of the mesh, whatever devices it is made of.
  """

  sizes: tuple[tuple[str, int], ...]

  @classmethod
  def of(cls, sizes: Mapping[str, int]) -> "MeshAxes":
    """Returns the axes of a mesh of these sizes."""
    return cls(tuple((axis, size) for axis, size in sizes.items() if size > 1))

  @property
  def names(self) -> tuple[str, ...]:
    return tuple(axis for axis, _ in self.sizes)

  @property
  def ids(self) -> np.ndarray:
    """The partition ids as an array with one dimension per axis."""
    sizes = [size for _, size in self.sizes]
    return np.arange(math.prod(sizes)).reshape(sizes)

  def devices(self, axes: Iterable[str]) -> int:
    """Returns the number of devices along these axes; all devices for NO_AXES."""
    axes = tuple(axes)
    return math.prod(size for axis, size in self.sizes if axis in axes or axes == NO_AXES)

  def axes_of_groups(self, groups: Groups) -> tuple[str, ...]:
    """Returns the fewest axes that make these groups in any order; NO_AXES where none do.

    With several TPU slices a program numbers the devices of its own slice only, so its groups are
    the part of the mesh's groups inside that slice.
    """
    count = 1 + max(max(group) for group in groups)
    return _axes_by_groups(self, count).get(frozenset(map(frozenset, groups)), NO_AXES)

  def axes_of_pairs(self, pairs: Iterable[tuple[int, int]]) -> tuple[str, ...]:
    """Returns the axes along which a permutation moves data; NO_AXES where it leaves the mesh."""
    coordinates = {int(device): index for index, device in np.ndenumerate(self.ids)}
    moved = set()
    for pair in pairs:
      if not coordinates.keys() >= set(pair):
        return NO_AXES
      source, target = (coordinates[device] for device in pair)
      moved |= {axis for axis, a, b in zip(self.names, source, target, strict=True) if a != b}
    return tuple(axis for axis in self.names if axis in moved)


@functools.lru_cache(maxsize=64)
def _axes_by_groups(mesh: MeshAxes, count: int) -> dict[frozenset[frozenset[int]], tuple[str, ...]]:
  """Returns the axes that make each set of groups among the first `count` partitions."""
  axes_by_groups = {}
  for number in range(len(mesh.names) + 1):
    for axes in itertools.combinations(range(len(mesh.names)), number):
      rows = _along(mesh.ids, axes).tolist()
      groups = {frozenset(id_ for id_ in row if id_ < count) for row in rows} - {frozenset()}
      axes_by_groups.setdefault(frozenset(groups), tuple(mesh.names[axis] for axis in axes))
  return axes_by_groups
