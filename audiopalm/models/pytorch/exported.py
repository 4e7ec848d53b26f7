"""A decoder in an exported folder: run by a transformers class if one computes the same, else by
the file `torch_decoder.py`. Its tensors have the names of torch_names.py.

Padding rows of V are not exported as tensors. `rest` holds what is needed to restore every bit: the
padding rows and, if embeddings are scaled, the rounding errors of the scaling.
"""

import dataclasses
import functools
import math
from pathlib import Path
from typing import Any

import numpy as np

from audiopalm.errors import CheckpointError
from audiopalm.models.base import NumpyArrays, Params
from audiopalm.models.decoder import Decoder
from audiopalm.models.pytorch import stock as stocks
from audiopalm.models.pytorch import torch_names
from audiopalm.models.pytorch.families import Family
from audiopalm.models.pytorch.torch_names import DEPTH_EMBED, DEPTH_INTO, DEPTH_NORM, EMBED, HEAD
from audiopalm.tokens.space import TokenSpace

TORCH_DECODER = Path(__file__).with_name("torch_decoder.py")


@dataclasses.dataclass(frozen=True, eq=False)
class Exported:
  """A `models.base.PyTorchModel` of a decoder over a token space."""

  settings: Decoder
  space: TokenSpace

  @functools.cached_property
  def stock(self) -> Family | None:
    """The transformers class, None if none computes the same."""
    return stocks.find(self.settings, len(self.space.sizes), self.space.both_ways)

  @property
  def name(self) -> str:
    return self.stock.architecture if self.stock else TORCH_DECODER.name

  @property
  def sources(self) -> tuple[Path, ...]:
    return () if self.stock else (TORCH_DECODER,)

  def config(self, stop: int, longest: int) -> dict[str, Any]:
    if self.stock is None:
      return stocks.plain_config(self.settings, self.space.sizes)
    return stocks.config(self.stock, self.settings, sum(self.space.sizes), stop, longest)

  def tensors(self, params: Params) -> tuple[NumpyArrays, NumpyArrays]:
    s, real_V = self.settings, self._real_V
    names = {"embed": EMBED}
    if not s.tied:
      names["head"] = HEAD
    if s.depth_head is not None:
      names["depth_embed"] = DEPTH_EMBED
    tensors = {name: params[group]["table"][real_V] for group, name in names.items()}
    rest = {f"{group}.padding": params[group]["table"][~real_V] for group in names}
    if self._folds:
      embed_VD, scaled_VD = tensors[EMBED], tensors[EMBED] * self._scale
      if s.tied:
        tensors[HEAD] = embed_VD
      else:
        rest["embed.rounding"] = _ulps(embed_VD, scaled_VD / self._scale)
      tensors[EMBED] = scaled_VD
    tensors[torch_names.NORM] = params["norm"]["scale"]
    if s.depth_head is not None:
      tensors[DEPTH_INTO] = torch_names.transposed(params["depth"]["into"], ("into",))
      tensors[DEPTH_NORM] = params["depth"]["norm"]["scale"]
    for stack, group, block in torch_names.stacks(s):
      for path, name in torch_names.layer_names(block).items():
        stacked: Any = params
        for step in (*group, *path):
          stacked = stacked[step]
        for number, array in enumerate(stacked):
          tensors[torch_names.layer(number, name, stack)] = torch_names.transposed(array, path)
    return {name: np.ascontiguousarray(array) for name, array in tensors.items()}, rest

  def params(self, tensors: NumpyArrays, rest: NumpyArrays) -> Params:
    self._check(tensors)
    s = self.settings
    embed_VD = self._unfolded(tensors, rest) if self._folds else tensors[EMBED]
    params: Params = {"norm": {"scale": tensors[torch_names.NORM]}}
    params["embed"] = self._padded(embed_VD, rest["embed.padding"])
    if not s.tied:
      params["head"] = self._padded(tensors[HEAD], rest["head.padding"])
    if s.depth_head is not None:
      shape = s.width, len(self.space.sizes), s.depth_head.width
      into = torch_names.restored(tensors[DEPTH_INTO], ("into",), shape)
      params["depth"] = {"into": into, "norm": {"scale": tensors[DEPTH_NORM]}}
      params["depth_embed"] = self._padded(tensors[DEPTH_EMBED], rest["depth_embed.padding"])
    for stack, group, block in torch_names.stacks(s):
      shapes = torch_names.layer_shapes(block)
      for path, name in torch_names.layer_names(block).items():
        layers = (tensors[torch_names.layer(n, name, stack)] for n in range(block.layers))
        inside = params
        for step in (*group, *path[:-1]):
          inside = inside.setdefault(step, {})
        inside[path[-1]] = np.stack(
          [torch_names.restored(array, path, shapes[path]) for array in layers]
        )
    return params

  @property
  def _folds(self) -> bool:
    return stocks.folds(self.stock, self.settings)

  @property
  def _scale(self) -> np.float32:
    return np.float32(math.sqrt(self.settings.width))

  @property
  def _real_V(self) -> np.ndarray:
    """Whether each row of the tables is an id."""
    columns = zip(self.space.sizes, self.space.padded, strict=True)
    return np.concatenate([np.arange(padded) < size for size, padded in columns])

  def _padded(self, table_VD: np.ndarray, padding_VD: np.ndarray) -> Params:
    whole_VD = np.empty((len(self._real_V), table_VD.shape[1]), table_VD.dtype)
    whole_VD[self._real_V], whole_VD[~self._real_V] = table_VD, padding_VD
    return {"table": whole_VD}

  def _unfolded(self, tensors: NumpyArrays, rest: NumpyArrays) -> np.ndarray:
    """Returns the unscaled embeddings; rows that were trained after the export are divided by the
    scale."""
    scaled_VD = tensors[EMBED]
    if self.settings.tied:
      if not np.array_equal(tensors[HEAD] * self._scale, scaled_VD):
        raise CheckpointError(
          "The run ties its output head to its embeddings, but in this folder they are no longer "
          f"one table ({HEAD} times sqrt({self.settings.width}) is not {EMBED}): they were trained "
          "apart. Such a model cannot be imported with this config."
        )
      return tensors[HEAD]
    near_VD = scaled_VD / self._scale
    exact_VD = (near_VD.view(np.int32) + rest["embed.rounding"]).view(np.float32)
    return np.where(exact_VD * self._scale == scaled_VD, exact_VD, near_VD)

  def _check(self, tensors: NumpyArrays) -> None:
    sizes, tied = self.space.sizes, stocks.tied(self.stock, self.settings)
    shapes = torch_names.shapes(self.settings, sum(sizes), tied=tied, columns=len(sizes))
    expected = {name: f"float32 {shape}" for name, shape in shapes.items()}
    actual = {name: f"{array.dtype} {array.shape}" for name, array in tensors.items()}
    lines = torch_names.differences(actual, expected)
    if lines:
      raise CheckpointError(
        f"model.safetensors has other tensors than the run it was exported from:\n{lines}\n"
        "Import what `audiopalm export` wrote, its tensors float32 and under their names."
      )


def _ulps(wanted: np.ndarray, near: np.ndarray) -> np.ndarray:
  """Returns the number of representable floats from `near` to `wanted`, int8."""
  steps = wanted.view(np.int32) - near.view(np.int32)
  assert np.abs(steps).max(initial=0) < 128, "a product and its quotient lie some bits apart"
  return steps.astype(np.int8)
