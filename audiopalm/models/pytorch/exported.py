"""A decoder in an exported folder: a class of transformers where one computes the same, else the
file `torch_decoder.py`."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from audiopalm.models.base import Params
from audiopalm.models.decoder import Decoder
from audiopalm.models.pytorch import stock as stocks
from audiopalm.models.pytorch import weights
from audiopalm.models.pytorch.families import Family
from audiopalm.tokens.space import TokenSpace

TORCH_DECODER = Path(__file__).with_name("torch_decoder.py")


@dataclasses.dataclass(frozen=True, eq=False)
class Exported:
  """A `models.base.PyTorchModel` of a decoder over a token space."""

  settings: Decoder
  space: TokenSpace

  @functools.cached_property
  def stock(self) -> Family | None:
    """The class of transformers, None where none computes the same."""
    return stocks.find(self.settings, self.space.columns, self.space.both_ways)

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

  def tensors(
    self, params: Mapping[str, Any]
  ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    return weights.to_torch(params, self.settings, self.space, self.stock)

  def params(self, tensors: Mapping[str, np.ndarray], rest: Mapping[str, np.ndarray]) -> Params:
    return weights.from_torch(tensors, rest, self.settings, self.space, self.stock)
