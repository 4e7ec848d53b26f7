"""Assigns frames to clusters on JAX devices: the most expensive part of `kmeans.fit`.

The frames of a batch are split over the devices, and every device has all centroids, so the sums
over frames become one all-reduce. Matrix products are float32 on any device.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from audiopalm.tokenizers import kmeans


def on_devices(devices: Sequence[jax.Device] | None = None) -> kmeans.Assign:
  """Returns `kmeans.assigned` with batches split over devices, by default all those of this
  process."""
  mesh = Mesh(np.array(jax.local_devices() if devices is None else devices), ("data",))
  whole, split = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("data",)))
  program = jax.jit(
    _assigned, in_shardings=(split, split, whole), out_shardings=(whole, whole, split)
  )

  def assign(batch_TE: np.ndarray, centroids_VE: np.ndarray) -> kmeans.Assigned:
    frames = len(batch_TE)
    missing = -frames % mesh.size
    weights_T = np.pad(np.ones(frames, np.float32), (0, missing))
    padded_TE = np.pad(batch_TE, ((0, missing), (0, 0)))
    sums_VE, counts_V, distance_T = map(np.asarray, program(padded_TE, weights_T, centroids_VE))
    return kmeans.Assigned(sums_VE, counts_V, distance_T[:frames])

  return assign


def _assigned(
  batch_TE: jax.Array, weights_T: jax.Array, centroids_VE: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns the three arrays of `kmeans.Assigned`; frames of weight 0 are padding."""
  score_TV = _product("TE,VE->TV", batch_TE, centroids_VE)
  score_TV = score_TV - 0.5 * jnp.square(centroids_VE).sum(axis=1)
  distance_T = jnp.square(batch_TE).sum(axis=1) - 2 * score_TV.max(axis=1)
  own_TV = jax.nn.one_hot(score_TV.argmax(axis=1), len(centroids_VE)) * weights_T[:, None]
  sums_VE = _product("TV,TE->VE", own_TV, batch_TE)
  return sums_VE, own_TV.sum(axis=0), jnp.maximum(distance_T, 0)


def _product(axes: str, *arrays: jax.Array) -> jax.Array:
  return jnp.einsum(axes, *arrays, precision=jax.lax.Precision.HIGHEST)
