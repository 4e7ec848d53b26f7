"""Replica groups in HLO text, and the mesh axes that they span.

JAX numbers partitions in row-major order of the mesh, regardless of its devices. Sizes of mesh axes
are in order from the outermost.
"""

import functools
import itertools
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

Groups = tuple[tuple[int, ...], ...]
NO_AXES = ("?",)


def replica_groups(text: str, devices: int) -> Groups:
  """Returns the groups of partition ids that HLO text describes; `{}` means all devices.

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
    return _groups(_iota(order).reshape(_numbers(sizes)))
  groups = re.findall(r"\{([\d,\s]+)\}", text)
  return tuple(tuple(_numbers(group)) for group in groups) or (tuple(range(devices)),)


def axes_of_groups(sizes: Mapping[str, int], groups: Groups) -> tuple[str, ...]:
  """Returns the fewest axes that span these groups, which may be in any order; NO_AXES if none do.

  With several TPU slices a program numbers only the devices of its own slice, so its groups are the
  parts of the mesh's groups inside that slice.
  """
  axes = _axes_by_groups(tuple(sizes.items()), 1 + max(map(max, groups)))
  return axes.get(frozenset(map(frozenset, groups)), NO_AXES)


def axes_of_pairs(sizes: Mapping[str, int], text: str) -> tuple[str, ...]:
  """Returns the axes along which a permutation such as `{{0,1},{1,0}}` moves data; NO_AXES if it
  leaves the mesh."""
  pairs = np.array(_numbers(text), int).reshape(-1, 2)
  if pairs.max(initial=0) >= math.prod(sizes.values()):
    return NO_AXES
  coordinates = np.unravel_index(pairs, tuple(sizes.values()))
  moved = [np.any(along[:, 0] != along[:, 1]) for along in coordinates]
  return tuple(itertools.compress(sizes, moved))


def _numbers(text: str) -> list[int]:
  return [int(number) for number in re.findall(r"\d+", text)]


def _groups(ids: np.ndarray) -> Groups:
  return tuple(map(tuple, ids.tolist()))


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
  return _groups(_along(ids.reshape(split), chosen))


def _along(ids: np.ndarray, axes: Sequence[int]) -> np.ndarray:
  """Returns the groups along some axes of an array of ids, one group per row."""
  width = math.prod(ids.shape[axis] for axis in axes)
  return np.moveaxis(ids, axes, range(ids.ndim - len(axes), ids.ndim)).reshape(-1, width)


@functools.lru_cache(maxsize=64)
def _axes_by_groups(
  sizes: tuple[tuple[str, int], ...], count: int
) -> dict[frozenset[frozenset[int]], tuple[str, ...]]:
  """Returns {set of groups: axes that span it} among the first `count` partitions."""
  names, shape = zip(*sizes, strict=True)
  ids = np.arange(math.prod(shape)).reshape(shape)
  axes_by_groups = {}
  for number in range(len(names) + 1):
    for axes in itertools.combinations(range(len(names)), number):
      rows = _along(ids, axes).tolist()
      groups = {frozenset(id_ for id_ in row if id_ < count) for row in rows} - {frozenset()}
      axes_by_groups.setdefault(frozenset(groups), tuple(names[axis] for axis in axes))
  return axes_by_groups
