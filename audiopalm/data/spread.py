"""Samples that lie evenly over what they are taken from."""

import numpy as np


def evenly(count: int, most: int) -> np.ndarray:
  """Returns at most `most` different numbers below `count`: the first, the last, and between."""
  return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))
