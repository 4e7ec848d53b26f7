"""The decoder-only language model over token grids: its settings, its arrays and its forward pass.

Parameters are a nested dict of arrays without class names, the same on disk as in memory, with a
leading layer axis:

    embed/table                          [V, D]      rows of all columns in order
    layers/attention_norm/scale          [layers, D]
    layers/attention/query               [layers, D, N, H]   (query_bias [layers, N, H])
    layers/attention/key, value          [layers, D, G, H]   (key_bias, value_bias [layers, G, H])
    layers/attention/query_norm/scale    [layers, H]         with qk_norm; key_norm/scale
    layers/attention/out                 [layers, N, H, D]
    layers/attention_post_norm/scale     [layers, D]         with post_norms; mlp_post_norm/scale
    layers/mlp_norm/scale                [layers, D]         unless parallel_block
    layers/mlp/gate, up                  [layers, D, F]
    layers/mlp/down                      [layers, F, D]
    norm/scale                           [D]
    head/table                           [V, D]      unless tied

With `depth_head` there are the groups of models/depth.py too, and head/table is [V, E].

With `lora` there are layers/attention/lora/K/down and up, or layers/mlp/lora/K/..., for each kernel
K that it names (see nn/lora.py).
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from audiopalm.batch import PackedBatch
from audiopalm.errors import ConfigError
from audiopalm.models import base, depth, heads
from audiopalm.models.base import Key, KeysValues, Params, RowCache
from audiopalm.nn import attention, layers, masks, rotary, transformer
from audiopalm.nn import lora as adapters
from audiopalm.settings import Machine
from audiopalm.tokens.space import TokenSpace


@dataclasses.dataclass(frozen=True)
class Decoder:
  """Settings of a decoder. The defaults are Llama's; other families set a few fields:

      Mistral    windows (4096,)
      Qwen 2     qkv_bias
      Qwen 3     qk_norm
      Gemma 2    norm_offset, post_norms, embed_scale, activation "gelu_tanh", both soft-caps,
                 query_scale, windows (4096, 0)
      Gemma 3    as Gemma 2 with qk_norm, without soft-caps, windows (512,) * 5 + (0,),
                 rope_base (1e4,) * 5 + (1e6,)
      PaLM       parallel_block, kv_heads 1

  `windows` and a tuple of `rope_base` repeat over the layers; a window of 0 is none. `rope_scaling`
  applies to layers without a window. `query_scale` multiplies queries (None: head_width ** -0.5);
  `embed_scale` multiplies embeddings by sqrt(width); `norm_offset` stores norm scales minus one;
  `tied` uses the embedding as output head. `lora` adds low-rank adapters to kernels;
  `optimizer.train_only=("lora",)` trains only these. `dropout` applies to embeddings and every
  residual branch, only in training. With a `depth_head` each column of a row depends on the earlier
  columns of the row; without one (None) the columns are independent. It has its own tables, so
  `tied` must be False.
  """

  layers: int
  width: int
  heads: int
  kv_heads: int
  head_width: int
  hidden: int
  qkv_bias: bool = False
  qk_norm: bool = False
  attention_softcap: float | None = None
  final_softcap: float | None = None
  query_scale: float | None = None
  embed_scale: bool = False
  norm_offset: bool = False
  norm_eps: float = 1e-6
  post_norms: bool = False
  activation: Literal["silu", "gelu_tanh"] = "silu"
  parallel_block: bool = False
  rope_base: float | tuple[float, ...] = 10_000.0
  rope_scaling: rotary.Llama3Scaling | rotary.LinearScaling | None = None
  windows: tuple[int, ...] = ()
  tied: bool = True
  dropout: float = 0.0
  lora: adapters.Lora | None = None
  depth_head: depth.DepthTransformer | None = None

  def __post_init__(self):
    base.check_sizes(self, "layers", "width", "heads", "kv_heads", "head_width", "hidden")
    if self.heads % self.kv_heads:
      raise ConfigError(
        f"Decoder has {self.heads} heads but {self.kv_heads} kv_heads. Each key/value head serves "
        "the same number of query heads: make heads a multiple of kv_heads."
      )
    if self.head_width % 2:
      raise ConfigError(
        f"Decoder.head_width is {self.head_width}; rotary positions turn pairs of values: "
        "give an even width."
      )
    if self.activation not in transformer.ACTIVATIONS:
      raise ConfigError(
        f"Unknown Decoder.activation {self.activation!r}. "
        f"Available: {', '.join(transformer.ACTIVATIONS)}."
      )
    if any(window < 0 for window in self.windows):
      raise ConfigError(f"Decoder.windows are numbers of rows, 0 for no limit; got {self.windows}.")
    if self.depth_head is not None and self.tied:
      raise ConfigError(
        f"Decoder is tied, but its depth_head of width {self.depth_head.width} has an output table "
        "of its own. Set tied=False, or depth_head=None."
      )

  @property
  def layer_windows(self) -> tuple[int, ...]:
    """One window per layer, 0 for none."""
    return _repeated(self.windows or (0,), self.layers)

  @property
  def layer_rope_bases(self) -> tuple[float, ...]:
    """One rotary base per layer."""
    bases = self.rope_base if isinstance(self.rope_base, tuple) else (self.rope_base,)
    return _repeated(bases, self.layers)

  @property
  def layer_frequencies(self) -> np.ndarray:
    """Rotary frequencies per layer, float32 [layers, H / 2]."""
    layers_of = zip(self.layer_rope_bases, self.layer_windows, strict=True)
    return np.stack(
      [
        rotary.frequencies(self.head_width, rope_base, None if window else self.rope_scaling)
        for rope_base, window in layers_of
      ]
    )

  @property
  def block(self) -> transformer.BlockSettings:
    """The settings of its blocks."""
    return transformer.BlockSettings.of(self)

  @property
  def title(self) -> str:
    return f"a decoder of {self.layers} layers, width {self.width}"

  def build(self, space: TokenSpace) -> "DecoderModel":
    head = heads.ParallelHead(space.sizes, space.padded, self.final_softcap)
    if self.depth_head is not None:
      head = depth.DepthHead(space.sizes, space.padded, self.final_softcap, self.depth_head)
    network = functools.partial(DecoderNetwork, self, space.padded)
    return DecoderModel(
      self, network, space.sizes, space.padded, space.modality_KV, space.both_ways, head
    )

  def parameters(self, space: TokenSpace) -> int:
    """Returns the number of parameters, padding rows of the vocabulary included."""
    network = functools.partial(DecoderNetwork, self, space.padded)
    return base.NetworkModel(self, network).count

  def flops_per_token(self, space: TokenSpace, length: int) -> float:
    """Returns the floating-point operations a training step spends on one row of the grid, forward
    and backward, in sequences of `length` rows.

    It counts 6 per multiplied parameter (kernels and output head, including padding rows; lookups
    are free), and 12 N H per layer and visible row in attention: on average (length + 1) / 2 rows,
    fewer with a window. Segments and recomputation (remat) are ignored. Source: PaLM,
    arXiv:2204.02311, appendix B, with attention halved because it is causal.
    """
    rows = sum(space.padded)
    head = 6 * rows * self.width
    if self.depth_head is not None:
      head = self.depth_head.flops_per_row(self.width, len(space.padded), rows)
    seen = sum(_mean_seen(length, window) for window in self.layer_windows)
    trunk = 6 * self.layers * self.block.kernel_parameters
    return trunk + head + 12 * self.heads * self.head_width * seen

  def without_adapters(self, params: Params) -> tuple["Decoder", Params]:
    if self.lora is None:
      return self, dict(params)
    layers_of = adapters.merged(params["layers"], self.lora)
    return dataclasses.replace(self, lora=None), {**params, "layers": layers_of}


def _repeated(pattern: tuple, length: int) -> tuple:
  return tuple(pattern[i % len(pattern)] for i in range(length))


class DecoderNetwork(nnx.Module):
  """The arrays of a decoder and their logical axes, used by `DecoderModel`."""

  def __init__(self, settings: Decoder, padded: tuple[int, ...], key: jax.Array):
    keys, rows = jax.random.split(key, 3), sum(padded)
    self.embed = layers.Embedding(rows, settings.width, keys[0])
    self.layers = transformer.stack(settings.block, keys[1])
    self.norm = layers.RMSNorm(settings.width, settings.norm_eps, settings.norm_offset)
    head = settings.depth_head
    if head is not None:
      # Fold in 3: split(key, 3) gives the keys of folding in 0, 1 and 2.
      blocks, embed = jax.random.split(jax.random.fold_in(key, 3))
      self.depth = depth.DepthBlocks(head, settings.width, len(padded), blocks)
      self.depth_embed = layers.Embedding(rows, head.width, embed)
    if not settings.tied:
      self.head = layers.Embedding(rows, head.width if head else settings.width, keys[2])


@dataclasses.dataclass(frozen=True, eq=False)
class DecoderModel(base.NetworkModel):
  """A decoder for one token space, without its arrays: a `models.base.LanguageModel`."""

  settings: Decoder
  sizes: tuple[int, ...]
  padded: tuple[int, ...]
  modality_KV: tuple[np.ndarray, ...]
  both_ways: bool
  head: base.Head

  @property
  def tables(self) -> tuple[str, ...]:
    return tuple(name for name in ("embed", "depth_embed", "head") if name in self.axes)

  @property
  def layers(self) -> int:
    return self.settings.layers

  def cache_shape(self, rows: int, slots: int) -> tuple[int, ...]:
    s = self.settings
    return s.layers, rows, s.kv_heads, slots, s.head_width

  def hidden(
    self, params: Params, batch: PackedBatch, machine: Machine, dropout_key: Key | None = None
  ) -> jax.Array:
    return self._over_rows(params, batch, machine, dropout_key, keep=False)[0]

  def hidden_and_cache(
    self, params: Params, batch: PackedBatch, machine: Machine
  ) -> tuple[jax.Array, KeysValues]:
    return self._over_rows(params, batch, machine, None, keep=True)

  def _over_rows(
    self, params: Params, batch: PackedBatch, machine: Machine, dropout_key: Key | None, keep: bool
  ) -> tuple[jax.Array, KeysValues | None]:
    mix = attention.mixer(
      machine.attention,
      masks.Rows(batch.segments_BL, batch.positions_BL, batch.visible_BL),
      softcap=self.settings.attention_softcap,
      ahead=self.both_ways,
      products=machine.products,
    )

    def mixer_of(window):
      return lambda query, key, value, _: mix(query, key, value, window)

    x_BLD = self._embedded(params, batch.tokens_BLK, machine)
    if dropout_key is not None:
      embed_key, dropout_key = jax.random.split(dropout_key)
      x_BLD = layers.dropout(x_BLD, self.settings.dropout, embed_key)
    call = self._layer(batch.positions_BL, machine, mixer_of, dropout_key, keep)
    x_BLD, new = transformer.run(
      self.settings.block, params["layers"], x_BLD, (*self._per_layer, None), call,
      remat=machine.remat, unroll=machine.unroll_layers,
    )  # fmt: skip
    return self._normed(params, x_BLD), new

  def step(
    self,
    params: Params,
    tokens_BK: jax.Array,
    positions_B: jax.Array,
    cache: RowCache,
    machine: Machine,
  ) -> tuple[jax.Array, KeysValues]:
    positions_BL = positions_B[:, None]
    positions_BJ = cache.with_row(cache.positions_BJ, positions_BL)

    def mixer_of(window):
      mask_BLJ = (positions_BJ >= 0)[:, None] & masks.within(window, positions_BL, positions_BJ)

      def mix(query, key, value, cached):
        # The caller writes them into the cache again. XLA merges the two writes and does not copy
        # the cache.
        key, value = cache.with_row(cached[0], key), cache.with_row(cached[1], value)
        return attention.over_cache(query, key, value, mask_BLJ, self.settings.attention_softcap)

      return mix

    apart = isinstance(params["layers"], tuple)
    cached = zip(cache.keys, cache.values, strict=True) if apart else (cache.keys, cache.values)
    per_layer = (*self._per_layer, cached)
    x_BLD, new = transformer.run(
      self.settings.block, params["layers"],
      self._embedded(params, tokens_BK[:, None], machine),
      list(zip(*per_layer, strict=True)) if apart else per_layer,
      self._layer(positions_BL, machine, mixer_of, None, keep=True),
      remat=machine.remat, unroll=machine.unroll_layers,
    )  # fmt: skip
    return self._normed(params, x_BLD)[:, 0], tuple(zip(*new, strict=True)) if apart else new

  def cast_kernels(self, params: Params, machine: Machine) -> Params:
    dtype = jnp.dtype(machine.products)

    def cast(path, array):
      kernel = path[-1].key in (*adapters.CONTRACTED, depth.INTO)
      return array.astype(dtype) if kernel else array

    groups = {name: params[name] for name in ("layers", "depth") if name in params}
    kernels = jax.tree_util.tree_map_with_path(cast, groups)
    head = {"table": params["embed" if self.settings.tied else "head"]["table"].astype(dtype)}
    return {**params, **kernels, "head": head}  # the embedding table is not cast

  def unstacked(self, params: Params) -> Params:
    apart = {"layers": transformer.unstacked(params["layers"])}
    if "depth" in params:
      layers_of = transformer.unstacked(params["depth"]["layers"])
      apart["depth"] = {**params["depth"], "layers": layers_of}
    return {**params, **apart}

  def _embedded(self, params: Params, tokens_BLK: jax.Array, machine: Machine) -> jax.Array:
    table_VD, starts = params["embed"]["table"], heads.starts(self.padded)
    x_BLD = jnp.sum(layers.embedded(table_VD, tokens_BLK, starts, machine.compute_dtype), axis=2)
    if not self.settings.embed_scale:
      return x_BLD
    return x_BLD * jnp.asarray(self.settings.width**0.5, x_BLD.dtype)

  def _normed(self, params: Params, x_BLD: jax.Array) -> jax.Array:
    scale_D = params["norm"]["scale"]
    if self.settings.norm_offset:
      scale_D = scale_D + 1
    return layers.rms_norm(x_BLD, scale_D, self.settings.norm_eps)

  @property
  def _per_layer(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(number, rotary frequencies, window) of each layer."""
    s = self.settings
    return np.arange(s.layers), s.layer_frequencies, np.int32(s.layer_windows)

  def _layer(
    self,
    positions_BL: jax.Array,
    machine: Machine,
    mixer_of: Callable[[int | jax.Array], Callable[..., jax.Array]],
    dropout_key: Key | None,
    keep: bool,
  ) -> Callable[..., tuple[jax.Array, tuple[jax.Array, jax.Array] | None]]:
    """Returns the function that `transformer.run` calls at each layer, with `_per_layer` and the
    cache.

    `mixer_of(window)` gives mix(query, key, value, cached); with `keep` the output is (key, value).
    """
    _, frequencies, windows = self._per_layer
    # Values that all layers share are computed once, others in each layer from scanned data.
    one_rotation = (
      rotary.angles(positions_BL, frequencies[0]) if (frequencies == frequencies[0]).all() else None
    )
    one_mix = mixer_of(int(windows[0])) if (windows == windows[0]).all() else None

    def call(block, x_BLD, layer):
      number, frequencies_h, window, cached = layer
      rotation = one_rotation or rotary.angles(positions_BL, frequencies_h)
      mix = one_mix or mixer_of(window)
      key = None if dropout_key is None else jax.random.fold_in(dropout_key, number)
      x_BLD, new_key, new_value = block(
        x_BLD, rotation, lambda q, k, v: mix(q, k, v, cached), key, machine.products
      )
      return x_BLD, (new_key, new_value) if keep else None

    return call


def _mean_seen(rows: int, window: int) -> float:
  """Returns the mean number of rows that a row attends to: 1, 2, ... up to the window."""
  if not rows:
    return 0.0
  limit = min(window or rows, rows)
  return (limit * (limit + 1) / 2 + (rows - limit) * limit) / rows
