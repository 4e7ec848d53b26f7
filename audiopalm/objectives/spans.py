"""What an encoder of clips does not hear: spans of states, drawn for each clip by its own seed."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from audiopalm import sharding
from audiopalm.errors import ConfigError

# What a clip's seed is used for: each use draws on its own.
MASKS, NOISE, DISTRACTORS, GUMBEL, MIXING = range(5)


@dataclasses.dataclass(frozen=True)
class Spans:
  """At each state a masked span of `seconds` begins with `probability`.

  Masked states get the model's vector for them, or with `noise` the features that they hear are
  noise of that standard deviation, which a front of spectra needs. A clip has the same masks
  wherever and beside whatever it is computed. Sources: wav2vec 2.0, arXiv:2006.11477, section 3.1;
  BEST-RQ, arXiv:2202.01855, section 3.
  """

  probability: float = 0.065
  seconds: float = 0.2
  noise: float | None = None

  def __post_init__(self):
    if not 0 < self.probability < 1:
      raise ConfigError(
        f"Spans.probability must lie between 0 and 1, got {self.probability}: it is that of a span "
        "beginning at a state."
      )
    if self.seconds <= 0 or (self.noise is not None and self.noise < 0):
      raise ConfigError(
        f"Spans needs seconds above 0 and noise of at least 0, got {self.seconds} and {self.noise}."
      )

  def masks(self, draw_B: jax.Array, states: int, rate_hz: float) -> jax.Array:
    """Returns masked_BT for clips of so many states."""
    span = max(1, round(self.seconds * rate_hz))

    def of_clip(key):
      starts_T = jax.random.bernoulli(key, self.probability, (states,)).astype(jnp.int32)
      begun_T = jnp.cumsum(starts_T)
      return begun_T > jnp.pad(begun_T, (span, 0))[:states]

    return drawn(of_clip, draw_B, MASKS)

  def in_noise(self, draw_B: jax.Array, masked_BT: jax.Array, features_BTE: jax.Array) -> jax.Array:
    """Returns features_BTE with noise in those that masked states hear."""
    frames, _ = features_BTE.shape[1:]
    stride = frames // masked_BT.shape[1]

    def of_clip(key, masked_T, features_TE):
      covered_T = jnp.repeat(masked_T, stride)
      covered_T = jnp.pad(covered_T, (0, frames - len(covered_T)))
      noise_TE = self.noise * jax.random.normal(key, features_TE.shape)
      return jnp.where(covered_T[:, None], noise_TE, features_TE)

    return drawn(of_clip, draw_B, NOISE, masked_BT, features_BTE)


def drawn(
  of_clip: Callable[..., jax.Array], draw_B: jax.Array, use: int, *arrays: jax.Array
) -> jax.Array:
  """Returns of_clip(key, *arrays) for each clip, by a key of its seed: the same on any devices."""
  batch = PartitionSpec(sharding.layout_of(draw_B)[0])

  def local(draw_B, *arrays):
    base = jax.random.key(use)
    return jax.vmap(lambda word, *own: of_clip(jax.random.fold_in(base, word), *own))(
      draw_B, *arrays
    )

  return sharding.mapped(local, (batch,) * (1 + len(arrays)), batch)(draw_B, *arrays)


def by_clip(local: Callable[..., jax.Array], *arrays: jax.Array) -> jax.Array:
  """Returns local(*arrays), of arrays that begin with the batch; each device computes its clips."""
  batch = PartitionSpec(sharding.layout_of(arrays[0])[0])
  return sharding.mapped(local, (batch,) * len(arrays), batch)(*arrays)
