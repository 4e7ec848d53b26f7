"""Mini-batch k-means: finds clusters, repeats itself, leaves no cluster empty."""

import jax
import numpy as np
import pytest

from audiopalm.tokenizers import device_kmeans, kmeans


def blobs(count=4_000, clusters=8, seed=0):
  random = np.random.default_rng(seed)
  centers_VE = random.normal(scale=10, size=(clusters, 3))
  ids_T = random.integers(clusters, size=count)
  return (centers_VE[ids_T] + random.normal(scale=0.1, size=(count, 3))).astype(
    np.float32
  ), centers_VE


def test_separate_clusters_are_found():
  features_TE, centers_VE = blobs()
  centroids_VE = kmeans.fit(features_TE, 8, np.random.default_rng(0))
  apart = np.sqrt(np.square(centers_VE[:, None] - centroids_VE[None]).sum(axis=2))
  assert apart.min(axis=1).max() < 0.1


def test_same_generator_state_gives_the_same_centroids():
  features_TE, _ = blobs()
  one, two = (kmeans.fit(features_TE, 16, np.random.default_rng(3)) for _ in range(2))
  np.testing.assert_array_equal(one, two)


def test_every_cluster_is_used():
  features_TE = np.random.default_rng(0).standard_normal((20_000, 5)).astype(np.float32)
  centroids_VE = kmeans.fit(features_TE, 100, np.random.default_rng(0))
  ids_T, _ = kmeans.nearest(features_TE, centroids_VE)
  assert np.bincount(ids_T, minlength=100).min() > 0


def test_a_fit_is_that_of_one_frame_and_cluster_at_a_time(monkeypatch):
  monkeypatch.setattr(kmeans, "BATCH_FRAMES", 64)
  random = np.random.default_rng(4)
  features_TE = random.standard_normal((300, 2)).astype(np.float32)
  start_VE = np.concatenate([features_TE[:10], [[9, 9], [9, -9]]]).astype(np.float32)
  centroids_VE = kmeans.fit(features_TE, 12, np.random.default_rng(0), start_VE)
  random, moved = np.random.default_rng(0), 0
  expected, counts = [row.astype(np.float64) for row in start_VE], [0.0] * 12
  for step in range(kmeans.STEPS):
    batch_TE = features_TE[random.choice(300, 64, replace=False)].astype(np.float64)
    distance_TV = np.square(batch_TE[:, None] - np.stack(expected)).sum(axis=2)
    for cluster in range(12):
      own_TE = batch_TE[distance_TV.argmin(axis=1) == cluster]
      old = 0.9 * counts[cluster]
      counts[cluster] = old + len(own_TE)
      if counts[cluster]:
        total = old * expected[cluster] + own_TE.sum(axis=0)
        expected[cluster] = total / counts[cluster]
    farthest = iter(np.argsort(-distance_TV.min(axis=1)))
    for cluster in range(12):
      if counts[cluster] < 0.02 * 64 / 12 and step < kmeans.STEPS - 5:
        expected[cluster], counts[cluster], moved = batch_TE[next(farthest)], 0.0, moved + 1
  assert moved >= 2
  np.testing.assert_allclose(centroids_VE, expected, atol=1e-4)


def test_nearest_is_the_least_of_all_distances():
  random = np.random.default_rng(0)
  features_TE, centroids_VE = (random.normal(size=(n, 4)).astype(np.float32) for n in (50, 9))
  ids_T, distance_T = kmeans.nearest(features_TE, centroids_VE)
  all_TV = np.square(features_TE[:, None] - centroids_VE[None]).sum(axis=2)
  np.testing.assert_array_equal(ids_T, all_TV.argmin(axis=1))
  np.testing.assert_allclose(distance_T, all_TV.min(axis=1), atol=1e-4)


def test_fewer_different_frames_than_clusters_still_fit():
  features_TE = np.repeat(np.eye(3, dtype=np.float32), 10, axis=0)
  centroids_VE = kmeans.fit(features_TE, 5, np.random.default_rng(0))
  assert np.isfinite(centroids_VE).all()
  assert kmeans.nearest(features_TE, centroids_VE)[1].max() < 1e-6


@pytest.mark.parametrize("devices", (1, 8))
def test_devices_assign_as_numpy_does(devices):
  features_TE, _ = blobs(count=1_001)  # which eight devices cannot share evenly
  centroids_VE = features_TE[:40]
  assign = device_kmeans.on_devices(jax.devices()[:devices])
  for computed, exact in zip(
    assign(features_TE, centroids_VE), kmeans.assigned(features_TE, centroids_VE), strict=True
  ):
    assert computed.shape == exact.shape
    np.testing.assert_allclose(computed, exact, rtol=1e-5, atol=2e-4)


def test_a_fit_on_eight_devices_equals_one_in_numpy_from_the_same_start():
  features_TE, centers_VE = blobs()
  start_VE = np.concatenate([centers_VE[:7], np.full((1, 3), 1e3)])  # one that no frame is near
  eight_VE, numpy_VE = (
    kmeans.fit(features_TE, 8, np.random.default_rng(0), start_VE, assign)
    for assign in (device_kmeans.on_devices(), kmeans.assigned)
  )
  assert np.abs(numpy_VE).max() < 100  # it was moved
  np.testing.assert_allclose(eight_VE, numpy_VE, atol=1e-4)


def test_features_may_lie_on_disk(tmp_path):
  features_TE, _ = blobs()
  features_TE.tofile(tmp_path / "features")
  on_disk_TE = np.memmap(tmp_path / "features", np.float32, "r", shape=features_TE.shape)
  fits = (kmeans.fit(array, 8, np.random.default_rng(0)) for array in (features_TE, on_disk_TE))
  np.testing.assert_array_equal(*fits)
