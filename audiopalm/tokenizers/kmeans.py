"""Mini-batch k-means in float32 numpy: k-means++ seeds, forgetting averages, no empty cluster."""

import numpy as np
from scipy import sparse

SEED_FRAMES = 16_384  # sample that k-means++ draws from
BATCH_FRAMES = 8_192
FORGET = 0.9  # weight of what a cluster knew before a batch: it remembers about ten of them


def fit(
  features_TE: np.ndarray,
  size: int,
  random: np.random.Generator,
  *,
  steps: int = 60,
  centroids_VE: np.ndarray | None = None,
) -> np.ndarray:
  """Returns centroids_VE [size, E], begun at `centroids_VE` or else at k-means++ seeds.

  The same for the same generator state. Needs at least `size` frames. A cluster that a batch leaves
  with next to nothing takes the frame of the batch that lies farthest from its own centroid.
  Source: Sculley, "Web-scale k-means clustering", 2010; Arthur and Vassilvitskii, 2007.
  """
  if centroids_VE is None:
    centroids_VE = seeds(features_TE, size, random)
  centroids_VE = centroids_VE.astype(np.float32)
  known_V = np.zeros(size, np.float32)
  batch_frames = min(BATCH_FRAMES, len(features_TE))
  for step in range(steps):
    chosen = random.choice(len(features_TE), batch_frames, replace=False)
    batch_TE = features_TE[chosen]
    ids_T, distance_T = nearest(batch_TE, centroids_VE)
    ones_VT = sparse.csr_matrix(
      (np.ones(batch_frames, np.float32), (ids_T, np.arange(batch_frames))), (size, batch_frames)
    )
    known_V *= FORGET
    came_V = np.bincount(ids_T, minlength=size).astype(np.float32)
    total_VE = centroids_VE * known_V[:, None] + ones_VT @ batch_TE
    known_V += came_V
    full_V = known_V > 0
    centroids_VE[full_V] = total_VE[full_V] / known_V[full_V, None]
    starved = np.flatnonzero(known_V < 0.02 * batch_frames / size)
    if len(starved) and step < steps - 5:  # the last batches only settle
      centroids_VE[starved] = batch_TE[np.argsort(-distance_T)[: len(starved)]]
      known_V[starved] = 0
  return centroids_VE


def seeds(features_TE: np.ndarray, size: int, random: np.random.Generator) -> np.ndarray:
  """Returns centroids_VE: frames drawn one by one, likelier the farther from those drawn before."""
  count = min(SEED_FRAMES, len(features_TE))
  sample_TE = features_TE[random.choice(len(features_TE), count, replace=False)]
  square_T = np.square(sample_TE).sum(axis=1)
  drawn = [int(random.integers(count))]
  distance_T = np.full(count, np.inf, np.float32)
  while len(drawn) < size:
    last = drawn[-1]
    apart_T = square_T + square_T[last] - 2 * (sample_TE @ sample_TE[last])
    distance_T = np.minimum(distance_T, np.maximum(apart_T, 0))
    distance_T[last] = 0
    sums_T = np.cumsum(distance_T, dtype=np.float64)
    # All sums are 0 when there are fewer different frames than clusters: then any frame will do.
    drawn.append(
      min(int(np.searchsorted(sums_T, random.random() * sums_T[-1], "right")), count - 1)
    )
  return sample_TE[drawn]


def nearest(features_TE: np.ndarray, centroids_VE: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns (ids_T, squared distance_T) of each frame's nearest centroid."""
  score_TV = features_TE @ centroids_VE.T
  score_TV -= 0.5 * np.square(centroids_VE).sum(axis=1)
  ids_T = score_TV.argmax(axis=1)
  best_T = np.take_along_axis(score_TV, ids_T[:, None], axis=1)[:, 0]
  distance_T = np.square(features_TE).sum(axis=1) - 2 * best_T
  return ids_T, np.maximum(distance_T, 0)
