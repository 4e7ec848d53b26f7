"""Low-rank adapters beside kernels: y = x W + (alpha / rank) (x down) up.

`up` begins at zero, so a model with new adapters computes what it did without. Source: LoRA, Hu et
al. 2021, arXiv:2106.09685.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from audiopalm.errors import ConfigError
from audiopalm.nn import layers

# How many axes of each kernel are contracted with what comes in; the others are what comes out.
CONTRACTED = {"query": 1, "key": 1, "value": 1, "out": 2, "gate": 1, "up": 1, "down": 1}
NAME = "lora"  # of the group of adapters beside the kernels; `optimizer.train_only` names it


@dataclasses.dataclass(frozen=True)
class Lora:
  """Adapters of `rank` on the kernels named in `on`: query, key, value, out; gate, up, down."""

  rank: int = 8
  alpha: float = 16.0
  on: tuple[str, ...] = ("query", "value")

  def __post_init__(self):
    if type(self.rank) is not int or self.rank < 1:
      raise ConfigError(f"Lora.rank must be a whole number of at least 1, not {self.rank!r}.")
    unknown = [name for name in self.on if name not in CONTRACTED]
    if unknown or not self.on or len(set(self.on)) < len(self.on):
      raise ConfigError(
        f"Lora.on must name one or more of {', '.join(CONTRACTED)}, each once, not {self.on!r}."
      )

  @property
  def scale(self) -> float:
    """What the product of the two factors is multiplied by."""
    return self.alpha / self.rank


class Adapter(nnx.Module):
  """The two factors beside one kernel [in..., out...]: down [in..., rank] and up [rank, out...]."""

  def __init__(self, kernel: nnx.Param, contracted: int, rank: int, key):
    shape, axes = kernel[...].shape, kernel.get_metadata("axes")
    into, out = shape[:contracted], shape[contracted:]
    wide = math.prod(into) ** -0.5
    self.down = layers.normal(key, (*into, rank), wide, (*axes[:contracted], None))
    self.up = nnx.Param(jnp.zeros((rank, *out)), axes=(None, *axes[contracted:]))


class Projections(nnx.Module):
  """A module of kernels that `project` multiplies with, each with its adapter if it has one."""

  def adapt(self, settings: Lora | None, key) -> None:
    """Puts adapters beside the kernels of this module that `settings` name."""
    names = [name for name in CONTRACTED if hasattr(self, name)]
    chosen = [name for name in names if settings is not None and name in settings.on]
    self.scale = settings.scale if chosen else None
    if chosen:
      keys = jax.random.split(key, len(chosen))
      self.lora = nnx.Module()
      for name, one in zip(chosen, keys, strict=True):
        adapter = Adapter(getattr(self, name), CONTRACTED[name], settings.rank, one)
        setattr(self.lora, name, adapter)

  def project(self, name: str, x, products=None):
    """Returns x times a kernel, as `layers.linear` does, and what its adapter adds."""
    projected = layers.linear(x, getattr(self, name)[...], CONTRACTED[name], products)
    if self.scale is None or not hasattr(self.lora, name):
      return projected
    adapter = getattr(self.lora, name)
    low = layers.linear(x, adapter.down[...], CONTRACTED[name], products)
    return projected + self.scale * layers.linear(low, adapter.up[...], 1, products)


def merged(stacked: Mapping[str, Any], settings: Lora) -> dict[str, Any]:
  """Returns the parameters of layers [layers, ...] with their adapters added to the kernels."""
  found = {}
  for name, child in stacked.items():
    if not isinstance(child, Mapping):
      found[name] = child
    elif name != NAME:
      found[name] = merged(child, settings)
  for name, adapter in stacked.get(NAME, {}).items():
    kernel, down, up = found[name], adapter["down"], adapter["up"]
    rows = kernel.shape[0]
    product = jnp.einsum(
      "LIR,LRO->LIO", down.reshape(rows, -1, settings.rank), up.reshape(rows, settings.rank, -1)
    )
    found[name] = kernel + settings.scale * product.reshape(kernel.shape)
  return found


def parameters(settings: Lora | None, shapes: Mapping[str, tuple[int, ...]]) -> int:
  """Returns how many parameters the adapters of one layer have, by the shapes of its kernels."""
  chosen = settings.on if settings is not None else ()
  return sum(
    settings.rank * (math.prod(shapes[name][:cut]) + math.prod(shapes[name][cut:]))
    for name in chosen
    for cut in (CONTRACTED[name],)
  )
