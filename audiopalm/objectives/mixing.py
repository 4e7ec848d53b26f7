"""Clips with other sound in them: speech of another clip, or noise. Source: WavLM,
arXiv:2110.13900, section 3.2."""

import dataclasses

import jax
import jax.numpy as jnp

from audiopalm import sharding
from audiopalm.batch import ClipBatch
from audiopalm.errors import ConfigError
from audiopalm.objectives import spans

SPEECH_DB, NOISE_DB = (-5.0, 5.0), (-5.0, 20.0)  # how much louder the clip is than what is added


@dataclasses.dataclass(frozen=True)
class Mixing:
  """With `probability` a clip gets a part of the clip before it in its micro-batch, or white noise
  in a share `noise` of these cases, over at most half of its own length.

  What is predicted is what the clip itself says.
  """

  probability: float = 0.2
  noise: float = 0.1

  def __post_init__(self):
    if not (0 < self.probability <= 1 and 0 <= self.noise <= 1):
      raise ConfigError(
        "Mixing needs a probability above 0 and a share of noise from 0 to 1, got "
        f"{self.probability} and {self.noise}."
      )

  def mixed(self, batch: ClipBatch) -> ClipBatch:
    """Returns the batch with what is added in its waves."""
    others = [self._before(array) for array in (batch.wave_BS, batch.samples_B)]
    arrays = batch.wave_BS, batch.samples_B, *others
    return dataclasses.replace(
      batch, wave_BS=spans.drawn(self._add, batch.draw_B, spans.MIXING, *arrays)
    )

  def _before(self, array: jax.Array) -> jax.Array:
    """Returns the array of the clips before, which may lie on other devices."""
    axes = (None,) * array.ndim
    rolled = jnp.roll(sharding.constrain(array, axes), 1, axis=0)
    return sharding.constrain(rolled, ("batch", *axes[1:]))

  def _add(
    self,
    key: jax.Array,
    wave_S: jax.Array,
    samples: jax.Array,
    other_S: jax.Array,
    other_samples: jax.Array,
  ) -> jax.Array:
    """Returns the wave of one clip."""
    keys = jax.random.split(key, 7)
    length = len(wave_S)
    is_mixed = jax.random.bernoulli(keys[0], self.probability) & (samples > 1)
    is_noise = jax.random.bernoulli(keys[1], self.noise) | (other_samples < 1)
    noise_S = jax.random.normal(keys[2], (length,))
    most = jnp.maximum(samples // 2, 1)
    part = 1 + jnp.floor(jax.random.uniform(keys[3]) * most).astype(jnp.int32)
    start = jnp.floor(jax.random.uniform(keys[4]) * (samples - part + 1)).astype(jnp.int32)
    offset = jnp.floor(jax.random.uniform(keys[5]) * other_samples).astype(jnp.int32)
    places_S = jnp.arange(length)
    from_S = (places_S - start + offset) % jnp.maximum(other_samples, 1)
    added_S = jnp.where(is_noise, noise_S, other_S[from_S])
    added_S = jnp.where((places_S >= start) & (places_S < start + part), added_S, 0.0)
    limits = jnp.where(is_noise, jnp.array(NOISE_DB), jnp.array(SPEECH_DB))
    louder_db = limits[0] + jax.random.uniform(keys[6]) * (limits[1] - limits[0])
    own = jnp.sum(jnp.square(wave_S)) / jnp.maximum(samples, 1)
    foreign = jnp.sum(jnp.square(added_S)) / part
    scale = jnp.sqrt(own / jnp.maximum(10 ** (louder_db / 10) * foreign, 1e-12))
    return jnp.where(is_mixed, wave_S + scale * added_S, wave_S)
