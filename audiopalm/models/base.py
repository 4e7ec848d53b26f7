"""What a model is to the rest of the code: settings that build it, pure functions of its arrays.

    experiment.model.build(space)   ->  Model      the same for every system
    model.init(key, mesh)           ->  params     a nested dict of float32 arrays

No module outside models/ and parts/ names a class of model. What a model computes is between it and
the objectives that train it: `LanguageModel` is what next-token objectives and decoding ask for.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self

import jax
import numpy as np
from flax import nnx

from audiopalm import sharding
from audiopalm.batch import ClipBatch
from audiopalm.tokens.space import TokenSpace

Params = dict[str, Any]  # nested, with arrays as leaves


class ModelSettings(Protocol):
  """What a config names as its model: a frozen dataclass that holds all sizes."""

  @property
  def title(self) -> str:
    """What it is in a few words: "a decoder of 4 layers, width 192"."""

  def build(self, space: TokenSpace) -> "Model":
    """Returns the model over a token space."""

  def parameters(self, space: TokenSpace) -> int:
    """Returns the number of parameters."""

  def flops_per_token(self, space: TokenSpace, length: int) -> float:
    """Returns the floating-point operations of a training step, forward and backward, for each of
    `length` positions of one sequence. With a length of 0, attention over other positions is left
    out."""

  def without_adapters(self, params: Mapping[str, Any]) -> tuple[Self, Params]:
    """Returns settings and parameters of the same model with low-rank adapters added to the kernels
    they lie beside."""


class Model(Protocol):
  """A model over one token space: everything but its arrays."""

  settings: ModelSettings
  axes: Any  # logical axes of every array, in the tree of the parameters

  @property
  def tables(self) -> tuple[str, ...]:
    """The groups of parameters whose "table" has a row for each id of the token space."""

  def init(self, key: jax.Array, mesh: jax.sharding.Mesh) -> Params:
    """Returns new parameters, placed on the mesh; the same values whatever the mesh."""

  def shapes(self, mesh: jax.sharding.Mesh) -> Params:
    """Returns what `init` returns as ShapeDtypeStructs with shardings: the target of a restore."""


class LanguageModel(Model, Protocol):
  """A model of token grids whose rows see their past: trained on next rows, decoded row by row.

  `sizes` are the ids of each column, `padded` the rows of their tables, `modality_KV` what each row
  is (`tokens.space`). `cache` below is an `inference.cache.Cache`.
  """

  sizes: tuple[int, ...]
  padded: tuple[int, ...]
  modality_KV: tuple[np.ndarray, ...]

  @property
  def layers(self) -> int: ...

  @property
  def final_softcap(self) -> float | None: ...

  def hidden(self, params, batch, machine, dropout_key=None) -> jax.Array:
    """Returns hidden_BLD, from which row i + 1 of each batch row is predicted at row i."""

  def hidden_and_cache(self, params, batch, machine) -> tuple[jax.Array, tuple[Any, Any]]:
    """Returns (hidden_BLD, (keys, values)) with those of all rows, [layers, B, L, G, H]."""

  def step(self, params, tokens_BK, positions_B, cache, machine) -> tuple[jax.Array, tuple]:
    """Returns (hidden_BD, (keys, values)) of one new row per sequence, given those cached."""

  def cache_shape(self, rows: int, slots: int) -> tuple[int, ...]:
    """Returns the shape of a cache's keys, and of its values, for `rows` sequences."""

  def held(self, params, machine) -> Params:
    """Returns the parameters as decoding reads them: kernels in the dtype of products."""

  def unstacked(self, params) -> Params:
    """Returns the parameters with those of each layer apart."""

  def table(self, params, column: int) -> jax.Array:
    """Returns table_VD, the output rows of a column."""

  def logits(self, params, hidden, column: int = 0, products: str | None = None) -> jax.Array:
    """Returns float32 logits [..., V] of a column; -inf for rows that are no id."""


class ClipEncoder(Model, Protocol):
  """A model of clips: a state, and scores of `classes`, for every `stride` frames of 10 ms."""

  @property
  def stride(self) -> int: ...

  @property
  def bins(self) -> int: ...

  @property
  def classes(self) -> int: ...

  def features(self, batch: ClipBatch) -> tuple[jax.Array, jax.Array]:
    """Returns (mel_BTM, valid_BU): its input, `bins` values a frame, and which states are whole."""

  def encode(self, params, mel_BTM, valid_BU, machine, dropout_key=None) -> jax.Array:
    """Returns hidden_BUD."""

  def table(self, params) -> jax.Array:
    """Returns table_VD, the output rows of the classes."""


class PyTorchModel(Protocol):
  """A model as PyTorch runs it: tensors and settings of an exported folder (`parts.pytorch`)."""

  @property
  def name(self) -> str:
    """The class of transformers, or the file beside the tensors, that runs it."""

  @property
  def sources(self) -> tuple[Any, ...]:
    """Paths of the files that are copied beside the tensors; () where transformers runs it."""

  def config(self, stop: int, longest: int) -> dict[str, Any]:
    """Returns config.json: the id of `stop`, and the longest sequence it was trained on."""

  def tensors(
    self, params: Mapping[str, Any]
  ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Returns (tensors, rest): what PyTorch reads, and what else gives every bit back."""

  def params(self, tensors: Mapping[str, np.ndarray], rest: Mapping[str, np.ndarray]) -> Params:
    """Returns what `tensors` was given; CheckpointError for tensors of another model."""


@dataclasses.dataclass(frozen=True, eq=False)
class Arrays:
  """The arrays that an nnx module holds: shapes, logical axes and first values, without the module.

  `make(key)` builds the module; `axes` is in the tree of the parameters.
  """

  make: Callable[[jax.Array], nnx.Module]
  graphdef: Any
  axes: Any

  def init(self, key: jax.Array, mesh: jax.sharding.Mesh) -> Params:
    """Returns the module's first arrays, placed on the mesh; the same whatever the mesh."""

    def arrays(key):
      return nnx.to_pure_dict(nnx.state(self.make(key)))

    placed = sharding.shardings(self.axes, jax.eval_shape(arrays, key), mesh)
    return jax.jit(arrays, out_shardings=placed)(key)

  def shapes(self, mesh: jax.sharding.Mesh) -> Params:
    """Returns what `init` returns as ShapeDtypeStructs with shardings."""
    abstract = nnx.eval_shape(lambda: self.make(jax.random.key(0)))
    shapes = nnx.to_pure_dict(nnx.state(abstract))
    placed = sharding.shardings(self.axes, shapes, mesh)
    return jax.tree.map(
      lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where), shapes, placed
    )

  def module(self, params: Mapping[str, Any]) -> Any:
    """Returns the module with these arrays."""
    return nnx.merge(self.graphdef, params)


def arrays(make: Callable[[jax.Array], nnx.Module], stacked: tuple[str, ...] = ("layers",)):
  """Returns the `Arrays` of the module that `make(key)` builds; the groups named in `stacked` are
  stacks of layers (`nn.transformer.stack`)."""
  graphdef, state = nnx.split(nnx.eval_shape(lambda: make(jax.random.key(0))))

  def axes_of(path, variable):
    first = ("layers",) if path[0].key in stacked else ()
    return first + variable.get_metadata("axes")

  variables = nnx.to_pure_dict(state, lambda variable: variable)
  axes = jax.tree_util.tree_map_with_path(
    axes_of, variables, is_leaf=lambda v: isinstance(v, nnx.Variable)
  )
  return Arrays(make, graphdef, axes)
