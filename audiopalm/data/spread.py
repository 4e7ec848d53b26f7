"""Evenly spaced samples."""

import numpy as np


def evenly(count: int, most: int) -> np.ndarray:
  """Returns at most `most` evenly spaced integers, from 0 to `count` - 1."""
  return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))
