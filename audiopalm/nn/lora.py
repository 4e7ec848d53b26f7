"""Low-rank adapters for kernels: y = x W + (alpha / rank) (x down) up.

`up` starts at zero, so new adapters do not change the output. Source: LoRA, arXiv:2106.09685.
"""

import dataclasses
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from audiopalm.errors import ConfigError
from audiopalm.nn import layers

# How many leading axes of each kernel are contracted with the input; the others are the output's.
CONTRACTED = {"query": 1, "key": 1, "value": 1, "out": 2, "gate": 1, "up": 1, "down": 1}
NAME = "lora"  # name of the adapters' group in the parameters, as in `optimizer.train_only`


@dataclasses.dataclass(frozen=True)
class Lora:
  """Adapters of rank `rank` for the kernels in `on`: query, key, value, out; gate, up, down."""

  rank: int = 8
  alpha: float = 16.0
  on: tuple[str, ...] = ("query", "value")

  def __post_init__(self):
    if type(self.rank) is not int or self.rank < 1:
      raise ConfigError(f"Lora.rank must be an integer of at least 1, not {self.rank!r}.")
    unknown = [name for name in self.on if name not in CONTRACTED]
    if unknown or not self.on or len(set(self.on)) < len(self.on):
      raise ConfigError(
        f"Lora.on must name one or more of {', '.join(CONTRACTED)}, each once, not {self.on!r}."
      )

  @property
  def scale(self) -> float:
    """The factor of the product of `down` and `up`."""
    return self.alpha / self.rank


class Adapter(nnx.Module):
  """The factors for a kernel [in..., out...]: down [in..., rank] and up [rank, out...]."""

  def __init__(self, kernel: nnx.Param, contracted: int, rank: int, key: jax.Array):
    shape, axes = kernel[...].shape, kernel.get_metadata("axes")
    into, out = shape[:contracted], shape[contracted:]
    scale = math.prod(into) ** -0.5
    self.down = layers.normal(key, (*into, rank), scale, (*axes[:contracted], None))
    self.up = nnx.Param(jnp.zeros((rank, *out)), axes=(None, *axes[contracted:]))


class Projections(nnx.Module):
  """A module whose kernels `project` applies, each with its adapter if it has one."""

  def adapt(self, settings: Lora | None, key: jax.Array) -> None:
    """Adds adapters for those kernels of this module that `settings` names."""
    names = [name for name in CONTRACTED if hasattr(self, name)]
    names = [name for name in names if settings is not None and name in settings.on]
    self.scale = settings.scale if names else None
    if names:
      self.lora = nnx.Module()
      for name, name_key in zip(names, jax.random.split(key, len(names)), strict=True):
        adapter = Adapter(getattr(self, name), CONTRACTED[name], settings.rank, name_key)
        setattr(self.lora, name, adapter)

  def project(self, name: str, x: jax.Array, products: jax.typing.DTypeLike | None = None):
    """Returns `layers.linear` of x and a kernel, plus the output of the kernel's adapter."""
    projected = layers.linear(x, getattr(self, name)[...], CONTRACTED[name], products)
    if self.scale is None or not hasattr(self.lora, name):
      return projected
    adapter = getattr(self.lora, name)
    low = layers.linear(x, adapter.down[...], CONTRACTED[name], products)
    return projected + self.scale * layers.linear(low, adapter.up[...], 1, products)


def merged(stacked: Mapping, settings: Lora) -> dict:
  """Returns the parameters of stacked layers [layers, ...], adapters added to their kernels."""
  parameters = {}
  for name, child in stacked.items():
    if not isinstance(child, Mapping):
      parameters[name] = child
    elif name != NAME:
      parameters[name] = merged(child, settings)
  for name, adapter in stacked.get(NAME, {}).items():
    kernel, down, up = parameters[name], adapter["down"], adapter["up"]
    layer_count = kernel.shape[0]
    product = jnp.einsum(
      "LIR,LRO->LIO",
      down.reshape(layer_count, -1, settings.rank),
      up.reshape(layer_count, settings.rank, -1),
    )
    parameters[name] = kernel + settings.scale * product.reshape(kernel.shape)
  return parameters
