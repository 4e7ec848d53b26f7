"""A linear probe finds what is there, and no more; its minimum is that of its loss."""

import numpy as np
from scipy import special

from audiopalm.metrics import probe


def test_labels_that_lie_apart_are_read_and_noise_is_not():
  random = np.random.default_rng(0)
  labels_N = np.arange(200) % 4
  noise_NE = random.normal(size=(200, 6))
  told_NE = noise_NE + 3 * np.eye(6)[labels_N]
  right, chance = (
    np.mean(probe.predictions(features_NE, labels_N, np.random.default_rng(1)) == labels_N)
    for features_NE in (told_NE, noise_NE)
  )
  assert right > 0.9 and 0.1 < chance < 0.4


def test_every_label_is_in_every_fold_and_a_seed_gives_the_same(monkeypatch):
  trained = []
  fit = probe._fit
  monkeypatch.setattr(probe, "_fit", lambda x, y, n: trained.append(y) or fit(x, y, n))
  labels_N = np.repeat([0, 1, 2], [20, 10, 5])
  features_NE = np.random.default_rng(0).normal(size=(35, 3))
  first, again = (
    probe.predictions(features_NE, labels_N, np.random.default_rng(2)) for _ in range(2)
  )
  np.testing.assert_array_equal(first, again)
  for labels in trained:
    assert np.bincount(labels).tolist() == [16, 8, 4]


def test_the_weights_are_where_the_loss_is_least():
  random = np.random.default_rng(0)
  features_NE, labels_N = random.normal(size=(40, 3)), random.integers(0, 3, 40)
  weights_EL = probe._fit(features_NE, labels_N, 3)

  def loss(weights_EL):
    logits_NL = features_NE @ weights_EL[:-1] + weights_EL[-1]
    losses_N = special.logsumexp(logits_NL, axis=1) - logits_NL[np.arange(40), labels_N]
    return losses_N.mean() + probe.DECAY * np.square(weights_EL[:-1]).sum()

  for _ in range(20):
    assert loss(weights_EL) <= loss(weights_EL + random.normal(0, 0.05, weights_EL.shape))


def test_weights_decay_and_constants_do_not():
  random = np.random.default_rng(0)
  labels_N = np.repeat([0, 1, 2], [25, 10, 5])
  features_NE = random.normal(size=(40, 3)) + 2 * np.eye(3)[labels_N]
  weights_EL = probe._fit(features_NE, labels_N, 3)
  shares_NL = special.softmax(features_NE @ weights_EL[:-1] + weights_EL[-1], axis=1)
  errors_NL = shares_NL - np.eye(3)[labels_N]
  # Where the loss is least, its gradient is 0: that of the weights with their decay.
  np.testing.assert_allclose(errors_NL.sum(axis=0), 0, atol=4e-3)
  decay_EL = -2 * probe.DECAY * weights_EL[:-1]
  np.testing.assert_allclose(features_NE.T @ errors_NL / 40, decay_EL, atol=1e-4)
  assert np.abs(decay_EL).max() > 2e-3
