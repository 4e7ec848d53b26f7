"""The protocols of models: settings that build a model, and pure functions of its arrays.

    experiment.model.build(space)   ->  Model      the same for every system
    model.init(key, mesh)           ->  params     a nested dict of float32 arrays

No module outside models/ and parts/ names a class of model. Objectives define what they need from a
model: `LanguageModel` is the protocol of next-token objectives and decoding.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, Self

import jax
import numpy as np
from flax import nnx

from audiopalm import sharding
from audiopalm.batch import PackedBatch
from audiopalm.errors import ConfigError
from audiopalm.nn.cross_entropy import Scored
from audiopalm.settings import Machine
from audiopalm.tokens.space import TokenSpace

Params = dict[str, Any]  # nested, with arrays as leaves
Key = jax.Array  # a key of jax.random
KeysValues = tuple[Any, Any]  # each with a leading layer axis, or a tuple with one array per layer
NumpyArrays = Mapping[str, np.ndarray]


class RowCache(Protocol):
  """The fields of `inference.cache.Cache` that `LanguageModel.step` uses."""

  keys: Any
  values: Any
  positions_BJ: jax.Array

  def with_row(self, kept: jax.Array, new: jax.Array) -> jax.Array:
    """Returns keys, values or positions with one more row per sequence."""


class ModelSettings(Protocol):
  """The model of a config: a frozen dataclass with all sizes."""

  title: str  # a short description: "a decoder of 4 layers, width 192"

  def build(self, space: TokenSpace) -> "Model":
    """Returns the model over a token space."""

  def parameters(self, space: TokenSpace) -> int:
    """Returns the number of parameters."""

  def flops_per_token(self, space: TokenSpace, length: int) -> float:
    """Returns the floating-point operations of a training step, forward and backward, for each of
    `length` positions of one sequence. With a length of 0, attention over other positions is left
    out."""

  def without_adapters(self, params: Mapping[str, Any]) -> tuple[Self, Params]:
    """Returns settings and parameters of the same model with low-rank adapters merged into their
    kernels."""


class Model(Protocol):
  """A model over one token space: everything but its arrays."""

  settings: ModelSettings
  axes: Params  # logical axes of every array, in the tree of the parameters
  tables: tuple[str, ...]  # groups of parameters whose "table" has a row for each id of the space

  def init(self, key: jax.Array, mesh: jax.sharding.Mesh) -> Params:
    """Returns new parameters, placed on the mesh; the values do not depend on the mesh."""

  def shapes(self, mesh: jax.sharding.Mesh) -> Params:
    """Returns what `init` returns as ShapeDtypeStructs with shardings: the target of a restore."""


Drawn = Any  # a pytree of the caller, with the cells chosen so far
# choose(drawn, column, logits_BV) -> (drawn, cells_B): chooses the cells of one column.
Choose = Callable[[Drawn, int, jax.Array], tuple[Drawn, jax.Array]]


class Head(Protocol):
  """How the cells of a row are predicted from the hidden state of the row before.

  It goes through the columns in order. `choose` also returns cells that are known in advance, such
  as given ones. In some heads later columns depend on all cells of earlier columns.
  """

  def losses(
    self, params: Params, hidden_BLD: jax.Array, tokens_BLK: jax.Array, machine: Machine
  ) -> Iterable[Scored]:
    """Returns the scores of each column of `tokens_BLK`, which row i of `hidden_BLD` predicts.

    Scores of holes are undefined. At most `machine.loss_chunk_cells` cells on a device have logits
    at one time.
    """

  def draw(
    self, params: Params, hidden_BD: jax.Array, drawn: Drawn, choose: Choose, machine: Machine
  ) -> Drawn:
    """Returns `drawn` after `choose` has chosen the cells of every column, from float32 logits that
    are -inf for padding rows."""


class LanguageModel(Model, Protocol):
  """A model of token grids whose rows see their past: trained on next rows, decoded row by row.

  `sizes` are the numbers of ids of each column, `padded` the numbers of rows of their tables,
  `modality_KV` the kind of each row: 0 text, 1 speech, 2 special, -1 padding. Call its methods
  under `jax.set_mesh(mesh)`.
  """

  sizes: tuple[int, ...]
  padded: tuple[int, ...]
  modality_KV: tuple[np.ndarray, ...]
  head: Head
  layers: int

  def hidden(
    self, params: Params, batch: PackedBatch, machine: Machine, dropout_key: Key | None = None
  ) -> jax.Array:
    """Returns hidden_BLD, from which row i + 1 of each batch row is predicted at row i. Without a
    key there is no dropout."""

  def hidden_and_cache(
    self, params: Params, batch: PackedBatch, machine: Machine
  ) -> tuple[jax.Array, KeysValues]:
    """Returns (hidden_BLD, (keys, values)); keys and values of all rows are [layers, B, L, G,
    H]."""

  def step(
    self,
    params: Params,
    tokens_BK: jax.Array,
    positions_B: jax.Array,
    cache: RowCache,
    machine: Machine,
  ) -> tuple[jax.Array, KeysValues]:
    """Returns (hidden_BD, (keys, values)) of one new row per sequence, which attends to itself and
    the cached rows.

    `cache` is stacked over layers if `params` are. So are the returned keys and values, [B, 1, G,
    H] per layer, which the caller writes into the cache.
    """

  def cache_shape(self, rows: int, slots: int) -> tuple[int, ...]:
    """Returns the shape of a cache's keys, and of its values: [layers, B, G, J, H]."""

  def cast_kernels(self, params: Params, machine: Machine) -> Params:
    """Returns the parameters with kernels and output table cast to the dtype of the machine's
    products. `step` and the head accept them, and no longer cast all of them at every row."""

  def unstacked(self, params: Params) -> Params:
    """Returns the parameters with one tree per layer, which `step` accepts too: a loop over rows
    would slice the stack at every row."""


class ClipHead(Protocol):
  """What is predicted from the states of a `ClipEncoder` (models/clip_heads.py). Its methods take
  its own parameters, params["heads"][name]."""

  def arrays(self, width: int, frames_width: int, key: jax.Array) -> nnx.Module:
    """Returns its arrays, for states of `width` and frames of the front of `frames_width`."""


class ClipClasses(ClipHead, Protocol):
  """A softmax over `size` classes; the last one is a blank where it `has_blank`. `rate_hz` is that
  of the stream whose ids they are, if it has one."""

  size: int
  has_blank: bool
  rate_hz: float | None

  def scored(
    self, params: Params, hidden_BTD: jax.Array, ids_BT: jax.Array, machine: Machine
  ) -> Scored:
    """Returns the scores of ids; those of a hole mean nothing."""

  def log_probs(
    self, params: Params, hidden_BTD: jax.Array, products: str | None = None
  ) -> jax.Array:
    """Returns float32 log_probs_BTV of all classes; each device has those of its own clips."""


class ClipQuantizer(ClipHead, Protocol):
  """Frames of the front as one of `entries` codes of each of `groups`."""

  groups: int
  entries: int

  def logits(self, params: Params, frames_BTC: jax.Array) -> jax.Array:
    """Returns logits_BTQV, float32, of the codes of each group."""

  def codes(self, params: Params, chosen_BTQV: jax.Array) -> jax.Array:
    """Returns code_BTE, projected, of the codes that are chosen with weight 1."""

  def states(self, params: Params, hidden_BTD: jax.Array, products: str | None) -> jax.Array:
    """Returns state_BTE, to be compared with codes."""


class ClipEncoder(Model, Protocol):
  """A model of clips: states after each of `layers` layers, one for every `hop_samples` samples.

  In each clip the first `samples_B` samples of wave_BS are its own. What follows them changes none
  of its states, which are 0 behind its end. Call its methods under `jax.set_mesh(mesh)`.
  """

  layers: int
  hop_samples: int

  def class_head(self, name: str, asked_by: str) -> ClipClasses:
    """Returns a head; ConfigError, which names who asked, unless the model has it."""

  def quantizer(self, name: str, asked_by: str) -> ClipQuantizer:
    """Returns a head; ConfigError, which names who asked, unless the model has it."""

  def features(self, wave_BS: jax.Array, samples_B: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns (what the front starts from: the wave, or frames of a spectrum, [B, T, E]; valid_BT:
    which states belong to clips)."""

  def frames(
    self, params: Params, features: jax.Array, samples_B: jax.Array, machine: Machine
  ) -> jax.Array:
    """Returns frames_BTC of the front, one for each state."""

  def normed(self, params: Params, frames_BTC: jax.Array) -> jax.Array:
    """Returns frames_BTC as they are projected into the layers, and quantized."""

  def states(
    self,
    params: Params,
    frames_BTC: jax.Array,
    valid_BT: jax.Array,
    layers: Iterable[int],
    machine: Machine,
    masked_BT: jax.Array | None = None,
    dropout_key: Key | None = None,
  ) -> dict[int, jax.Array]:
    """Returns {layer: hidden_BTD} after some of the layers. A learned vector stands for the frames
    that are masked. Without a key there is no dropout."""

  def pieces(
    self, params: Params, wave_S: np.ndarray, layer: int, products: str | None = None
  ) -> Iterator[np.ndarray]:
    """Yields hidden_TD of a 16 kHz wave of any length, in windows (models/encoder_windows.py)."""


class PyTorchModel(Protocol):
  """The PyTorch form of a model: tensors and settings of an exported folder (`parts.pytorch`)."""

  name: str  # the transformers class, or the file beside the tensors, that runs it
  sources: tuple[Path, ...]  # files copied beside the tensors; () for transformers

  def config(self, stop: int, longest: int) -> dict[str, Any]:
    """Returns the contents of config.json, given the id of `stop` and the longest sequence of
    training."""

  def tensors(self, params: Params) -> tuple[NumpyArrays, NumpyArrays]:
    """Returns (tensors, rest): the tensors for PyTorch, and arrays needed besides to restore every
    bit."""

  def params(self, tensors: NumpyArrays, rest: NumpyArrays) -> Params:
    """Returns the parameters from the results of `tensors`; CheckpointError for another model's
    tensors."""


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkModel:
  """A `Model` whose arrays are those of an nnx module, built by `network(key)`.

  The groups named "layers" are stacks of layers (`nn.transformer.stack`).
  """

  settings: ModelSettings
  network: Callable[[jax.Array], nnx.Module]

  @functools.cached_property
  def _split(self) -> tuple[nnx.GraphDef, nnx.State]:
    return nnx.split(nnx.eval_shape(lambda: self.network(jax.random.key(0))))

  @functools.cached_property
  def axes(self) -> Params:
    def axes_of(path, variable):
      stacked = any(step.key == "layers" for step in path)
      return ("layers",) * stacked + variable.get_metadata("axes")

    return jax.tree_util.tree_map_with_path(
      axes_of,
      nnx.to_pure_dict(self._split[1], lambda variable: variable),
      is_leaf=lambda v: isinstance(v, nnx.Variable),
    )

  @property
  def arrays(self) -> Params:
    """The parameters as ShapeDtypeStructs without shardings."""
    return nnx.to_pure_dict(self._split[1])

  @property
  def count(self) -> int:
    """The number of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(self.arrays))

  def init(self, key: jax.Array, mesh: jax.sharding.Mesh) -> Params:
    placed = jax.tree.map(lambda shape: shape.sharding, self.shapes(mesh))
    return jax.jit(
      lambda key: nnx.to_pure_dict(nnx.state(self.network(key))), out_shardings=placed
    )(key)

  def shapes(self, mesh: jax.sharding.Mesh) -> Params:
    shapes = self.arrays
    placed = sharding.shardings(self.axes, shapes, mesh)
    return jax.tree.map(
      lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where), shapes, placed
    )

  def module(self, params: Mapping[str, Any]) -> nnx.Module:
    """Returns the module with these arrays."""
    return nnx.merge(self._split[0], params)


def check_sizes(settings: object, *names: str) -> None:
  """Raises ConfigError for settings with a size below 1, or a dropout outside [0, 1)."""
  kind = type(settings).__name__
  for name in names:
    if getattr(settings, name) < 1:
      raise ConfigError(f"{kind}.{name} must be at least 1, got {getattr(settings, name)}.")
  rate = getattr(settings, "dropout", 0.0)
  if not 0 <= rate < 1:
    raise ConfigError(f"{kind}.dropout must be at least 0 and below 1, got {rate}.")
