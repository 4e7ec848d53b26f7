"""Where arrays live: the mesh of a machine, and the one table from logical axes to mesh axes.

Parameters and batches name their axes by meaning ("embed", "heads", "batch"); only this file knows
what a mesh is. Every mesh axis is Explicit: an array's placement is part of its type, and a wrong
one is an error while tracing, not a silent gather. Fully sharded data parallelism is the "embed"
axis over `fsdp`, gathered one layer at a time (ZeRO-3, arXiv:1910.02054); tensor parallelism is
"heads", "hidden" and "vocab" over `tensor` (Megatron-LM, arXiv:1909.08053).
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from audiopalm.errors import ConfigError

MESH_AXES = ("data", "fsdp", "tensor")

RULES: dict[str, tuple[str, ...]] = {
  "batch": ("data", "fsdp"),
  "vocab": ("tensor",),
  "heads": ("tensor",),
  "kv_heads": ("tensor",),
  "hidden": ("tensor",),
  "embed": ("fsdp",),
  "head_width": (),
  "norm": (),
  "layers": (),
}
# Few key/value heads are often fewer than the tensor axis; each device then keeps them all.
REPLICABLE = ("kv_heads",)
GIANT = 2**24  # elements an array may have that no mesh axis splits


@functools.cache
def mesh(machine: Any) -> Mesh:
  """Returns the mesh of a `settings.Machine`: axes data, fsdp, tensor; the open one (-1) takes all
  devices left. A machine of fewer devices than there are takes the first ones."""
  sizes = [machine.data, machine.fsdp, machine.tensor]
  devices = jax.devices()
  given = math.prod(size for size in sizes if size != -1)
  if -1 in sizes:
    sizes[sizes.index(-1)] = max(1, len(devices) // given)
  wanted = math.prod(sizes)
  # An open axis promises all devices; several processes must each have theirs in the mesh.
  whole = -1 in (machine.data, machine.fsdp, machine.tensor) or jax.process_count() > 1
  if wanted > len(devices) or (whole and wanted != len(devices)):
    raise ConfigError(
      f"Machine {machine.name!r} asks for a mesh data={machine.data}, fsdp={machine.fsdp}, "
      f"tensor={machine.tensor}, but there are {len(devices)} devices. Choose axes whose product "
      f"is {len(devices)}, or another --machine; on a CPU, "
      "XLA_FLAGS=--xla_force_host_platform_device_count=N makes N devices."
    )
  return jax.make_mesh(
    tuple(sizes),
    MESH_AXES,
    axis_types=(AxisType.Explicit,) * len(MESH_AXES),
    devices=devices[:wanted],
  )


def spec(axes: Sequence[str | None], shape: Sequence[int], mesh: Any = None) -> PartitionSpec:
  """Returns the PartitionSpec of an array with these logical axes; without a mesh, the current
  one's.

  Mesh axes of size one are left out, so that one device sees no sharding at all. Two logical axes
  on one mesh axis and sizes that do not divide are a ConfigError.
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
        f"{ways} ways by mesh "
        f"axes {names}. Choose a size divisible by {ways}, or a smaller mesh axis on the machine."
      )
    for name in names:
      if name in taken:
        raise ConfigError(
          f"Axes {taken[name]!r} and {axis!r} of an array {tuple(shape)} both ask for mesh axis "
          f"{name!r}. "
          "Give one of them another rule in audiopalm/sharding.py."
        )
      taken[name] = axis
    entries.append(names[0] if len(names) == 1 else names or None)
  return PartitionSpec(*entries)


def shardings(axes: Mapping, shapes: Mapping, mesh: Mesh, giant: int = GIANT) -> Mapping:
  """Returns a NamedSharding for every array of a nested dict, checked.

  `axes` holds the logical axes of each array, `shapes` arrays or ShapeDtypeStructs. An array of
  more than `giant` elements that every device would hold whole, on a mesh that could split it, is a
  ConfigError.
  """

  def place_one(path, shaped, names):
    spec_ = spec(names, shaped.shape, mesh)
    split = math.prod(mesh.shape[name] for entry in spec_ if entry for name in np.atleast_1d(entry))
    if split == 1 and mesh.size > mesh.shape["data"] and math.prod(shaped.shape) > giant:
      raise ConfigError(
        f"Array {jax.tree_util.keystr(path, simple=True, separator='/')} {shaped.shape} with "
        f"axes {names} has more "
        f"than {giant:,} elements, and every one of {mesh.size} devices would hold all of it. "
        f"Give it an axis that "
        "audiopalm/sharding.py splits."
      )
    return NamedSharding(mesh, spec_)

  return jax.tree_util.tree_map_with_path(place_one, shapes, axes)


def place(batch: Any, mesh: Mesh) -> Any:
  """Returns the batch on the mesh: the leading axis of every array split over data x fsdp.

  With several processes each gives its own rows, and gets its part of the global batch.
  """
  ways = batch_ways(mesh)

  def place_one(array):
    rows = len(array) * jax.process_count()
    if rows % ways:
      raise ConfigError(
        f"A batch of {rows} rows cannot be split over data x fsdp = {mesh.shape['data']} x "
        f"{mesh.shape['fsdp']} "
        f"devices. Choose batch_rows divisible by {ways}."
      )
    split = spec(("batch",) + (None,) * (np.ndim(array) - 1), (rows,) + np.shape(array)[1:], mesh)
    return jax.make_array_from_process_local_data(NamedSharding(mesh, split), np.asarray(array))

  return jax.tree.map(place_one, batch)


def constrain(x: jax.Array, axes: Sequence[str | None]) -> jax.Array:
  """Returns `x` placed by its logical axes on the current mesh; the same array where there is
  nothing to split."""
  if jax.sharding.get_abstract_mesh().size <= 1:
    return x
  return jax.sharding.reshard(x, spec(axes, x.shape))


def layout_of(x: jax.Array) -> tuple:
  """Returns how each axis of `x` is split, as its type says: a mesh axis, a tuple of them, or
  None."""
  split = tuple(jax.typeof(x).sharding.spec)
  return split + (None,) * (x.ndim - len(split))


def placed_like(x: jax.Array) -> PartitionSpec | None:
  """Returns the split of `x` to give as `out_sharding`; None where nothing is split."""
  split = layout_of(x)
  return PartitionSpec(*split) if any(split) else None


def gathered(kernel: jax.Array) -> jax.Array:
  """Returns the kernel with its `fsdp` axis gathered: whole on every device but for `tensor`."""
  split = layout_of(kernel)
  if "fsdp" not in split:
    return kernel
  return jax.sharding.reshard(
    kernel, PartitionSpec(*(None if entry == "fsdp" else entry for entry in split))
  )


def batch_ways(mesh: Any = None) -> int:
  """Returns how many parts the rows of a batch are split into on a mesh, by default the current
  one."""
  shape = (mesh or jax.sharding.get_abstract_mesh()).shape
  return math.prod(shape.get(name, 1) for name in RULES["batch"])
