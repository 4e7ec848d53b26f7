"""Sharding of arrays: the mesh of a machine, and the only table from logical axes to mesh axes.

Parameters and batches name their axes by meaning ("embed", "heads", "batch"). Every mesh axis is
Explicit: the sharding of an array is part of its type, and a wrong sharding is an error at trace
time. Fully sharded data parallelism is "embed" over `fsdp` and `context`, gathered one layer at a
time (ZeRO-3, arXiv:1910.02054); tensor parallelism is "heads", "hidden" and "vocab" over `tensor`
(Megatron-LM, arXiv:1909.08053); context parallelism is "rows" over `context`, with keys and values
gathered (Llama 3, arXiv:2407.21783, section 3.3.2).
"""

import functools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from audiopalm.errors import ConfigError
from audiopalm.settings import Machine

RULES: dict[str, tuple[str, ...]] = {
  "batch": ("data", "fsdp"),
  "rows": ("context",),
  "vocab": ("tensor",),
  "heads": ("tensor",),
  "kv_heads": ("tensor",),
  "hidden": ("tensor",),
  "embed": ("fsdp", "context"),
  "head_width": (),
  "norm": (),
  "layers": (),
}
# Often fewer than the devices of the tensor axis, so each device holds all of them.
REPLICABLE = ("kv_heads",)
GIANT = 2**24  # elements that an array may have which no mesh axis splits

ProcessOf = Callable[[jax.Device], int]
PROCESS_OF = operator.attrgetter("process_index")
Tree = TypeVar("Tree")
# Arrays (or shapes, shardings, logical axes of them) in nested mappings and sequences.
ArrayTree = (
  jax.Array | np.ndarray | jax.ShapeDtypeStruct | Mapping[str, "ArrayTree"] | Sequence["ArrayTree"]
)
Split = str | tuple[str, ...] | None  # the mesh axes that split one axis of an array
Specs = PartitionSpec | Sequence["Specs"]


def name_of(path: tuple) -> str:
  """Returns "layers/mlp/down" of a path of `jax.tree_util`: the same for mappings, tuples and
  dataclasses."""
  return jax.tree_util.keystr(path, simple=True, separator="/")


@functools.cache
def mesh(machine: Machine, devices: tuple[jax.Device, ...] | None = None) -> Mesh:
  """Returns the mesh of a machine over all devices, or over `devices`.

  An axis of -1 takes the remaining devices. A machine with fewer devices than there are takes the
  first ones. On several TPU slices only the `data` axis spans slices.
  """
  # With several processes, the devices of each must be in the mesh.
  whole = devices is not None or jax.process_count() > 1
  devices = jax.devices() if devices is None else list(devices)
  sizes = mesh_sizes(machine, len(devices), whole=whole)
  axis_types = (AxisType.Explicit,) * len(sizes)
  slices = len({getattr(device, "slice_index", 0) for device in devices})
  if slices > 1:
    if sizes["data"] % slices:
      raise ConfigError(
        f"Machine {machine.name!r} asks for a mesh {_written(sizes)} over {slices} slices of TPUs. "
        f"Between slices only the data axis can run: make data a multiple of {slices}."
      )
    within = {**sizes, "data": sizes["data"] // slices}
    between = {**dict.fromkeys(sizes, 1), "data": slices}
    grid = mesh_utils.create_hybrid_device_mesh(
      tuple(within.values()), tuple(between.values()), devices=devices
    )
    return Mesh(grid, tuple(sizes), axis_types=axis_types)
  try:
    return jax.make_mesh(
      tuple(sizes.values()),
      tuple(sizes),
      axis_types=axis_types,
      devices=devices[: math.prod(sizes.values())],
    )
  except NotImplementedError as error:
    raise ConfigError(
      f"Machine {machine.name!r} asks for a mesh {_written(sizes)}, which cannot be laid on the "
      "torus of these devices: an axis takes whole axes of the torus, or a part of one. Choose "
      f"powers of two that follow its shape. ({str(error).splitlines()[0]})"
    ) from error


def mesh_sizes(machine: Machine, devices: int, *, whole: bool = False) -> dict[str, int]:
  """Returns the sizes of a machine's mesh axes over a number of devices, with -1 resolved.

  ConfigError if they need more devices, or fewer devices although one axis is -1 or `whole` is set.
  """
  sizes = dict(machine.mesh_sizes)
  mesh_text = _written(sizes)
  open_axis = next((axis for axis, size in sizes.items() if size == -1), None)
  if open_axis:
    sizes[open_axis] = max(1, devices // -math.prod(sizes.values()))
  needed = math.prod(sizes.values())
  if needed > devices or ((whole or open_axis) and needed != devices):
    # Meshes of all devices that differ in one axis.
    changes = {axis: devices * size // needed for axis, size in sizes.items()}
    near = [
      _written({**sizes, axis: size})
      for axis, size in changes.items()
      if size != sizes[axis] and size * needed == devices * sizes[axis]
    ]
    advice = f": {' or '.join(near)}; or another machine" if near else ", or another machine"
    raise ConfigError(
      f"Machine {machine.name!r} asks for a mesh {mesh_text}, but there are {devices} devices. "
      f"Choose axes whose product is {devices}{advice} (--mesh, --machine); on a CPU, "
      "XLA_FLAGS=--xla_force_host_platform_device_count=N makes N devices."
    )
  return sizes


def _written(sizes: Mapping[str, int]) -> str:
  return ", ".join(f"{axis}={size}" for axis, size in sizes.items())


def spec(
  axes: Sequence[str | None], shape: Sequence[int], mesh: Mesh | AbstractMesh | None = None
) -> PartitionSpec:
  """Returns the PartitionSpec of an array with these logical axes, by default on the current mesh.

  Mesh axes of size one are left out, so that there is no sharding on one device. ConfigError if two
  logical axes use one mesh axis, or for a size that is not divisible.
  """
  mesh = jax.sharding.get_abstract_mesh() if mesh is None else mesh
  entries, taken = [], {}
  for axis, size in zip(axes, shape, strict=True):
    names = tuple(name for name in RULES[axis] if mesh.shape.get(name, 1) > 1) if axis else ()
    ways = math.prod(mesh.shape[name] for name in names)
    if size % ways and axis in REPLICABLE:
      names = ()
    elif size % ways:
      raise ConfigError(
        f"Axis {axis!r} of size {size} (array {tuple(shape)} with axes {tuple(axes)}) is split "
        f"{ways} ways by mesh axes {names}. Choose a size divisible by {ways}, or a smaller mesh "
        "axis (--mesh)."
      )
    for name in names:
      if name in taken:
        raise ConfigError(
          f"Axes {taken[name]!r} and {axis!r} of an array {tuple(shape)} both ask for mesh axis "
          f"{name!r}. Give one of them another rule in audiopalm/sharding.py."
        )
      taken[name] = axis
    entries.append(names[0] if len(names) == 1 else names or None)
  return PartitionSpec(*entries)


def shardings(axes: Mapping, shapes: Mapping, mesh: Mesh, giant: int = GIANT) -> Mapping:
  """Returns a NamedSharding for every array of a nested dict.

  `axes` has the logical axes of each array, `shapes` arrays or ShapeDtypeStructs. ConfigError for
  an array of more than `giant` elements that is replicated on a mesh that could split it.
  """

  def place_one(path, shaped, logical):
    spec_ = spec(logical, shaped.shape, mesh)
    unsplit = not any(map(names, spec_))
    if unsplit and mesh.size > mesh.shape["data"] and math.prod(shaped.shape) > giant:
      raise ConfigError(
        f"Array {name_of(path)} {shaped.shape} with axes {logical} has more than {giant:,} "
        f"elements, and every one of {mesh.size} devices would hold all of it. Give it an axis "
        "that audiopalm/sharding.py splits."
      )
    return NamedSharding(mesh, spec_)

  return jax.tree_util.tree_map_with_path(place_one, shapes, axes)


def place(
  batch: Tree, mesh: Mesh, axes: Tree | tuple[str | None, ...], batch_rows: int | None = None
) -> Tree:
  """Returns a tree of arrays on the mesh.

  `axes` is a tree of their logical axes, "batch" first, or one tuple for all; further axes of an
  array are not split. With several processes `batch_rows` is the number of rows of all of them, and
  each process passes those of `rows_here`.
  """
  if isinstance(axes, tuple):
    axes = jax.tree.map(lambda array: (axes + (None,) * np.ndim(array))[: np.ndim(array)], batch)

  def place_one(array, logical):
    array = np.asarray(array)
    shape = (batch_rows or len(array), *array.shape[1:])
    first = rows_here(mesh, shape[0]).start

    def part(index):
      start, stop, _ = index[0].indices(shape[0])
      return array[(slice(start - first, stop - first), *index[1:])]

    where = NamedSharding(mesh, spec(logical, shape, mesh))
    return jax.make_array_from_callback(shape, where, part)

  return jax.tree.map(place_one, batch, axes)


def rows_here(
  mesh: Mesh, batch_rows: int, process: int | None = None, process_of: ProcessOf = PROCESS_OF
) -> slice:
  """Returns which rows of a batch the devices of a process need, by default of this one.

  ConfigError if the rows cannot be divided equally.
  """
  process = jax.process_index() if process is None else process
  limits = [rows for device, rows in _rows_of(mesh, batch_rows) if process_of(device) == process]
  return slice(min(start for start, _ in limits), max(stop for _, stop in limits))


def counted_here(
  mesh: Mesh, batch_rows: int, process: int | None = None, process_of: ProcessOf = PROCESS_OF
) -> np.ndarray:
  """Returns which of its rows (`rows_here`) a process counts, numbered from the first of them.

  If `tensor` or `context` spans processes, several of them hold the same row; the first one counts
  it.
  """
  process = jax.process_index() if process is None else process
  owner_B = np.full(batch_rows, np.iinfo(np.int32).max)
  for device, (start, stop) in _rows_of(mesh, batch_rows):
    owner_B[start:stop] = np.minimum(owner_B[start:stop], process_of(device))
  return np.flatnonzero(owner_B == process) - rows_here(mesh, batch_rows, process, process_of).start


def _rows_of(mesh: Mesh, batch_rows: int) -> list[tuple[jax.Device, tuple[int, int]]]:
  """Returns (device, (first row, end)) of the rows that each device needs."""
  check_batch_rows(batch_rows, batch_ways(mesh))
  where = NamedSharding(mesh, spec(("batch",), (batch_rows,), mesh))
  needed = where.devices_indices_map((batch_rows,))
  return [(device, index[0].indices(batch_rows)[:2]) for device, index in needed.items()]


def check_batch_rows(batch_rows: int, ways: int) -> None:
  """Raises ConfigError unless a batch can be split `ways` ways over data x fsdp."""
  _check_split("batch_rows", batch_rows, "data x fsdp", ways)


def check_row_length(mesh: Mesh, row_length: int) -> None:
  """Raises ConfigError unless rows can be split into equal parts over `context`."""
  _check_split("row_length", row_length, "context", row_ways(mesh))


def _check_split(name: str, size: int, axes: str, ways: int) -> None:
  if size % ways:
    below, above = size // ways * ways, -(-size // ways) * ways
    raise ConfigError(
      f"{name}={size} cannot be split over {axes} = {ways} devices. Choose {name} divisible by "
      f"{ways}: {f'{below} or {above}' if below else above}."
    )


def constrain(x: jax.Array, axes: Sequence[str | None]) -> jax.Array:
  """Returns `x` placed by its logical axes on the current mesh; on one device `x` itself."""
  if jax.sharding.get_abstract_mesh().size <= 1:
    return x
  return jax.sharding.reshard(x, spec(axes, x.shape))


def layout_of(x: jax.Array) -> tuple:
  """Returns how the type of `x` splits each axis: by a mesh axis, a tuple of them, or None."""
  split = tuple(jax.typeof(x).sharding.spec)
  return split + (None,) * (x.ndim - len(split))


def placed_like(x: jax.Array) -> PartitionSpec | None:
  """Returns the sharding of `x` as an `out_sharding`; None if no axis is split."""
  split = layout_of(x)
  return PartitionSpec(*split) if any(split) else None


def names(entry: Split) -> tuple[str, ...]:
  """Returns the mesh axes that split an axis, of an entry of `layout_of`."""
  return () if entry is None else (entry,) if isinstance(entry, str) else tuple(entry)


def ways(entry: Split) -> int:
  """Returns how many parts an axis is split into, of an entry of `layout_of`."""
  shape = jax.sharding.get_abstract_mesh().shape
  return math.prod(shape[name] for name in names(entry))


def mapped(local: Callable, in_specs: Specs, out_specs: Specs) -> Callable:
  """Returns a function of whole arrays that runs `local` on each device's shards.

  On one device it is `local` itself. It is not checked that a result is equal on all devices that
  hold it, because Pallas kernels cannot declare this.
  """
  if jax.sharding.get_abstract_mesh().size <= 1:
    return local
  return jax.shard_map(local, in_specs=in_specs, out_specs=out_specs, check_vma=False)


def sum_to(part: jax.Array, split: Sequence[Split], summed: Sequence[str]) -> jax.Array:
  """Returns, inside `mapped`, the sum of every device's `part` over the mesh axes `summed`.

  An axis of the result that is `split` by one of them is scattered while it is summed (ZeRO's
  reduce-scatter), which sends half as much as an all-reduce.
  """
  left = list(summed)
  for axis, entry in enumerate(split):
    scattered = tuple(name for name in names(entry) if name in left)
    for name in scattered:  # one reduce-scatter per mesh axis
      part = jax.lax.psum_scatter(part, name, scatter_dimension=axis, tiled=True)
    left = [name for name in left if name not in scattered]
  return jax.lax.psum(part, tuple(left)) if left else part


def gathered(kernel: jax.Array) -> jax.Array:
  """Returns the kernel with its "embed" axis gathered; `tensor` still splits it."""
  split = layout_of(kernel)
  whole = tuple(None if set(names(entry)) <= set(RULES["embed"]) else entry for entry in split)
  return kernel if whole == split else jax.sharding.reshard(kernel, PartitionSpec(*whole))


def batch_ways(mesh: Mesh | AbstractMesh | None = None) -> int:
  """Returns how many parts a batch is split into on a mesh, by default the current one."""
  return _ways("batch", mesh)


def row_ways(mesh: Mesh | AbstractMesh | None = None) -> int:
  """Returns how many parts a row is split into on a mesh, by default the current one."""
  return _ways("rows", mesh)


def _ways(axis: str, mesh: Mesh | AbstractMesh | None) -> int:
  shape = (mesh or jax.sharding.get_abstract_mesh()).shape
  return math.prod(shape.get(name, 1) for name in RULES[axis])
