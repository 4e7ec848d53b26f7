"""A transformer block, and a stack of them: arrays with a leading layer axis, scanned."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from audiopalm.errors import ConfigError
from audiopalm.nn import attention, layers
from audiopalm.nn import lora as adapters

ACTIVATIONS = {"silu": jax.nn.silu, "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True)}

KEPT = (layers.PROJECTION, layers.MIXED)
REMAT = {
  "none": lambda body: body,
  "full": jax.checkpoint,
  "dots": lambda body: jax.checkpoint(
    body, policy=jax.checkpoint_policies.save_only_these_names(*KEPT)
  ),
  "offload": lambda body: jax.checkpoint(
    body,
    policy=jax.checkpoint_policies.save_and_offload_only_these_names(
      names_which_can_be_saved=[],
      names_which_can_be_offloaded=list(KEPT),
      offload_src="device",
      offload_dst="pinned_host",
    ),
  ),
}


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

  @property
  def kernel_parameters(self) -> int:
    """Parameters of one block that inputs are multiplied with."""
    wide = (self.width, self.heads, self.head_width)
    narrow = (self.width, self.kv_heads, self.head_width)
    shapes = {
      "query": wide, "key": narrow, "value": narrow, "out": (*wide[1:], self.width),
      "gate": (self.width, self.hidden), "up": (self.width, self.hidden),
      "down": (self.hidden, self.width),
    }  # fmt: skip
    return sum(map(math.prod, shapes.values())) + adapters.parameters(self.lora, shapes)

  @property
  def parameters(self) -> int:
    """Parameters of one block."""
    norms = 1 + (not self.parallel_block) + 2 * self.post_norms
    biases = self.qkv_bias * (self.heads + 2 * self.kv_heads) * self.head_width
    small = norms * self.width + biases + 2 * self.qk_norm * self.head_width
    return small + self.kernel_parameters


class MLP(adapters.Projections):
  """Returns (activation(x gate) * (x up)) down. Source: GLU variants, arXiv:2002.05202."""

  def __init__(self, settings: BlockSettings, key):
    s = settings
    keys = jax.random.split(key, 3)
    self.gate = layers.normal(keys[0], (s.width, s.hidden), s.width**-0.5, ("embed", "hidden"))
    self.up = layers.normal(keys[1], (s.width, s.hidden), s.width**-0.5, ("embed", "hidden"))
    back = (s.hidden * 2 * s.layers) ** -0.5
    self.down = layers.normal(keys[2], (s.hidden, s.width), back, ("hidden", "embed"))
    self.activation = s.activation
    self.adapt(s.lora, jax.random.fold_in(key, 0))

  def __call__(self, x_BLD, products=None):
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

  def __init__(self, settings: BlockSettings, key):
    s = settings
    keys = jax.random.split(key, 2)

    def norm():
      return layers.RMSNorm(s.width, s.norm_eps, s.norm_offset)

    self.attention_norm = norm()
    self.attention = attention.Attention(s, keys[0])
    if not s.parallel_block:
      self.mlp_norm = norm()
    self.mlp = MLP(s, keys[1])
    if s.post_norms:
      self.attention_post_norm = norm()
      self.mlp_post_norm = norm()
    self.settings = s

  def __call__(self, x_BLD, rotation, mix, dropout_key=None, products=None):
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


def stack(settings: BlockSettings, key) -> TransformerBlock:
  """Returns a TransformerBlock whose every array has a leading axis of `settings.layers`."""
  return nnx.vmap(lambda key: TransformerBlock(settings, key))(
    jax.random.split(key, settings.layers)
  )


def run(
  blocks: TransformerBlock, x_BLD, per_layer, call, *, remat: str = "none", unroll: bool = False
):
  """Returns (x_BLD, outputs stacked over layers) after all layers.

  `call(block, x_BLD, per_layer of that layer) -> (x_BLD, output)`. `remat` names what the backward
  pass keeps: "none" keeps everything, "dots" the outputs of matrix products and of attention,
  "offload" the same in the memory of the host, "full" only the input of each layer. `unroll` runs
  the same arrays layer by layer in Python: longer to compile, sometimes faster. See `walk`.
  """
  if remat not in REMAT:
    raise ConfigError(f"Unknown remat policy {remat!r}. Available: {', '.join(REMAT)}.")
  graphdef, arrays = nnx.split(blocks)

  def body(x_BLD, layer):
    return call(nnx.merge(graphdef, layer[0]), x_BLD, layer[1])

  body = REMAT[remat](body)
  if not unroll:
    return lax.scan(body, x_BLD, (arrays, per_layer))
  outputs = []
  for layer in unstacked((arrays, per_layer)):
    x_BLD, output = body(x_BLD, layer)
    outputs.append(output)
  return x_BLD, jax.tree.map(lambda *all_layers: jnp.stack(all_layers), *outputs)


def walk(block: TransformerBlock, layers, x_BLD, per_layer, call):
  """Returns (x_BLD, each layer's output) as `run` does, from arrays that `unstacked` gave.

  `block` is any layer, `per_layer` one value for each. Nothing is cut from a stack or put on one: a
  loop over rows would do so, and copy all parameters, at every row.
  """
  graphdef, _ = nnx.split(block)
  outputs = []
  for arrays, data in zip(layers, per_layer, strict=True):
    x_BLD, output = call(nnx.merge(graphdef, arrays), x_BLD, data)
    outputs.append(output)
  return x_BLD, tuple(outputs)


def unstacked(arrays) -> tuple:
  """Returns one tree for each layer of a tree of arrays stacked over layers."""
  layers = jax.tree.leaves(arrays)[0].shape[0]
  return tuple(jax.tree.map(lambda array, at=at: array[at], arrays) for at in range(layers))


def any_layer(group: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a group of parameters with the first of its layers in the place of those `unstacked`,
  for the `block` of `walk`; as it is where they are stacked."""
  layers = group["layers"]
  return {**group, "layers": layers[0] if isinstance(layers, tuple) else layers}
