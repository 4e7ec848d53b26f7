"""The arrays of a decoder under the names and in the shapes of PyTorch.

    ours                            theirs (layer i)                                  shape
    embed/table                     model.embed_tokens.weight                         [V, D]
    layers/attention/query          model.layers.i.self_attn.q_proj.weight            [N H, D]
    layers/attention/query_bias     model.layers.i.self_attn.q_proj.bias              [N H]
    layers/attention/out            model.layers.i.self_attn.o_proj.weight            [D, N H]
    layers/mlp/gate                 model.layers.i.mlp.gate_proj.weight               [F, D]
    layers/attention_norm/scale     model.layers.i.input_layernorm.weight             [D]
    norm/scale                      model.norm.weight                                 [D]
    head/table                      lm_head.weight                                    [V, D]

and those of a depth head (models/depth.py), which has layers of the same names

    depth/into                      depth.into.weight                                 [K E, D]
    depth/layers/attention/query    depth.layers.i.self_attn.q_proj.weight            [E, E]
    depth/norm/scale                depth.norm.weight                                 [E]
    depth_embed/table               depth.embed_tokens.weight                         [V, E]

Paths are those of models/decoder.py as tuples, within "layers" for what a layer has.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from audiopalm.models.decoder import Decoder
from audiopalm.nn.transformer import BlockSettings

EMBED, NORM, HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"
DEPTH_INTO, DEPTH_EMBED, DEPTH_NORM = (
  "depth.into.weight", "depth.embed_tokens.weight", "depth.norm.weight"
)  # fmt: skip
SHOWN = 12

Keys = tuple[str, ...]


def layer(number: int, name: str, stack: str = "model") -> str:
  """Returns the whole name of a tensor of one layer of a stack: "model" or "depth"."""
  return f"{stack}.layers.{number}.{name}"


def stacks(settings: Decoder) -> Iterator[tuple[str, Keys, BlockSettings]]:
  """Yields (name, path of its layers in our tree, settings) of each stack of layers."""
  yield "model", ("layers",), settings.block
  if settings.depth_head is not None:
    yield "depth", ("depth", "layers"), settings.depth_head.block


def layer_names(s: Decoder | BlockSettings) -> Iterator[tuple[Keys, str]]:
  """Yields (path in our tree, name within a layer) of all that a layer has."""
  yield ("attention_norm", "scale"), "input_layernorm.weight"
  for ours, theirs in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj")):
    yield ("attention", ours), f"self_attn.{theirs}.weight"
    if s.qkv_bias:
      yield ("attention", f"{ours}_bias"), f"self_attn.{theirs}.bias"
  yield ("attention", "out"), "self_attn.o_proj.weight"
  if s.qk_norm:
    yield ("attention", "query_norm", "scale"), "self_attn.q_norm.weight"
    yield ("attention", "key_norm", "scale"), "self_attn.k_norm.weight"
  if s.post_norms:
    yield ("attention_post_norm", "scale"), "post_attention_layernorm.weight"
    yield ("mlp_post_norm", "scale"), "post_feedforward_layernorm.weight"
  if not s.parallel_block:
    # Llama calls it by its place: the norm after attention.
    before_mlp = "pre_feedforward_layernorm" if s.post_norms else "post_attention_layernorm"
    yield ("mlp_norm", "scale"), f"{before_mlp}.weight"
  for ours in ("gate", "up", "down"):
    yield ("mlp", ours), f"mlp.{ours}_proj.weight"


def shapes(
  settings: Decoder, rows: int, *, tied: bool, columns: int = 1
) -> dict[str, tuple[int, ...]]:
  """Returns the shape of every tensor, `rows` of the vocabulary without padding."""
  head = settings.depth_head
  found = {EMBED: (rows, settings.width), NORM: (settings.width,)}
  if not tied:
    found[HEAD] = (rows, settings.width if head is None else head.width)
  if head is not None:
    found[DEPTH_INTO] = (columns * head.width, settings.width)
    found[DEPTH_EMBED], found[DEPTH_NORM] = (rows, head.width), (head.width,)
  for stack, _, block in stacks(settings):
    of_layer = _layer_shapes(block)
    for path, name in layer_names(block):
      for number in range(block.layers):
        key = next((step for step in path if step in of_layer), "")
        found[layer(number, name, stack)] = of_layer.get(key, (block.width,))
  return found


def _layer_shapes(s: BlockSettings) -> dict[str, tuple[int, ...]]:
  """Returns the shapes of a layer's tensors by the names of ours; all others are [width]."""
  wide, narrow = s.heads * s.head_width, s.kv_heads * s.head_width
  return {
    "query": (wide, s.width), "key": (narrow, s.width), "value": (narrow, s.width),
    "query_bias": (wide,), "key_bias": (narrow,), "value_bias": (narrow,),
    "query_norm": (s.head_width,), "key_norm": (s.head_width,), "out": (s.width, wide),
    "gate": (s.hidden, s.width), "up": (s.hidden, s.width), "down": (s.width, s.hidden),
  }  # fmt: skip


def turned(array: np.ndarray, path: Keys) -> np.ndarray:
  """Returns one layer's array as PyTorch has it: matrices as [out, in], heads side by side."""
  match path[-1]:
    case "query" | "key" | "value" | "into":
      return array.reshape(len(array), -1).T
    case "out":
      return array.reshape(-1, array.shape[-1]).T
    case "gate" | "up" | "down":
      return array.T
  return array.reshape(-1)


def turned_back(array: np.ndarray, path: Keys, head_width: int) -> np.ndarray:
  """Returns PyTorch's array, or a part of it with whole heads, as one layer of ours has it.

  The columns of "into" are as heads are, of the width of the depth head.
  """
  match path[-1]:
    case "query" | "key" | "value" | "into":
      return array.T.reshape(array.shape[1], -1, head_width)
    case "out":
      return array.T.reshape(-1, head_width, array.shape[0])
    case "gate" | "up" | "down":
      return array.T
    case "query_bias" | "key_bias" | "value_bias":
      return array.reshape(-1, head_width)
  return array


def there(part: tuple[slice, ...], path: Keys, head_width: int) -> tuple[slice, ...]:
  """Returns where in PyTorch's array lies a part, with whole heads, of one layer of ours."""

  def wide(heads: slice) -> slice:
    return slice(heads.start * head_width, heads.stop * head_width)

  match path[-1]:
    case "query" | "key" | "value":
      return wide(part[1]), part[0]
    case "out":
      return part[2], wide(part[0])
    case "gate" | "up" | "down":
      return part[1], part[0]
    case "query_bias" | "key_bias" | "value_bias":
      return (wide(part[0]),)
  return part


def differences(found: Mapping[str, str], expected: Mapping[str, str]) -> str:
  """Returns a line for each tensor that is described in another way, the first of many; '' for
  none."""
  lines = [
    f"  {name}: found {found.get(name, 'nothing')}, expected {expected.get(name, 'nothing')}"
    for name in [*expected, *(name for name in found if name not in expected)]
    if found.get(name) != expected.get(name)
  ]
  more = [f"  ... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
  return "\n".join(lines[:SHOWN] + more)
