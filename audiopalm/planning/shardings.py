"""Where every parameter and every activation of a training step lies on a mesh, as JSON."""

from typing import Any

import jax
from jax.sharding import AbstractMesh, AxisType

from audiopalm import sharding
from audiopalm.planning import program
from audiopalm.settings import Machine


def abstract_mesh(machine: Machine, devices: int) -> AbstractMesh:
  """Returns the mesh of a machine over so many devices, without any device."""
  sizes = sharding.mesh_sizes(machine, devices)
  return AbstractMesh(
    tuple(sizes.values()), tuple(sizes), axis_types=(AxisType.Explicit,) * len(sizes)
  )


def described(experiment: Any, machine: Machine, devices: int) -> dict[str, Any]:
  """Returns {"mesh", "parameters": {path: array}, "activations": {name: array}}.

  An array is its shape and, for each axis, the mesh axes that split it: "f32[8, 16 / fsdp]".
  Activations are what a remat policy can name: the outputs of projections and of attention, once
  for each shape and split.
  """
  mesh = abstract_mesh(machine, devices)
  with jax.sharding.use_abstract_mesh(mesh):
    traced, now = program.traced_train_step(experiment, machine, mesh)
  leaves = jax.tree_util.tree_leaves_with_path(now.params)
  parameters = {
    jax.tree_util.keystr(path, simple=True, separator="/"): _array(leaf, leaf.sharding.spec)
    for path, leaf in leaves
  }
  named: dict[str, list[str]] = {}
  for name, aval in _named(traced.jaxpr):
    text = _array(aval, aval.sharding.spec)
    if text not in named.setdefault(name, []):
      named[name].append(text)
  return {
    "mesh": {axis: size for axis, size in mesh.shape.items() if size > 1},
    "parameters": parameters,
    "activations": named,
  }


def _array(shaped: Any, spec: Any) -> str:
  entries = [*spec, *(None,) * (len(shaped.shape) - len(spec))]
  parts = [
    f"{size} / {' x '.join(sharding.names(entry))}" if entry else str(size)
    for size, entry in zip(shaped.shape, entries, strict=True)
  ]
  return f"{jax.numpy.dtype(shaped.dtype).name}[{', '.join(parts)}]"


def _named(jaxpr: Any):
  """Yields (name, type) of what `checkpoint_name` names anywhere in a program, but for what a
  single device does."""
  for equation in jaxpr.eqns:
    if equation.primitive.name == "shard_map":
      continue
    if equation.primitive.name == "name":
      yield equation.params["name"], equation.outvars[0].aval
    for inner in jax.core.jaxprs_in_params(equation.params):
      yield from _named(inner)
