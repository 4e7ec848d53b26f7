"""A decoder's arrays as PyTorch has them (torch_names.py), and back to the bit.

Rows that only pad V stay behind. What it takes to get every bit back is kept apart, as `rest`: the
padding rows, and where embeddings are scaled, what that rounding lost.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from audiopalm.errors import CheckpointError
from audiopalm.models.decoder import Decoder
from audiopalm.models.pytorch import stock as stocks
from audiopalm.models.pytorch import torch_names
from audiopalm.models.pytorch.families import Family
from audiopalm.models.pytorch.torch_names import (
  DEPTH_EMBED,
  DEPTH_INTO,
  DEPTH_NORM,
  EMBED,
  HEAD,
  NORM,
)
from audiopalm.tokens.space import TokenSpace

Arrays = dict[str, np.ndarray]


def to_torch(
  params: Mapping[str, Any], settings: Decoder, space: TokenSpace, stock: Family | None
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
  if settings.depth_head is not None:
    tensors[DEPTH_INTO] = torch_names.turned(params["depth"]["into"], ("into",))
    tensors[DEPTH_NORM] = params["depth"]["norm"]["scale"]
    table = params["depth_embed"]["table"]
    tensors[DEPTH_EMBED], rest["depth_embed.padding"] = table[real], table[~real]
  for stack, group, block in torch_names.stacks(settings):
    for path, name in torch_names.layer_names(block):
      for number, array in enumerate(_at(params, (*group, *path))):
        tensors[torch_names.layer(number, name, stack)] = torch_names.turned(array, path)
  return {k: np.ascontiguousarray(v) for k, v in tensors.items()}, rest


def from_torch(
  tensors: Mapping[str, np.ndarray],
  rest: Mapping[str, np.ndarray],
  settings: Decoder,
  space: TokenSpace,
  stock: Family | None,
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
  }
  if not settings.tied:
    params["head"] = {"table": _padded(tensors[HEAD], rest["head.padding"], real)}
  if settings.depth_head is not None:
    into = torch_names.turned_back(tensors[DEPTH_INTO], ("into",), settings.depth_head.width)
    params["depth"] = {"into": into, "norm": {"scale": tensors[DEPTH_NORM]}}
    padding = rest["depth_embed.padding"]
    params["depth_embed"] = {"table": _padded(tensors[DEPTH_EMBED], padding, real)}
  for stack, group, block in torch_names.stacks(settings):
    for path, name in torch_names.layer_names(block):
      layers = [tensors[torch_names.layer(number, name, stack)] for number in range(block.layers)]
      turned = [torch_names.turned_back(array, path, block.head_width) for array in layers]
      inside = params
      for step in (*group, *path[:-1]):
        inside = inside.setdefault(step, {})
      inside[path[-1]] = np.stack(turned)
  return params


def _at(tree: Any, path: tuple[str, ...]) -> np.ndarray:
  for step in path:
    tree = tree[step]
  return tree


def _real_rows(space: TokenSpace) -> np.ndarray:
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
  tensors: Mapping[str, np.ndarray], settings: Decoder, space: TokenSpace, stock: Family | None
) -> None:
  shapes = torch_names.shapes(
    settings, sum(space.sizes), tied=stocks.tied(stock, settings), columns=len(space.sizes)
  )
  expected = {name: f"float32 {shape}" for name, shape in shapes.items()}
  found = {name: f"{array.dtype} {array.shape}" for name, array in tensors.items()}
  lines = torch_names.differences(found, expected)
  if lines:
    raise CheckpointError(
      f"model.safetensors has other tensors than the run it was exported from:\n{lines}\n"
      "Import what `audiopalm export` wrote, its tensors float32 and under their names."
    )
