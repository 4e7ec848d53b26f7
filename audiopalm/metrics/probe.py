"""A linear probe: how well a linear classifier predicts a label from a vector."""

import numpy as np
from scipy import optimize, special

FOLDS = 5
DECAY = 1e-3  # weight of the squared weights in the loss


def predictions(features_NE: np.ndarray, labels_N: np.ndarray, random: np.random.Generator):
  """Returns predicted_N: labels by multinomial logistic regression, each predicted by a model that
  was fitted on other folds. Labels count from 0; every label is spread over the folds."""
  by_label = np.argsort(labels_N[order := random.permutation(len(labels_N))], kind="stable")
  folds_N = np.empty(len(labels_N), int)
  folds_N[order[by_label]] = np.arange(len(labels_N)) % FOLDS
  predicted_N = np.empty(len(labels_N), int)
  for fold in range(FOLDS):
    held_N = folds_N == fold
    weights_EL = _fit(features_NE[~held_N], labels_N[~held_N], labels_N.max() + 1)
    predicted_N[held_N] = _logits(features_NE[held_N], weights_EL).argmax(axis=1)
  return predicted_N


def _fit(features_NE: np.ndarray, labels_N: np.ndarray, labels: int) -> np.ndarray:
  """Returns weights [E + 1, L], the last row of which are the constants."""
  ones_NE = np.concatenate([features_NE, np.ones((len(features_NE), 1))], axis=1)
  targets_NL = np.eye(labels)[labels_N]

  def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
    weights_EL = flat.reshape(-1, labels)
    logits_NL = ones_NE @ weights_EL
    losses_N = special.logsumexp(logits_NL, axis=1) - (logits_NL * targets_NL).sum(axis=1)
    decayed_EL = weights_EL * (np.arange(len(weights_EL)) < len(weights_EL) - 1)[:, None]
    value = losses_N.mean() + DECAY * np.square(decayed_EL).sum()
    errors_NL = special.softmax(logits_NL, axis=1) - targets_NL
    gradient_EL = ones_NE.T @ errors_NL / len(labels_N) + 2 * DECAY * decayed_EL
    return float(value), gradient_EL.ravel()

  start = np.zeros(ones_NE.shape[1] * labels)
  result = optimize.minimize(loss, start, jac=True, method="L-BFGS-B")
  return result.x.reshape(-1, labels)


def _logits(features_NE: np.ndarray, weights_EL: np.ndarray) -> np.ndarray:
  return features_NE @ weights_EL[:-1] + weights_EL[-1]
