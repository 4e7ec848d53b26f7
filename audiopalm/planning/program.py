"""Compiles the programs of a run for the devices of a mesh, from shapes, without any arrays."""

import dataclasses
import itertools
import re
import time
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from audiopalm import sharding
from audiopalm.data import prepared
from audiopalm.errors import AudiopalmError
from audiopalm.experiment import Experiment
from audiopalm.inference import cache as caches
from audiopalm.models.base import Model, Params
from audiopalm.nn import attention
from audiopalm.settings import Machine
from audiopalm.tokens import space as token_space
from audiopalm.training import state, step

AnyMesh = Mesh | AbstractMesh
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
# Compilers report either the memory of the whole program or that of its temporaries.
OUT_OF_MEMORY = (
  r"Used ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?) hbm",
  r"\(([\d.]+)([KMGT]?)\) exceeds available HBM \(([\d.]+)([KMGT]?)\)",
)


@dataclasses.dataclass(frozen=True, eq=False)
class Compiled:
  """The optimized HLO of a program, its memory, and the seconds it took to compile.

  `memory` is in bytes per device: of the resident arrays by name ("parameters", ...), and XLA's
  "arguments", "temporaries" and "peak", which includes both. `parameters_by_dims` maps dimensions,
  "257152,4096", to the name of the parameter if only one has them.
  """

  hlo: str
  parameters_by_dims: dict[str, str]
  memory: dict[str, int]
  seconds: float


class TooLarge(AudiopalmError):
  """The compiler ran out of device memory: it needs at least `excess` bytes more."""

  def __init__(self, excess: int, text: str):
    super().__init__(text)
    self.excess = excess


def space_of(experiment: Experiment) -> token_space.TokenSpace:
  """Returns the largest token space an experiment can have, before any tokenizer is fitted.

  Tags get arbitrary ids, because no shape depends on them.
  """
  specs = [tokenizer.largest for tokenizer in experiment.tokenizers]
  layouts = experiment.data.layouts(experiment.layout, experiment.tasks)
  numbers = itertools.count()
  text = token_space.text_stream({spec.name: spec for spec in specs})
  base = text.sizes[0] if text else 1

  def tag_ids(tag: str) -> tuple[int, ...]:
    number = next(numbers)
    return number % base, number // base

  return token_space.build(specs, layouts, tag_ids, specials=experiment.objective.specials)


def train_step(experiment: Experiment, machine: Machine, mesh: Mesh) -> Compiled:
  """Returns the training step of an experiment, compiled as in `training.loop`."""
  attention.check(machine.attention, mesh.devices.flat[0].platform)
  with jax.set_mesh(mesh):
    traced, shapes = traced_train_step(experiment, machine, mesh)
    resident = {"parameters": shapes.params, "optimizer": shapes.optimizer}
    return _compiled(traced, resident)


def abstract_mesh(machine: Machine, devices: int) -> AbstractMesh:
  """Returns the mesh of a machine for a number of devices, without any device."""
  sizes = sharding.mesh_sizes(machine, devices)
  return AbstractMesh(
    tuple(sizes.values()), tuple(sizes), axis_types=(AxisType.Explicit,) * len(sizes)
  )


def check_divisible(experiment: Experiment, machine: Machine, mesh: AnyMesh) -> int:
  """Returns the number of micro-batches per step; ConfigError unless the mesh divides the batch."""
  ways = sharding.batch_ways(mesh)
  data = experiment.data
  sharding.check_batch_rows(data.batch_rows, ways)
  data.check_mesh(mesh)
  return machine.accumulation(data.batch_rows // ways, data.length)


def traced_train_step(
  experiment: Experiment, machine: Machine, mesh: AnyMesh
) -> tuple[jax.stages.Traced, state.TrainState]:
  """Returns (the traced step, the shapes of its state). `mesh` must be the current mesh."""
  accumulation = check_divisible(experiment, machine, mesh)
  space = space_of(experiment)
  model = experiment.model.build(space)
  shapes = state_shapes(experiment, model, mesh)
  whole = experiment.data.shapes(space, experiment.tasks)
  batch = jax.tree.map(
    lambda array, axes: _shaped(array.shape, axes, array.dtype, mesh), whole, whole.axes()
  )
  key = jax.eval_shape(lambda: jax.random.key(0))
  key = jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=NamedSharding(mesh, PartitionSpec()))
  learners, spike = state.learners_of(experiment), experiment.optimizer.spike
  train = step.build(model, experiment.objective, learners, machine, accumulation, spike)
  return train.trace(shapes, batch, key), shapes


def state_shapes(experiment: Experiment, model: Model, mesh: AnyMesh) -> state.TrainState:
  """Returns the state of a run as ShapeDtypeStructs. `mesh` must be the current mesh."""
  return state.shapes(model, experiment.objective, state.learners_of(experiment), mesh)


def decode_step(
  experiment: Experiment, machine: Machine, mesh: Mesh, rows: int, slots: int
) -> Compiled:
  """Returns the compiled program that appends one grid row to each of `rows` sequences and predicts
  the next.

  Every sequence has a cache of `slots` grid rows, as in `inference.decode`.
  """
  prepared.check_answers(experiment.data)
  sharding.check_batch_rows(rows, sharding.batch_ways(mesh))
  space = space_of(experiment)
  model = experiment.model.build(space)

  def most_likely(drawn, column, logits_BV):
    best_B = jnp.argmax(logits_BV, -1)
    return (*drawn, best_B), best_B

  def one_row(params, tokens_BK, positions_B, cache):
    hidden_BD, new = model.step(params, tokens_BK, positions_B, cache, machine)
    best = model.head.draw(params, hidden_BD, (), most_likely, machine)
    return jnp.stack(best, axis=-1), caches.extend(cache, new, positions_B)

  def ids(*shape: int) -> jax.ShapeDtypeStruct:
    return _shaped(shape, ("batch", None)[: len(shape)], jnp.int32, mesh)

  with jax.set_mesh(mesh):
    params = model.shapes(mesh)
    dtype = jnp.dtype(machine.products)
    heads = _shaped(model.cache_shape(rows, slots), caches.AXES, dtype, mesh)
    cache = caches.Cache(heads, heads, ids(rows, slots), ids())
    program = jax.jit(one_row, donate_argnums=3)
    traced = program.trace(params, ids(rows, space.columns), ids(rows), cache)
    return _compiled(traced, {"parameters": params, "cache": cache})


def _compiled(traced: jax.stages.Traced, resident: Mapping[str, object]) -> Compiled:
  """Returns the compiled program; TooLarge if the compiler runs out of device memory.

  `resident` are trees of arrays that stay on a device, by name; "parameters" is one of them.
  """
  start_s = time.monotonic()
  try:
    compiled = traced.lower().compile()
  except jax.errors.JaxRuntimeError as error:
    match = next(filter(None, (re.search(text, str(error)) for text in OUT_OF_MEMORY)), None)
    if match is None:
      raise
    needed, limit = (int(float(match[n]) * UNITS[match[n + 1]]) for n in (1, 3))
    raise TooLarge(needed - limit, match[0]) from error
  seconds = time.monotonic() - start_s
  memory = {name: _bytes(tree) for name, tree in resident.items()}
  return Compiled(
    compiled.as_text(), _by_dims(resident["parameters"]), memory | _usage(compiled), seconds
  )


def _usage(compiled: jax.stages.Compiled) -> dict[str, int]:
  """Returns XLA's memory analysis of a compiled program; donated arguments count once."""
  analysis = compiled.memory_analysis()
  outputs = analysis.output_size_in_bytes - analysis.alias_size_in_bytes
  arguments, temporaries = analysis.argument_size_in_bytes, analysis.temp_size_in_bytes
  peak = arguments + temporaries + outputs + analysis.generated_code_size_in_bytes
  return {"arguments": arguments, "temporaries": temporaries, "peak": peak}


def _by_dims(params: Params) -> dict[str, str]:
  names: dict[str, list[str]] = {}
  for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
    dims = ",".join(map(str, leaf.shape))
    names.setdefault(dims, []).append(f"params{jax.tree_util.keystr(path)}")
  return {dims: name for dims, (name, *others) in names.items() if not others}


def _shaped(
  shape: tuple[int, ...], axes: tuple[str | None, ...], dtype: jnp.dtype, mesh: AnyMesh
) -> jax.ShapeDtypeStruct:
  placed = NamedSharding(mesh, sharding.spec(axes, shape, mesh))
  return jax.ShapeDtypeStruct(shape, dtype, sharding=placed)


def _bytes(tree: object) -> int:
  """Returns the bytes of a tree on one device."""
  return sum(
    int(np.prod(leaf.sharding.shard_shape(leaf.shape))) * leaf.dtype.itemsize
    for leaf in jax.tree.leaves(tree)
  )
