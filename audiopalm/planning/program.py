"""Compiles the programs of a run for the devices of a mesh, from shapes and without arrays."""

import dataclasses
import itertools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from audiopalm import sharding
from audiopalm.data import feeds
from audiopalm.experiment import Experiment
from audiopalm.inference import cache as caches
from audiopalm.models.base import Model
from audiopalm.nn import attention
from audiopalm.planning import memory
from audiopalm.settings import Machine
from audiopalm.tokens import space as token_space
from audiopalm.training import learners as learning
from audiopalm.training import state, step


@dataclasses.dataclass(frozen=True, eq=False)
class Compiled:
  """The optimized HLO of a program for one kind of device, and its memory.

  `resident` holds the bytes of the arrays that stay on a device by name; `usage` is XLA's analysis
  of all memory. `parameters_by_dims` names the parameter of some dimensions, "257152,4096", where
  only one parameter has them.
  """

  hlo: str
  parameters_by_dims: dict[str, str]
  resident: dict[str, int]
  usage: memory.Usage
  seconds: float


def space_of(experiment: Experiment) -> token_space.TokenSpace:
  """Returns the largest token space an experiment can have, before any tokenizer is fitted.

  Tags get made-up ids: no shape depends on them.
  """
  specs = [tokenizer.largest for tokenizer in experiment.tokenizers]
  layouts = experiment.data.layouts(experiment.layout, experiment.tasks)
  numbers = itertools.count()
  text = token_space.text_stream({spec.name: spec for spec in specs})
  base = text.sizes[0] if text else 1

  def made_up(tag: str) -> tuple[int, ...]:
    number = next(numbers)
    return number % base, number // base

  return token_space.build(specs, layouts, made_up, specials=experiment.objective.specials)


def train_step(experiment: Experiment, machine: Machine, mesh: Mesh) -> Compiled:
  """Returns the training step of an experiment, compiled as in `training.loop`."""
  attention.check(machine.attention, mesh.devices.flat[0].platform)
  with jax.set_mesh(mesh):
    traced, shapes = traced_train_step(experiment, machine, mesh)
    resident = {"parameters": _bytes(shapes.params), "optimizer": _bytes(shapes.optimizer)}
    return _compiled(traced, resident, shapes.params)


def abstract_mesh(machine: Machine, devices: int) -> AbstractMesh:
  """Returns the mesh of a machine for a number of devices, without any device."""
  sizes = sharding.mesh_sizes(machine, devices)
  return AbstractMesh(
    tuple(sizes.values()), tuple(sizes), axis_types=(AxisType.Explicit,) * len(sizes)
  )


def check_divisible(experiment: Experiment, machine: Machine, mesh: Mesh | AbstractMesh) -> int:
  """Returns the micro-batches of a step; ConfigError unless the mesh divides its batch."""
  ways = sharding.batch_ways(mesh)
  data = experiment.data
  sharding.check_batch_rows(data.batch_rows, ways)
  data.check_mesh(mesh)
  return machine.accumulation(data.batch_rows // ways, data.length)


def traced_train_step(
  experiment: Experiment, machine: Machine, mesh: Mesh | AbstractMesh
) -> tuple[jax.stages.Traced, state.TrainState]:
  """Returns (the traced step, the shapes of its state); the mesh is the current one."""
  accumulation = check_divisible(experiment, machine, mesh)
  space = space_of(experiment)
  model = experiment.model.build(space)
  shapes = state_shapes(experiment, model, mesh)
  whole = experiment.data.shapes(space, experiment.tasks)
  batch = jax.tree.map(
    lambda array, axes: _shaped(array.shape, axes, array.dtype, mesh), whole, whole.axes()
  )
  train = step.build(
    model,
    experiment.objective,
    learning.of(experiment),
    machine,
    accumulation,
    experiment.optimizer.spike,
  )
  return train.trace(shapes, batch, _key(mesh)), shapes


def state_shapes(
  experiment: Experiment, model: Model, mesh: Mesh | AbstractMesh
) -> state.TrainState:
  """Returns the state of a run as ShapeDtypeStructs; the mesh is the current one."""
  params = model.shapes(mesh)
  variables = state.variable_shapes(experiment.objective, model, params, mesh)
  return state.shapes(params, variables, learning.of(experiment), mesh)


def decode_step(
  experiment: Experiment, machine: Machine, mesh: Mesh, rows: int, slots: int
) -> Compiled:
  """Returns the program that reads one new grid row in each of `rows` sequences and scores the
  next.

  Every sequence has a cache of `slots` rows; both are as in `inference.decode`.
  """
  feeds.check_answers(experiment.data)
  sharding.check_batch_rows(rows, sharding.batch_ways(mesh))
  space = space_of(experiment)
  model = experiment.model.build(space)
  dtype = jnp.dtype(machine.products)

  def one_row(params, tokens_BK, positions_B, cache):
    hidden_BD, new = model.step(params, tokens_BK, positions_B, cache, machine)
    best = model.head.draw(params, hidden_BD, (), _likeliest, machine)
    return jnp.stack(best, axis=-1), caches.extended(cache, new, positions_B)

  with jax.set_mesh(mesh):
    params = model.shapes(mesh)
    heads = _shaped(model.cache_shape(rows, slots), caches.AXES, dtype, mesh)
    cache = caches.Cache(
      heads, heads, _shaped((rows, slots), ("batch", None), jnp.int32, mesh),
      _shaped((), (), jnp.int32, mesh),
    )  # fmt: skip
    tokens_BK = _shaped((rows, space.columns), ("batch", None), jnp.int32, mesh)
    positions_B = _shaped((rows,), ("batch",), jnp.int32, mesh)
    resident = {"parameters": _bytes(params), "cache": _bytes(cache)}
    program = jax.jit(one_row, donate_argnums=3)
    return _compiled(program.trace(params, tokens_BK, positions_B, cache), resident, params)


def _likeliest(drawn: tuple, column: int, logits_BV: jax.Array) -> tuple[tuple, jax.Array]:
  best_B = jnp.argmax(logits_BV, -1)
  return (*drawn, best_B), best_B


def _compiled(traced: jax.stages.Traced, resident: dict[str, int], params: Any) -> Compiled:
  start_s = time.monotonic()
  compiled = memory.compile_(traced.lower())
  seconds = time.monotonic() - start_s
  usage = memory.usage(compiled)
  return Compiled(compiled.as_text(), _by_dims(params), resident, usage, seconds)


def _by_dims(params: Any) -> dict[str, str]:
  names: dict[str, list[str]] = {}
  for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
    dims = ",".join(map(str, leaf.shape))
    names.setdefault(dims, []).append(f"params{jax.tree_util.keystr(path)}")
  return {dims: name for dims, (name, *others) in names.items() if not others}


def _shaped(
  shape: tuple[int, ...], axes: tuple[str | None, ...], dtype: Any, mesh: Mesh | AbstractMesh
) -> jax.ShapeDtypeStruct:
  placed = NamedSharding(mesh, sharding.spec(axes, shape, mesh))
  return jax.ShapeDtypeStruct(shape, dtype, sharding=placed)


def _key(mesh: Mesh | AbstractMesh) -> jax.ShapeDtypeStruct:
  shaped = jax.eval_shape(lambda: jax.random.key(0))
  return jax.ShapeDtypeStruct(
    shaped.shape, shaped.dtype, sharding=NamedSharding(mesh, PartitionSpec())
  )


def _bytes(tree: Any) -> int:
  """Returns the bytes of a tree on one device."""
  return sum(
    int(np.prod(leaf.sharding.shard_shape(leaf.shape))) * leaf.dtype.itemsize
    for leaf in jax.tree.leaves(tree)
  )
