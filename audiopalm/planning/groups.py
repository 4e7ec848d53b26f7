"""Replica groups of HLO text, and which axes of a mesh they run over."""

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
  """Returns the groups of partition ids that one of these writes, `{}` being all devices.

      {{0,1},{2,3}}           as they are
      [2,4]<=[8]              0..7 as 2 groups of 4
      [4,2]<=[2,4]T(1,0)      0..7 as [2,4], transposed, as 4 groups of 2
      mesh['a'=2,'b'=4] {'b'}                                 along axis b of 0..7 as [2,4]
      mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'a'}       as [4,2], transposed, as [2,4]
      mesh['a'=8] {'a':(2)4}                                  along the inner 4 of a = [2,4]

  Source: xla/hlo/ir/replica_group.cc and mesh_and_axis.cc, and what JAX 0.10 prints.
  """
  if text.startswith("mesh["):
    return _mesh_groups(text)
  if "<=" in text:
    sizes, _, order = text.partition("<=")
    return _rows(_iota(order).reshape(_numbers(sizes)))
  groups = re.findall(r"\{([\d,\s]+)\}", text)
  return tuple(tuple(_numbers(group)) for group in groups) or (tuple(range(devices)),)


def pairs(text: str) -> list[tuple[int, int]]:
  """Returns the (source, target) pairs of a permutation, written as `{{0,1},{1,0}}`."""
  ids = _numbers(text)
  return list(zip(ids[::2], ids[1::2], strict=True))


def _numbers(text: str) -> list[int]:
  return [int(number) for number in re.findall(r"\d+", text)]


def _rows(ids: np.ndarray) -> Groups:
  return tuple(tuple(row) for row in ids.tolist())


def _iota(text: str) -> np.ndarray:
  """Returns 0..n-1 as "[2,4]T(1,0)" orders them."""
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
  parts = {name: (int(before), int(size)) for name, before, size in along if size}
  split, chosen = [], []
  for name, size in sizes.items():
    before, inside = parts.get(name, (1, size))
    if name in {each for each, _, _ in along}:
      chosen.append(len(split) + 1)
    split += [before, inside, size // before // inside]
  return _rows(_along(ids.reshape(split), chosen))


def _along(ids: np.ndarray, axes: Sequence[int]) -> np.ndarray:
  """Returns the groups that some axes of a grid of ids make, one a row."""
  width = math.prod(ids.shape[axis] for axis in axes)
  return np.moveaxis(ids, axes, range(ids.ndim - len(axes), ids.ndim)).reshape(-1, width)


@dataclasses.dataclass(frozen=True)
class Mesh:
  """The axes of a mesh that have more than one device, and the partition ids row by row."""

  sizes: tuple[tuple[str, int], ...]
  order: tuple[int, ...]

  @classmethod
  def of(cls, sizes: Mapping[str, int], order: Sequence[int] | None = None) -> "Mesh":
    """Returns the mesh of these sizes; ValueError unless `order` holds every partition once."""
    made = cls(
      tuple((axis, size) for axis, size in sizes.items() if size > 1),
      tuple(range(math.prod(sizes.values()))) if order is None else tuple(map(int, order)),
    )
    if sorted(made.order) != list(range(math.prod(sizes.values()))):
      raise ValueError(
        f"device_order must hold each partition of 0..{math.prod(sizes.values()) - 1} once, as the "
        f"mesh {dict(sizes)} has them, but holds {list(made.order)}."
      )
    return made

  @property
  def size(self) -> int:
    return len(self.order)

  @property
  def axes(self) -> tuple[str, ...]:
    return tuple(axis for axis, _ in self.sizes)

  @property
  def ids(self) -> np.ndarray:
    return np.array(self.order).reshape([size for _, size in self.sizes])

  def ways(self, axes: Iterable[str]) -> int:
    """Returns the number of devices along these axes; of all where the axes are unknown."""
    if tuple(axes) == NO_AXES:
      return self.size
    return math.prod(dict(self.sizes)[axis] for axis in axes)

  def axes_of_groups(self, groups: Groups) -> tuple[str, ...]:
    """Returns the fewest axes that make these groups, whatever the order in them; NO_AXES where
    none do.

    On several slices of TPUs a program numbers the devices of its own slice alone, and its groups
    are the part of the mesh's groups that lies in there.
    """
    count = 1 + max(max(group) for group in groups)
    return _axes_by_groups(self, count).get(frozenset(map(frozenset, groups)), NO_AXES)

  def axes_of_pairs(self, pairs: Iterable[tuple[int, int]]) -> tuple[str, ...]:
    """Returns the axes along which a permutation moves; NO_AXES where it leaves the mesh."""
    place = {int(each): where for where, each in np.ndenumerate(self.ids)}
    moved = set()
    for pair in pairs:
      if not place.keys() >= set(pair):
        return NO_AXES
      here, there = (place[each] for each in pair)
      moved |= {axis for axis, one, two in zip(self.axes, here, there, strict=True) if one != two}
    return tuple(axis for axis in self.axes if axis in moved)


@functools.lru_cache(maxsize=64)
def _axes_by_groups(mesh: Mesh, count: int) -> dict[frozenset[frozenset[int]], tuple[str, ...]]:
  """Returns the axes that make each set of groups among the first `count` partitions."""
  made = {}
  for number in range(len(mesh.axes) + 1):
    for axes in itertools.combinations(range(len(mesh.axes)), number):
      rows = _along(mesh.ids, axes).tolist()
      groups = {frozenset(each for each in row if each < count) for row in rows} - {frozenset()}
      made.setdefault(frozenset(groups), tuple(mesh.axes[axis] for axis in axes))
  return made
