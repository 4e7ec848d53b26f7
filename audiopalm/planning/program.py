"""The programs of a run, compiled for the devices of a mesh without any array: shapes go in."""

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
  """A program for one kind of device: its optimized HLO and what XLA says of its memory.

  `resident` names the arrays that stay on a device, in bytes; `usage` is XLA's count of the whole;
  `named` are the parameters by their dimensions, "257152,4096", where one alone has them.
  """

  hlo: str
  named: dict[str, str]
  resident: dict[str, int]
  usage: memory.Usage
  seconds: float


def space_of(experiment: Any) -> token_space.TokenSpace:
  """Returns the token space an experiment can have at most, before anything is fitted.

  Tags get made-up ids: how many there are decides no shape.
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


def train_step(experiment: Any, machine: Machine, mesh: Mesh) -> Compiled:
  """Returns the training step of an experiment, as `training.loop` would compile it."""
  attention.check(machine.attention, mesh.devices.flat[0].platform)
  with jax.set_mesh(mesh):
    traced, now = traced_train_step(experiment, machine, mesh)
    resident = {"parameters": _bytes(now.params), "optimizer": _bytes(now.optimizer)}
    return _compiled(traced, resident, now.params)


def abstract_mesh(machine: Machine, devices: int) -> AbstractMesh:
  """Returns the mesh of a machine over so many devices, without any device."""
  sizes = sharding.mesh_sizes(machine, devices)
  return AbstractMesh(
    tuple(sizes.values()), tuple(sizes), axis_types=(AxisType.Explicit,) * len(sizes)
  )


def check_divisible(experiment: Any, machine: Machine, mesh: Any) -> int:
  """Returns the micro-batches of a step; ConfigError unless its batch divides among the mesh."""
  ways = sharding.batch_ways(mesh)
  data = experiment.data
  sharding.check_batch_rows(data.batch_rows, ways)
  data.check_mesh(mesh)
  return machine.accumulation(data.batch_rows // ways, data.length)


def traced_train_step(experiment: Any, machine: Machine, mesh: Any) -> tuple[Any, Any]:
  """Returns (the traced step, the shapes of its state), under a mesh that may be abstract."""
  accumulation = check_divisible(experiment, machine, mesh)
  space = space_of(experiment)
  model = experiment.model.build(space)
  now = state_shapes(experiment, model, mesh)
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
  return train.trace(now, batch, _key(mesh)), now


def state_shapes(experiment: Any, model: Model, mesh: Any) -> state.TrainState:
  """Returns the whole state of a run as ShapeDtypeStructs, under a mesh that may be abstract."""
  params = model.shapes(mesh)
  variables = state.variable_shapes(experiment.objective, model, params, mesh)
  return state.shapes(params, variables, learning.of(experiment), mesh)


def decode_step(experiment: Any, machine: Machine, mesh: Mesh, rows: int, slots: int) -> Compiled:
  """Returns the program that reads one new row in each of `rows` sequences and scores the next.

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
    kept = _shaped(model.cache_shape(rows, slots), caches.AXES, dtype, mesh)
    cache = caches.Cache(
      kept, kept, _shaped((rows, slots), ("batch", None), jnp.int32, mesh),
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


def _compiled(traced: Any, resident: dict[str, int], params: Any) -> Compiled:
  start_s = time.monotonic()
  compiled = memory.compile_(traced.lower())
  seconds = time.monotonic() - start_s
  usage = memory.usage(compiled)
  return Compiled(compiled.as_text(), _by_dimensions(params), resident, usage, seconds)


def _by_dimensions(params: Any) -> dict[str, str]:
  found: dict[str, list[str]] = {}
  for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
    dimensions = ",".join(map(str, leaf.shape))
    found.setdefault(dimensions, []).append(f"params{jax.tree_util.keystr(path)}")
  return {dimensions: names[0] for dimensions, names in found.items() if len(names) == 1}


def _shaped(shape, axes, dtype, mesh: Mesh) -> jax.ShapeDtypeStruct:
  where = NamedSharding(mesh, sharding.spec(axes, shape, mesh))
  return jax.ShapeDtypeStruct(shape, dtype, sharding=where)


def _key(mesh: Mesh) -> jax.ShapeDtypeStruct:
  shaped = jax.eval_shape(lambda: jax.random.key(0))
  where = NamedSharding(mesh, PartitionSpec())
  return jax.ShapeDtypeStruct(shaped.shape, shaped.dtype, sharding=where)


def _bytes(tree: Any) -> int:
  """Returns the bytes of a tree on one device."""
  return sum(
    int(np.prod(leaf.sharding.shard_shape(leaf.shape))) * leaf.dtype.itemsize
    for leaf in jax.tree.leaves(tree)
  )
