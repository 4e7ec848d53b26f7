"""Mini-batch k-means in float32 numpy, and residual quantization with several codebooks.

The most expensive part of a fit, assigning the frames of a batch, is replaceable: `Assign` is its
signature, `assigned` the implementation in numpy, device_kmeans.py the one on JAX devices.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import sparse

SEED_FRAMES = 16_384  # sample from which k-means++ chooses
BATCH_FRAMES = 8_192
STEPS = 60
DECAY = 0.9  # of a cluster's count per batch: its mean is over about the last ten batches


class Assigned(NamedTuple):
  """A batch assigned to its nearest centroids: the sum and number of each cluster's frames, and the
  squared distance of each frame."""

  sums_VE: np.ndarray
  counts_V: np.ndarray
  distance_T: np.ndarray


Assign = Callable[[np.ndarray, np.ndarray], Assigned]


def assigned(batch_TE: np.ndarray, centroids_VE: np.ndarray) -> Assigned:
  """Returns a batch assigned to its nearest centroids."""
  ids_T, distance_T = nearest(batch_TE, centroids_VE)
  size, frames = len(centroids_VE), len(batch_TE)
  ones_VT = sparse.csr_matrix(
    (np.ones(frames, np.float32), (ids_T, np.arange(frames))), (size, frames)
  )
  counts_V = np.bincount(ids_T, minlength=size).astype(np.float32)
  return Assigned(ones_VT @ batch_TE, counts_V, distance_T)


def fit(
  features_TE: np.ndarray,
  size: int,
  random: np.random.Generator,
  centroids_VE: np.ndarray | None = None,
  assign: Assign = assigned,
) -> np.ndarray:
  """Returns centroids_VE [size, E], starting from `centroids_VE` or else from k-means++ seeds.

  Only batches of `features_TE` are read, so it may be an array on disk. A cluster that gets almost
  no frames is moved to the frame of the batch that is farthest from its centroid. Source: Sculley,
  "Web-scale k-means clustering", 2010; Arthur and Vassilvitskii, 2007.
  """
  if centroids_VE is None:
    centroids_VE = seeds(features_TE, size, random)
  centroids_VE = centroids_VE.astype(np.float32)
  count_V = np.zeros(size, np.float32)
  batch_frames = min(BATCH_FRAMES, len(features_TE))
  for step in range(STEPS):
    batch_TE = features_TE[random.choice(len(features_TE), batch_frames, replace=False)]
    batch = assign(batch_TE, centroids_VE)
    count_V *= DECAY
    total_VE = centroids_VE * count_V[:, None] + batch.sums_VE
    count_V += batch.counts_V
    filled_V = count_V > 0
    centroids_VE[filled_V] = total_VE[filled_V] / count_V[filled_V, None]
    starved = np.flatnonzero(count_V < 0.02 * batch_frames / size)
    if len(starved) and step < STEPS - 5:  # no cluster is moved in the last batches
      centroids_VE[starved] = batch_TE[np.argsort(-batch.distance_T)[: len(starved)]]
      count_V[starved] = 0
  return centroids_VE


def seeds(features_TE: np.ndarray, size: int, random: np.random.Generator) -> np.ndarray:
  """Returns centroids_VE: frames sampled by their squared distance to those sampled before."""
  count = min(SEED_FRAMES, len(features_TE))
  sample_TE = features_TE[random.choice(len(features_TE), count, replace=False)]
  square_T = np.square(sample_TE).sum(axis=1)
  chosen = [int(random.integers(count))]
  distance_T = np.full(count, np.inf, np.float32)
  while len(chosen) < size:
    last = chosen[-1]
    last_distance_T = square_T + square_T[last] - 2 * (sample_TE @ sample_TE[last])
    distance_T = np.minimum(distance_T, np.maximum(last_distance_T, 0))
    distance_T[last] = 0
    sums_T = np.cumsum(distance_T, dtype=np.float64)
    # With fewer distinct frames than clusters all sums become 0; then any frame will do.
    place = np.searchsorted(sums_T, random.random() * sums_T[-1], "right")
    chosen.append(min(int(place), count - 1))
  return sample_TE[chosen]


def nearest(features_TE: np.ndarray, centroids_VE: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns (ids_T, squared distance_T) of each frame's nearest centroid."""
  score_TV = features_TE @ centroids_VE.T
  score_TV -= 0.5 * np.square(centroids_VE).sum(axis=1)
  ids_T = score_TV.argmax(axis=1)
  best_T = np.take_along_axis(score_TV, ids_T[:, None], axis=1)[:, 0]
  distance_T = np.square(features_TE).sum(axis=1) - 2 * best_T
  return ids_T, np.maximum(distance_T, 0)


def residual_ids(features_TE: np.ndarray, codebooks_QVE: np.ndarray) -> np.ndarray:
  """Returns ids_TQ: in each codebook the centroid nearest to the residual of the previous ones."""
  ids = []
  for centroids_VE in codebooks_QVE:
    ids_T, _ = nearest(features_TE, centroids_VE)
    features_TE = features_TE - centroids_VE[ids_T]
    ids.append(ids_T)
  return np.stack(ids, axis=1)


def residual_sum(ids_TQ: np.ndarray, codebooks_QVE: np.ndarray) -> np.ndarray:
  """Returns features_TE: the sum of the centroids with these ids in the first Q codebooks."""
  return codebooks_QVE[np.arange(ids_TQ.shape[1]), ids_TQ].sum(axis=1)
