"""A decoder's arrays under the names and in the shapes of PyTorch, and back to the bit.

    ours                            exported (layer i)                                shape
    embed/table                     model.embed_tokens.weight                         [V, D]
    layers/attention/query          model.layers.i.self_attn.q_proj.weight            [N H, D]
    layers/attention/query_bias     model.layers.i.self_attn.q_proj.bias              [N H]
    layers/attention/out            model.layers.i.self_attn.o_proj.weight            [D, N H]
    layers/mlp/gate                 model.layers.i.mlp.gate_proj.weight               [F, D]
    layers/attention_norm/scale     model.layers.i.input_layernorm.weight             [D]
    norm/scale                      model.norm.weight                                 [D]
    head/table                      lm_head.weight                                    [V, D]

Rows that only pad V stay behind. What it takes to get every bit back is kept apart, as `rest`: the
padding rows, and where embeddings are scaled, what that rounding lost.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from audiopalm.errors import CheckpointError
from audiopalm.export import stock as stocks
from audiopalm.models.decoder import Decoder

EMBED, NORM, HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"
SHOWN = 12

Arrays = dict[str, np.ndarray]


def to_torch(
  params: Mapping[str, Any], settings: Decoder, space: Any, stock: stocks.Stock | None
) -> tuple[Arrays, Arrays]:
  """Returns (tensors, rest) of parameters as numpy arrays. Inverse: `from_torch`."""
  real = _real_rows(space)
  table = params["embed"]["table"]
  tensors, rest = {EMBED: table[real]}, {"embed.padding": table[~real]}
  if not settings.tied:
    tensors[HEAD] = params["head"]["table"][real]
    rest["head.padding"] = params["head"]["table"][~real]
  if stocks.folds(stock, settings):
    scaled = tensors[EMBED] * _scale(settings)
    if settings.tied:
      tensors[HEAD] = tensors[EMBED]
    else:
      rest["embed.rounding"] = _ulps(tensors[EMBED], scaled / _scale(settings))
    tensors[EMBED] = scaled
  tensors[NORM] = params["norm"]["scale"]
  for path, name in _layer_names(settings):
    stacked = _at(params["layers"], path)
    for number, array in enumerate(stacked):
      tensors[f"model.layers.{number}.{name}"] = _turned(array, path)
  return {k: np.ascontiguousarray(v) for k, v in tensors.items()}, rest


def from_torch(
  tensors: Mapping[str, np.ndarray],
  rest: Mapping[str, np.ndarray],
  settings: Decoder,
  space: Any,
  stock: stocks.Stock | None,
) -> dict[str, Any]:
  """Returns the parameters; CheckpointError where names or shapes are not those of the settings."""
  _check(tensors, settings, space, stock)
  table = tensors[EMBED]
  if stocks.folds(stock, settings):
    table = _unfolded(tensors, rest, settings)
  real = _real_rows(space)
  params: dict[str, Any] = {
    "embed": {"table": _padded(table, rest["embed.padding"], real)},
    "norm": {"scale": tensors[NORM]},
    "layers": {},
  }
  if not settings.tied:
    params["head"] = {"table": _padded(tensors[HEAD], rest["head.padding"], real)}
  for path, name in _layer_names(settings):
    layers = [tensors[f"model.layers.{number}.{name}"] for number in range(settings.layers)]
    inside = params["layers"]
    for step in path[:-1]:
      inside = inside.setdefault(step, {})
    inside[path[-1]] = np.stack([_turned_back(array, path, settings) for array in layers])
  return params


def shapes(settings: Decoder, rows: int, stock: stocks.Stock | None) -> dict[str, tuple[int, ...]]:
  """Returns the shape of every exported tensor, `rows` of the vocabulary without padding."""
  s = settings
  wide, narrow = s.heads * s.head_width, s.kv_heads * s.head_width
  one = {
    "query": (wide, s.width), "key": (narrow, s.width), "value": (narrow, s.width),
    "query_bias": (wide,), "key_bias": (narrow,), "value_bias": (narrow,),
    "query_norm": (s.head_width,), "key_norm": (s.head_width,), "out": (s.width, wide),
    "gate": (s.hidden, s.width), "up": (s.hidden, s.width), "down": (s.width, s.hidden),
  }  # fmt: skip
  found = {EMBED: (rows, s.width), NORM: (s.width,)}
  if not stocks.tied(stock, s):
    found[HEAD] = (rows, s.width)
  for path, name in _layer_names(s):
    for number in range(s.layers):
      key = next((step for step in path if step in one), "")
      found[f"model.layers.{number}.{name}"] = one.get(key, (s.width,))
  return found


def _layer_names(s: Decoder) -> Iterator[tuple[tuple[str, ...], str]]:
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


def _at(tree: Any, path: tuple[str, ...]) -> np.ndarray:
  for step in path:
    tree = tree[step]
  return tree


def _turned(array: np.ndarray, path: tuple[str, ...]) -> np.ndarray:
  """Returns one layer's array as PyTorch has it: matrices as [out, in], heads side by side."""
  match path[-1]:
    case "query" | "key" | "value":
      return array.reshape(len(array), -1).T
    case "out":
      return array.reshape(-1, array.shape[-1]).T
    case "gate" | "up" | "down":
      return array.T
  return array.reshape(-1)


def _turned_back(array: np.ndarray, path: tuple[str, ...], s: Decoder) -> np.ndarray:
  match path[-1]:
    case "query" | "key" | "value":
      return array.T.reshape(s.width, -1, s.head_width)
    case "out":
      return array.T.reshape(-1, s.head_width, s.width)
    case "gate" | "up" | "down":
      return array.T
    case "query_bias" | "key_bias" | "value_bias":
      return array.reshape(-1, s.head_width)
  return array


def _real_rows(space: Any) -> np.ndarray:
  """Returns for every row of the tables whether it is an id."""
  columns = zip(space.sizes, space.padded, strict=True)
  return np.concatenate([np.arange(padded) < size for size, padded in columns])


def _padded(table: np.ndarray, padding: np.ndarray, real: np.ndarray) -> np.ndarray:
  whole = np.empty((len(real), table.shape[1]), table.dtype)
  whole[real], whole[~real] = table, padding
  return whole


def _scale(settings: Decoder) -> np.float32:
  return np.float32(math.sqrt(settings.width))


def _ulps(wanted: np.ndarray, near: np.ndarray) -> np.ndarray:
  """Returns how many representable numbers lie from `near` to `wanted`, int8."""
  steps = wanted.view(np.int32) - near.view(np.int32)
  assert np.abs(steps).max(initial=0) < 128, "a product and its quotient lie some bits apart"
  return steps.astype(np.int8)


def _unfolded(
  tensors: Mapping[str, np.ndarray], rest: Mapping[str, np.ndarray], settings: Decoder
) -> np.ndarray:
  """Returns the embeddings before they were scaled; those trained since, divided."""
  scaled, scale = tensors[EMBED], _scale(settings)
  if settings.tied:
    if not np.array_equal(tensors[HEAD] * scale, scaled):
      raise CheckpointError(
        "The run ties its output head to its embeddings, but in this folder they are no longer "
        f"one table ({HEAD} times sqrt({settings.width}) is not {EMBED}): they were trained apart. "
        "Such a model cannot be imported with this config."
      )
    return tensors[HEAD]
  near = scaled / scale
  exact = (near.view(np.int32) + rest["embed.rounding"]).view(np.float32)
  return np.where(exact * scale == scaled, exact, near)


def _check(
  tensors: Mapping[str, np.ndarray], settings: Decoder, space: Any, stock: stocks.Stock | None
) -> None:
  wanted = {
    name: f"float32 {shape}" for name, shape in shapes(settings, sum(space.sizes), stock).items()
  }
  found = {name: f"{array.dtype} {array.shape}" for name, array in tensors.items()}
  lines = [
    f"{name}: found {found.get(name, 'nothing')}, expected {wanted.get(name, 'nothing')}"
    for name in [*wanted, *(name for name in found if name not in wanted)]
    if found.get(name) != wanted.get(name)
  ]
  if lines:
    more = [f"... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    raise CheckpointError(
      "model.safetensors has other tensors than the run it was exported from:\n  "
      + "\n  ".join(lines[:SHOWN] + more)
      + "\nImport what `audiopalm export` wrote, its tensors float32 and under their names."
    )
