"""The decoder-only language model over token grids: its settings, its arrays and its forward pass.

Parameters are a nested dict of arrays, free of class names, the same on disk as in memory (layers
stacked in front):

    embed/table                          [V, D]      all columns' rows, one column after another
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

With `lora` each kernel K it names has layers/attention/lora/K/down and up beside it, or
layers/mlp/lora/K (see nn/lora.py).
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from audiopalm.errors import ConfigError
from audiopalm.models import base, depth, heads
from audiopalm.nn import attention, layers, masks, rotary, transformer
from audiopalm.nn import lora as adapters
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
  `tied` uses the embedding as output head. `lora` puts low-rank adapters beside kernels; to train
  them alone, `optimizer.train_only=("lora",)`. `dropout` is on embeddings and on every residual
  branch, while training only. With a `depth_head` each column of a row sees those before it in the
  row; without one (None) the columns are independent. It has tables of its own: no `tied`.
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
    for name in ("layers", "width", "heads", "kv_heads", "head_width", "hidden"):
      if getattr(self, name) < 1:
        raise ConfigError(f"Decoder.{name} must be at least 1, got {getattr(self, name)}.")
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
    if not 0 <= self.dropout < 1:
      raise ConfigError(f"Decoder.dropout must be at least 0 and below 1, got {self.dropout}.")
    if any(window < 0 for window in self.windows):
      raise ConfigError(f"Decoder.windows are numbers of rows, 0 for no limit; got {self.windows}.")
    if self.depth_head is not None and self.tied:
      raise ConfigError(
        f"Decoder is tied, but its depth_head of width {self.depth_head.width} has an output table "
        "of its own. Set tied=False, or depth_head=None."
      )

  @property
  def layer_windows(self) -> tuple[int, ...]:
    """One window per layer, 0 where there is none."""
    return _repeated(self.windows or (0,), self.layers)

  @property
  def layer_rope_bases(self) -> tuple[float, ...]:
    """One rotary base per layer."""
    bases = self.rope_base if isinstance(self.rope_base, tuple) else (self.rope_base,)
    return _repeated(bases, self.layers)

  @property
  def layer_frequencies(self) -> np.ndarray:
    """Rotary frequencies per layer, float32 [layers, H / 2]."""
    return np.stack(
      [
        rotary.frequencies(self.head_width, rope_base, None if window else self.rope_scaling)
        for rope_base, window in zip(self.layer_rope_bases, self.layer_windows, strict=True)
      ]
    )

  @property
  def block(self) -> transformer.BlockSettings:
    """What its blocks are made of."""
    names = [field.name for field in dataclasses.fields(transformer.BlockSettings)]
    return transformer.BlockSettings(**{name: getattr(self, name) for name in names})

  @property
  def title(self) -> str:
    return f"a decoder of {self.layers} layers, width {self.width}"

  def build(self, space: TokenSpace) -> "DecoderModel":
    """Returns the decoder over a token space."""
    head: base.Head = heads.ParallelHead(space.sizes, space.padded, self.final_softcap)
    if self.depth_head is not None:
      head = depth.DepthHead.of(self.depth_head, self.width, head)
    return DecoderModel(
      self,
      space.sizes,
      space.padded,
      space.modality_KV,
      space.both_ways,
      head,
      base.arrays(functools.partial(DecoderNetwork, self, space.padded)),
    )

  def parameters(self, space: TokenSpace) -> int:
    """Returns the number of parameters, padding rows of the vocabulary included."""
    rows = sum(space.padded)
    trunk = (rows + 1) * self.width + self.layers * self.block.parameters
    if self.depth_head is not None:
      return trunk + self.depth_head.parameters(self.width, len(space.padded), rows)
    return trunk + (0 if self.tied else rows * self.width)

  def flops_per_token(self, space: TokenSpace, length: int) -> float:
    """Returns the floating-point operations a training step spends on one row of the grid, forward
    and backward, in sequences of `length` rows.

    6 per parameter that is multiplied (kernels and output head, padding rows included; the lookup
    of embeddings is free), and 12 N H per layer and row seen in attention: on average (length + 1)
    / 2 rows, fewer with a window; the borders of packed segments are not counted. Recomputation
    (remat) is not counted. Source: PaLM, arXiv:2204.02311, appendix B, with attention halved
    because it is causal.
    """
    rows = sum(space.padded)
    head = 6 * rows * self.width
    if self.depth_head is not None:
      head = self.depth_head.flops_per_row(self.width, len(space.padded), rows)
    seen = sum(_mean_seen(length, window) for window in self.layer_windows)
    trunk = 6 * self.layers * self.block.kernel_parameters
    return trunk + head + 12 * self.heads * self.head_width * seen

  def without_adapters(self, params: Mapping[str, Any]) -> tuple["Decoder", base.Params]:
    """Returns settings and parameters of the same model with its adapters added to its kernels."""
    if self.lora is None:
      return self, dict(params)
    layers_of = adapters.merged(params["layers"], self.lora)
    return dataclasses.replace(self, lora=None), {**params, "layers": layers_of}


def _repeated(pattern, length):
  return tuple(pattern[i % len(pattern)] for i in range(length))


class DecoderNetwork(nnx.Module):
  """The arrays of a decoder and their logical axes; `DecoderModel` computes with them."""

  def __init__(self, settings: Decoder, padded: tuple[int, ...], key):
    keys, rows = jax.random.split(key, 3), sum(padded)
    self.embed = layers.Embedding(rows, settings.width, keys[0])
    self.layers = transformer.stack(settings.block, keys[1])
    self.norm = layers.RMSNorm(settings.width, settings.norm_eps, settings.norm_offset)
    head = settings.depth_head
    if head is not None:
      # Number 3: the keys of a split are those of its first numbers folded in.
      blocks, embed = jax.random.split(jax.random.fold_in(key, 3))
      self.depth = depth.DepthBlocks(head, settings.width, len(padded), blocks)
      self.depth_embed = layers.Embedding(rows, head.width, embed)
    if not settings.tied:
      self.head = layers.Embedding(rows, head.width if head else settings.width, keys[2])


@dataclasses.dataclass(frozen=True, eq=False)
class DecoderModel:
  """A decoder for one token space: everything but the arrays. Its methods are pure functions of
  `params`.

  `sizes` are the real rows of each column's vocabulary, `padded` those rounded up; `modality_KV`
  says what each row is: 0 text, 1 speech, 2 special, -1 padding. On several devices call the
  methods under `jax.set_mesh(mesh)`.
  """

  settings: Decoder
  sizes: tuple[int, ...]
  padded: tuple[int, ...]
  modality_KV: tuple[np.ndarray, ...]
  both_ways: bool
  head: base.Head
  arrays: base.Arrays

  @property
  def axes(self) -> Any:
    return self.arrays.axes

  @property
  def tables(self) -> tuple[str, ...]:
    return tuple(name for name in ("embed", "depth_embed", "head") if name in self.axes)

  @property
  def layers(self) -> int:
    return self.settings.layers

  @property
  def starts(self) -> tuple[int, ...]:
    """The first row of each column in the tables."""
    return heads.starts(self.padded)

  def init(self, key, mesh) -> base.Params:
    """Returns new parameters, placed on the mesh; the same values whatever the mesh."""
    return self.arrays.init(key, mesh)

  def shapes(self, mesh) -> base.Params:
    """Returns what `init` returns as ShapeDtypeStructs with shardings: the target of a restore."""
    return self.arrays.shapes(mesh)

  def cache_shape(self, rows: int, slots: int) -> tuple[int, ...]:
    """Returns the shape of a cache's keys, and of its values: [layers, B, G, J, H]."""
    s = self.settings
    return s.layers, rows, s.kv_heads, slots, s.head_width

  def hidden(self, params, batch, machine, dropout_key=None):
    """Returns hidden_BLD after the last norm: row i's state, from which row i + 1 is predicted.

    `batch` has `tokens_BLK`, `segments_BL`, `positions_BL` and `visible_BL`. Without a key there is
    no dropout.
    """
    return self._rows(params, batch, machine, dropout_key)[0]

  def hidden_and_cache(self, params, batch, machine):
    """Returns (hidden_BLD, (key, value)), the rotated keys and values of all rows, each [layers, B,
    L, G, H]."""
    return self._rows(params, batch, machine, None, keep=True)

  def _rows(self, params, batch, machine, dropout_key, keep=False):
    mix = attention.mixer(
      machine.attention,
      masks.Rows(batch.segments_BL, batch.positions_BL, batch.visible_BL),
      softcap=self.settings.attention_softcap,
      ahead=self.both_ways,
      products=machine.products,
    )

    def over_rows(window):
      return lambda query, key, value, _: mix(query, key, value, window)

    return self._run(
      params, batch.tokens_BLK, batch.positions_BL, machine, dropout_key, over_rows, None, keep
    )

  def held(self, params, machine):
    """Returns the parameters with kernels and output table in the dtype of the machine's products,
    which `step` and the head take too: each row reads all of them, and casts nothing then."""
    dtype = jnp.dtype(machine.products)

    def cast(path, array):
      kernel = path[-1].key in (*adapters.CONTRACTED, depth.INTO)
      return array.astype(dtype) if kernel else array

    groups = {name: params[name] for name in ("layers", "depth") if name in params}
    kernels = jax.tree_util.tree_map_with_path(cast, groups)
    head = {"table": params["embed" if self.settings.tied else "head"]["table"].astype(dtype)}
    return {**params, **kernels, "head": head}  # the rows looked up stay as they are

  def unstacked(self, params):
    """Returns the parameters with the arrays of each layer apart, which `step` takes too: for a
    loop over rows, that would cut them from the stack at every row."""
    apart = {"layers": transformer.unstacked(params["layers"])}
    if "depth" in params:
      layers_of = transformer.unstacked(params["depth"]["layers"])
      apart["depth"] = {**params["depth"], "layers": layers_of}
    return {**params, **apart}

  def step(self, params, tokens_BK, positions_B, cache, machine):
    """Returns (hidden_BD, (keys, values)) of one new row per sequence: the row sees those cached
    and itself.

    `cache` is an `inference.cache.Cache`, stacked over layers as `params` are or not. Keys and
    values are [B, 1, G, H], stacked likewise; the caller writes them into the cache.
    """
    positions_BL = positions_B[:, None]
    positions_BJ = cache.with_row(cache.positions_BJ, positions_BL)

    def over_cache(window):
      mask_BLJ = (positions_BJ >= 0)[:, None] & masks.within(window, positions_BL, positions_BJ)

      def mix(query, key, value, old):
        # The caller writes them again: one write in the program, and no copy of what was before.
        key, value = cache.with_row(old[0], key), cache.with_row(old[1], value)
        return attention.over_cache(query, key, value, mask_BLJ, self.settings.attention_softcap)

      return mix

    old = (cache.keys, cache.values)
    hidden, new = self._run(
      params, tokens_BK[:, None], positions_BL, machine, None, over_cache, old, True
    )
    return hidden[:, 0], new

  def _run(self, params, tokens_BLK, positions_BL, machine, dropout_key, sight, old, keep):
    """`sight(window)` makes a layer's mix; `old` is its part of the cache; `keep` returns keys and
    values."""
    s = self.settings
    apart = params["layers"] if isinstance(params["layers"], tuple) else None
    params = transformer.any_layer(params)
    if "depth" in params:
      params["depth"] = transformer.any_layer(params["depth"])
    if s.tied:  # what `held` put beside the embedding
      params = {name: arrays for name, arrays in params.items() if name != "head"}
    network = self.arrays.module(params)
    products = machine.products
    x_BLD = network.embed(tokens_BLK, self.starts, jnp.dtype(machine.compute_dtype))
    if s.embed_scale:
      x_BLD = x_BLD * jnp.asarray(s.width**0.5, x_BLD.dtype)
    if dropout_key is not None:
      embed_key, dropout_key = jax.random.split(dropout_key)
      x_BLD = layers.dropout(x_BLD, s.dropout, embed_key)

    frequencies, windows = s.layer_frequencies, np.int32(s.layer_windows)
    # What all layers share is computed once, what differs is computed in the layer from scanned
    # data.
    one_rotation = (
      rotary.angles(positions_BL, frequencies[0]) if (frequencies == frequencies[0]).all() else None
    )
    one_mix = sight(int(windows[0])) if (windows == windows[0]).all() else None

    def call(block, x_BLD, layer):
      number, frequencies_h, window, old_rows = layer
      rotation = one_rotation or rotary.angles(positions_BL, frequencies_h)
      mix = one_mix or sight(window)
      key = None if dropout_key is None else jax.random.fold_in(dropout_key, number)
      x_BLD, new_key, new_value = block(
        x_BLD, rotation, lambda q, k, v: mix(q, k, v, old_rows), key, products
      )
      return x_BLD, (new_key, new_value) if keep else None

    if apart:
      per_layer = zip(range(s.layers), frequencies, windows, zip(*old, strict=True), strict=True)
      x_BLD, new = transformer.walk(network.layers, apart, x_BLD, per_layer, call)
      return network.norm(x_BLD), tuple(zip(*new, strict=True))
    per_layer = (np.arange(s.layers), frequencies, windows, old)
    x_BLD, new = transformer.run(
      network.layers, x_BLD, per_layer, call, remat=machine.remat, unroll=machine.unroll_layers
    )
    return network.norm(x_BLD), new


def _mean_seen(rows: int, window: int) -> float:
  """Returns how many rows a row sees on average: 1, 2, ... up to the window."""
  if not rows:
    return 0.0
  limit = min(window or rows, rows)
  return (limit * (limit + 1) / 2 + (rows - limit) * limit) / rows
