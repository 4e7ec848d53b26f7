"""A transformer block, and a stack of them: arrays with a leading layer axis, scanned."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from audiopalm.errors import ConfigError
from audiopalm.nn import layers, rotary
from audiopalm.nn import lora as adapters

ACTIVATIONS = {"silu": jax.nn.silu, "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True)}

KEPT = [layers.PROJECTION, layers.MIXED]
POLICIES = jax.checkpoint_policies
REMAT = {
  "none": lambda body: body,
  "full": jax.checkpoint,
  "dots": functools.partial(jax.checkpoint, policy=POLICIES.save_only_these_names(*KEPT)),
  "offload": functools.partial(
    jax.checkpoint,
    policy=POLICIES.save_and_offload_only_these_names(
      names_which_can_be_saved=[], names_which_can_be_offloaded=KEPT,
      offload_src="device", offload_dst="pinned_host",
    ),
  ),
}  # fmt: skip

Arrays = Any  # a pytree of arrays
# mix(query_BLNH, key_BLGH, value_BLGH) -> mixed_BLNH, over all rows or over those of a cache
Mix = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class BlockSettings:
  """Sizes and options of the blocks of a stack; `models.decoder.Decoder` says what each means.

  Whether positions rotate is up to the caller of a block, and what a row sees to its `mix`: blocks
  are those of decoders and of encoders.
  """

  layers: int
  width: int
  heads: int
  kv_heads: int
  head_width: int
  hidden: int
  qkv_bias: bool = False
  qk_norm: bool = False
  query_scale: float | None = None
  norm_offset: bool = False
  norm_eps: float = 1e-6
  post_norms: bool = False
  activation: Literal["silu", "gelu_tanh"] = "silu"
  parallel_block: bool = False
  dropout: float = 0.0
  lora: adapters.Lora | None = None

  @classmethod
  def of(cls, settings: object, **others: int) -> "BlockSettings":
    """Returns the options that a model's settings have by the same names, and `others`."""
    names = [field.name for field in dataclasses.fields(cls) if hasattr(settings, field.name)]
    return cls(**{name: getattr(settings, name) for name in names}, **others)

  @property
  def kernel_parameters(self) -> int:
    """Parameters of one block that inputs are multiplied with."""
    shapes = layer_shapes(self).items()
    return sum(math.prod(shape) for path, shape in shapes if path[-1] in adapters.CONTRACTED)


class LayersSettings(Protocol):
  """What a stack of blocks of any class reads of their settings, which can be hashed."""

  @property
  def layers(self) -> int: ...


class Attention(adapters.Projections):
  """Projections to queries, keys and values, their norms and rotation, and the projection back.

  `mix(query_BLNH, key_BLGH, value_BLGH) -> mixed_BLNH` between them is the caller's, over all rows
  or a cache.
  """

  def __init__(self, settings: BlockSettings, key: jax.Array):
    s = settings
    keys = jax.random.split(key, 4)
    wide, narrow = (s.width, s.heads, s.head_width), (s.width, s.kv_heads, s.head_width)
    into = s.width**-0.5
    back = (s.heads * s.head_width * 2 * s.layers) ** -0.5  # GPT-2: smaller in a deeper model
    self.query = layers.normal(keys[0], wide, into, ("embed", "heads", "head_width"))
    self.key = layers.normal(keys[1], narrow, into, ("embed", "kv_heads", "head_width"))
    self.value = layers.normal(keys[2], narrow, into, ("embed", "kv_heads", "head_width"))
    self.out = layers.normal(keys[3], (*wide[1:], s.width), back, ("heads", "head_width", "embed"))
    if s.qkv_bias:
      self.query_bias = nnx.Param(jnp.zeros(wide[1:]), axes=("heads", "head_width"))
      self.key_bias = nnx.Param(jnp.zeros(narrow[1:]), axes=("kv_heads", "head_width"))
      self.value_bias = nnx.Param(jnp.zeros(narrow[1:]), axes=("kv_heads", "head_width"))
    if s.qk_norm:
      self.query_norm = layers.RMSNorm(s.head_width, s.norm_eps, s.norm_offset)
      self.key_norm = layers.RMSNorm(s.head_width, s.norm_eps, s.norm_offset)
    self.adapt(s.lora, jax.random.fold_in(key, 0))
    self.settings = s

  def __call__(
    self,
    x_BLD: jax.Array,
    rotation: rotary.Angles | None,
    mix: Mix,
    products: jax.typing.DTypeLike | None = None,
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns (attended_BLD, key_BLGH, value_BLGH); keys and values as a cache would keep them.

    `rotation` is of `rotary.angles`, None for positions that do not rotate.
    """
    s = self.settings
    query, key, value = (self.project(name, x_BLD, products) for name in ("query", "key", "value"))
    if s.qkv_bias:
      query = query + self.query_bias[...].astype(query.dtype)
      key = key + self.key_bias[...].astype(key.dtype)
      value = value + self.value_bias[...].astype(value.dtype)
    if s.qk_norm:
      query, key = self.query_norm(query), self.key_norm(key)
    scale = s.head_width**-0.5 if s.query_scale is None else s.query_scale
    if rotation is not None:
      query, key = rotary.rotate(query, rotation), rotary.rotate(key, rotation)
    query = query * scale
    return self.project("out", mix(query, key, value), products), key, value


class MLP(adapters.Projections):
  """Returns (activation(x gate) * (x up)) down. Source: GLU variants, arXiv:2002.05202."""

  def __init__(self, settings: BlockSettings, key: jax.Array):
    s = settings
    keys = jax.random.split(key, 3)
    self.gate = layers.normal(keys[0], (s.width, s.hidden), s.width**-0.5, ("embed", "hidden"))
    self.up = layers.normal(keys[1], (s.width, s.hidden), s.width**-0.5, ("embed", "hidden"))
    back = (s.hidden * 2 * s.layers) ** -0.5
    self.down = layers.normal(keys[2], (s.hidden, s.width), back, ("hidden", "embed"))
    self.activation = s.activation
    self.adapt(s.lora, jax.random.fold_in(key, 0))

  def __call__(self, x_BLD: jax.Array, products: jax.typing.DTypeLike | None = None) -> jax.Array:
    gate_BLF, up_BLF = (self.project(name, x_BLD, products) for name in ("gate", "up"))
    # The backward pass keeps what the products gave, and activates again.
    gated = jax.checkpoint(lambda gate, up: ACTIVATIONS[self.activation](gate) * up)
    return self.project("down", gated(gate_BLF, up_BLF), products)


class TransformerBlock(nnx.Module):
  """One layer: attention and MLP around a residual stream.

  Serial (Llama, Qwen, Gemma): x += attention(norm(x)), then x += mlp(norm(x)). Parallel (PaLM,
  arXiv:2204.02311): x += attention(norm(x)) + mlp(norm(x)), with one norm. `post_norms` (Gemma 2
  and 3) norm each branch once more before it is added.
  """

  def __init__(self, settings: BlockSettings, key: jax.Array):
    s = settings
    keys = jax.random.split(key, 2)

    def norm():
      return layers.RMSNorm(s.width, s.norm_eps, s.norm_offset)

    self.attention_norm = norm()
    self.attention = Attention(s, keys[0])
    if not s.parallel_block:
      self.mlp_norm = norm()
    self.mlp = MLP(s, keys[1])
    if s.post_norms:
      self.attention_post_norm = norm()
      self.mlp_post_norm = norm()
    self.settings = s

  def __call__(
    self,
    x_BLD: jax.Array,
    rotation: rotary.Angles | None,
    mix: Mix,
    dropout_key: jax.Array | None = None,
    products: jax.typing.DTypeLike | None = None,
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns (x_BLD, key_BLGH, value_BLGH). `rotation` and `mix` are as in `Attention`, `products`
    as in `layers.linear`."""
    s = self.settings
    keys = (None, None) if dropout_key is None else jax.random.split(dropout_key)
    normed_BLD = self.attention_norm(x_BLD)
    branch_BLD, key, value = self.attention(normed_BLD, rotation, mix, products)
    if s.post_norms:
      branch_BLD = self.attention_post_norm(branch_BLD)
    x_BLD = x_BLD + layers.dropout(branch_BLD, s.dropout, keys[0])
    branch_BLD = self.mlp(normed_BLD if s.parallel_block else self.mlp_norm(x_BLD), products)
    if s.post_norms:
      branch_BLD = self.mlp_post_norm(branch_BLD)
    return x_BLD + layers.dropout(branch_BLD, s.dropout, keys[1]), key, value


def stack(
  settings: "LayersSettings", key: jax.Array, block: type[nnx.Module] = TransformerBlock
) -> nnx.Module:
  """Returns a `block` whose every array has a leading axis of `settings.layers`.

  `block(settings, key)` builds one layer; `settings` are `BlockSettings` or those of another block.
  """
  return nnx.vmap(functools.partial(block, settings))(jax.random.split(key, settings.layers))


@functools.cache
def _abstract(
  settings: "LayersSettings", block: type[nnx.Module]
) -> tuple[nnx.GraphDef, nnx.State]:
  return nnx.split(nnx.eval_shape(lambda: block(settings, jax.random.key(0))))


def layer_shapes(settings: BlockSettings) -> dict[tuple[str, ...], tuple[int, ...]]:
  """Returns {path in the tree of a layer's parameters: shape}."""
  _, state = _abstract(settings, TransformerBlock)
  leaves = jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(state))
  return {tuple(step.key for step in path): leaf.shape for path, leaf in leaves}


def run(
  settings: "LayersSettings",
  layers: Arrays | tuple[Arrays, ...],
  x_BLD: jax.Array,
  per_layer: Arrays,
  call: Callable[[Any, jax.Array, Any], tuple[jax.Array, Any]],
  *,
  remat: str = "none",
  unroll: bool = False,
  block: type[nnx.Module] = TransformerBlock,
) -> tuple[jax.Array, Any]:
  """Returns (x_BLD, outputs stacked over layers) after all layers of a stack.

  `call(block, x_BLD, per_layer of that layer) -> (x_BLD, output)`. `remat` names what the backward
  pass keeps: "none" keeps everything, "dots" the outputs of matrix products and of attention,
  "offload" the same in the memory of the host, "full" only the input of each layer. `unroll` runs
  the same arrays layer by layer in Python: longer to compile, sometimes faster.

  `layers` may also be what `unstacked` gave, and `per_layer` a sequence then: outputs are a tuple.
  A loop over rows would cut all parameters from their stack, and so copy them, at every row.
  `block` is the class of the layers, as in `stack`.
  """
  if remat not in REMAT:
    raise ConfigError(f"Unknown remat policy {remat!r}. Available: {', '.join(REMAT)}.")
  (graphdef, _), is_stack = _abstract(settings, block), not isinstance(layers, tuple)

  def body(x_BLD, layer):
    return call(nnx.merge(graphdef, layer[0]), x_BLD, layer[1])

  if is_stack:
    body = REMAT[remat](body)
    if not unroll:
      return lax.scan(body, x_BLD, (layers, per_layer))
  outputs = []
  for layer in unstacked((layers, per_layer)) if is_stack else zip(layers, per_layer, strict=True):
    x_BLD, output = body(x_BLD, layer)
    outputs.append(output)
  return x_BLD, jax.tree.map(lambda *o: jnp.stack(o), *outputs) if is_stack else tuple(outputs)


def unstacked(arrays: Arrays) -> tuple[Arrays, ...]:
  """Returns one tree for each layer of a tree of arrays stacked over layers."""
  layers = len(jax.tree.leaves(arrays)[0])
  return tuple(jax.tree.map(lambda array, at=at: array[at], arrays) for at in range(layers))
