"""The arrays of a decoder under the names and in the shapes of PyTorch.

Matrices are [out, in], with heads side by side: layers/attention/query [D, N, H] of layer i is
model.layers.i.self_attn.q_proj.weight [N H, D]. A depth head has layers of the same names under
"depth". Paths are those of models/decoder.py as tuples, within "layers" for what a layer has.
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np

from audiopalm.models.decoder import Decoder
from audiopalm.nn import lora
from audiopalm.nn.transformer import BlockSettings, layer_shapes

EMBED, NORM, HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"
DEPTH_INTO, DEPTH_EMBED, DEPTH_NORM = (
  "depth.into.weight", "depth.embed_tokens.weight", "depth.norm.weight"
)  # fmt: skip
# How many leading axes of a kernel are its input, which PyTorch has last.
INPUTS = {**lora.CONTRACTED, "into": 1}
SHOWN = 12

Keys = tuple[str, ...]
Slices = tuple[slice, ...]


def layer(number: int, name: str, stack: str = "model") -> str:
  """Returns the whole name of a tensor of one layer of a stack: "model" or "depth"."""
  return f"{stack}.layers.{number}.{name}"


def stacks(settings: Decoder) -> Iterator[tuple[str, Keys, BlockSettings]]:
  """Yields (name, path of its layers in our tree, settings) of each stack of layers."""
  yield "model", ("layers",), settings.block
  if settings.depth_head is not None:
    yield "depth", ("depth", "layers"), settings.depth_head.block


def layer_names(block: BlockSettings) -> dict[Keys, str]:
  """Returns {path in our tree: name within a layer} of all arrays of a layer."""
  # Llama names the norm before the MLP by its position after attention.
  before_mlp = "pre_feedforward_layernorm" if block.post_norms else "post_attention_layernorm"
  names = {
    ("attention_norm", "scale"): "input_layernorm.weight",
    ("attention", "query"): "self_attn.q_proj.weight",
    ("attention", "query_bias"): "self_attn.q_proj.bias",
    ("attention", "key"): "self_attn.k_proj.weight",
    ("attention", "key_bias"): "self_attn.k_proj.bias",
    ("attention", "value"): "self_attn.v_proj.weight",
    ("attention", "value_bias"): "self_attn.v_proj.bias",
    ("attention", "out"): "self_attn.o_proj.weight",
    ("attention", "query_norm", "scale"): "self_attn.q_norm.weight",
    ("attention", "key_norm", "scale"): "self_attn.k_norm.weight",
    ("attention_post_norm", "scale"): "post_attention_layernorm.weight",
    ("mlp_post_norm", "scale"): "post_feedforward_layernorm.weight",
    ("mlp_norm", "scale"): f"{before_mlp}.weight",
    ("mlp", "gate"): "mlp.gate_proj.weight",
    ("mlp", "up"): "mlp.up_proj.weight",
    ("mlp", "down"): "mlp.down_proj.weight",
  }
  return {path: name for path, name in names.items() if path in layer_shapes(block)}


def shapes(
  settings: Decoder, rows: int, *, tied: bool, columns: int = 1
) -> dict[str, tuple[int, ...]]:
  """Returns the shape of every tensor, `rows` of the vocabulary without padding."""
  head = settings.depth_head
  shapes = {EMBED: (rows, settings.width), NORM: (settings.width,)}
  if not tied:
    shapes[HEAD] = (rows, settings.width if head is None else head.width)
  if head is not None:
    shapes[DEPTH_INTO] = (columns * head.width, settings.width)
    shapes[DEPTH_EMBED], shapes[DEPTH_NORM] = (rows, head.width), (head.width,)
  for stack, _, block in stacks(settings):
    for path, name in layer_names(block).items():
      shape, inputs = layer_shapes(block)[path], INPUTS.get(path[-1], 0)
      sides = (shape[inputs:], shape[:inputs]) if inputs else (shape,)
      for number in range(block.layers):
        shapes[layer(number, name, stack)] = tuple(map(math.prod, sides))
  return shapes


def transposed(array: np.ndarray, path: Keys) -> np.ndarray:
  """Returns one layer's array in PyTorch's layout: matrices as [out, in], heads side by side."""
  inputs = INPUTS.get(path[-1])
  if inputs is None:
    return array.reshape(-1)
  return array.reshape(math.prod(array.shape[:inputs]), -1).T


def restored(array: np.ndarray, path: Keys, shape: tuple[int, ...]) -> np.ndarray:
  """Returns PyTorch's array, or a part of it with whole heads, in the shape of our layers."""
  return (array.T if path[-1] in INPUTS else array).reshape(shape)


def place_of(part: Slices, path: Keys, shape: tuple[int, ...]) -> Slices:
  """Returns the place in PyTorch's array of a part, with whole heads, of our array, whose whole
  shape is `shape`."""
  inputs = INPUTS.get(path[-1], 0)
  place = _flat(part[inputs:], shape[inputs:])
  return (place, _flat(part[:inputs], shape[:inputs])) if inputs else (place,)


def _flat(part: Slices, shape: tuple[int, ...]) -> slice:
  """Returns a part of axes that are joined into one, all of them but the first whole."""
  rest = math.prod(shape[1:])
  return slice(part[0].start * rest, part[0].stop * rest)


def differences(actual: Mapping[str, str], expected: Mapping[str, str]) -> str:
  """Returns a line for each tensor whose description differs, only the first ones of many; '' for
  none."""
  lines = [
    f"  {name}: found {actual.get(name, 'nothing')}, expected {expected.get(name, 'nothing')}"
    for name in [*expected, *(name for name in actual if name not in expected)]
    if actual.get(name) != expected.get(name)
  ]
  more = [f"  ... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
  return "\n".join(lines[:SHOWN] + more)
