"""The shardings of all arrays of the large configs, compared with golden files.

To write the golden files again: python tests/planning/test_shardings.py
"""

import dataclasses
import json
from pathlib import Path

import jax
import pytest
from jax.extend import core

from audiopalm import sharding
from audiopalm.cli import config
from audiopalm.parts import machines, models
from audiopalm.planning import program

GOLDEN = Path(__file__).with_name("golden")


def large(name):
  return config.load(f"audiopalm_{name}")


def billion():
  return dataclasses.replace(large("8b"), model=models.decoder_1b())


CASES = {
  "8b on v5e:16x16": lambda: (large("8b"), machines.named("v5e"), 256),
  "8b on v5e:16x16, context and tensor": lambda: (
    large("8b"), dataclasses.replace(machines.named("v5e"), context=4, tensor=4), 256
  ),
  "62b on v5p:8x8x8": lambda: (large("62b"), machines.named("v5p"), 512),
  "1b on 8 CPU devices": lambda: (billion(), machines.named("cpu8"), 8),
}  # fmt: skip


def described(experiment, machine, devices):
  """Returns {"mesh", "parameters": {path: array}, "activations": {name: array}}.

  An array is its shape and, for each axis, the mesh axes that shard it: "f32[8, 16 / fsdp]".
  Activations are the arrays a remat policy can name: the outputs of projections and of attention,
  once for each shape and sharding.
  """
  mesh = program.abstract_mesh(machine, devices)
  with jax.sharding.use_abstract_mesh(mesh):
    traced, shapes = program.traced_train_step(experiment, machine, mesh)
  leaves = jax.tree_util.tree_leaves_with_path(shapes.params)
  parameters = {
    jax.tree_util.keystr(path, simple=True, separator="/"): array(leaf, leaf.sharding.spec)
    for path, leaf in leaves
  }
  activations = {}
  for name, aval in named(traced.jaxpr):
    text = array(aval, aval.sharding.spec)
    if text not in activations.setdefault(name, []):
      activations[name].append(text)
  split = {axis: size for axis, size in mesh.shape.items() if size > 1}
  return {"mesh": split, "parameters": parameters, "activations": activations}


def array(shaped, spec):
  entries = [*spec, *(None,) * (len(shaped.shape) - len(spec))]
  parts = [
    f"{size} / {' x '.join(sharding.names(entry))}" if entry else str(size)
    for size, entry in zip(shaped.shape, entries, strict=True)
  ]
  return f"{jax.numpy.dtype(shaped.dtype).name}[{', '.join(parts)}]"


def named(jaxpr):
  """Yields (name, type) of every `checkpoint_name` in a program, except inside `shard_map`."""
  for equation in jaxpr.eqns:
    if equation.primitive.name == "shard_map":
      continue
    if equation.primitive.name == "name":
      yield equation.params["name"], equation.outvars[0].aval
    for inner in core.jaxprs_in_params(equation.params):
      yield from named(inner)


def written(name):
  return json.dumps(described(*CASES[name]()), indent=1) + "\n"


def path_of(name):
  return GOLDEN / f"{name.replace(':', '-').replace(', ', '_').replace(' ', '_')}.json"


@pytest.mark.parametrize("name", CASES)
def test_shardings_equal_the_golden_file(name):
  assert written(name) == path_of(name).read_text(encoding="utf-8")


if __name__ == "__main__":
  for name in CASES:
    path_of(name).write_text(written(name), encoding="utf-8")
