"""Scores from sums over examples, and their bootstrap intervals.

Every score here is a function of counts summed over examples (wrong words and words, matched and
all n-grams), so resamples of the examples are scored without processing any text again.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

# Scores by name with their "intervals", as JSON has them; groups of examples are nested in it.
Scores = Mapping[str, Any]
Among = Callable[[Sequence[bool]], dict]  # scores among the examples that a mask keeps
RESAMPLES = 1_000
SHARE = 0.95
RULE = f"{SHARE:.0%} percentile bootstrap over examples, {RESAMPLES:,} resamples"
SEED = 0
AT_ONCE = 2**22  # most resampled examples in memory at a time


@dataclasses.dataclass(frozen=True, eq=False)
class Tally:
  """The counts_NE of each of N examples, and `value`: from their sum [..., E] to the score [...].

  A row of NaN is an example that the score ignores.
  """

  counts_NE: np.ndarray
  value: Callable[[np.ndarray], np.ndarray]

  def among(self, kept: Sequence[bool]) -> "Tally":
    """Returns the tally of the examples that a mask keeps."""
    return Tally(self.counts_NE[np.asarray(kept, bool)], self.value)

  def score(self) -> float | None:
    """Returns the score of all examples together, None if there are none."""
    counts_NE = self._having()
    return float(self.value(counts_NE.sum(axis=0))) if len(counts_NE) else None

  def interval(self) -> list[float] | None:
    """Returns [low, high] by `RULE`, deterministic; None for fewer than two examples.

    Examples are drawn with replacement, as many as there are, and scored; 95% of such scores lie
    in the interval. Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993,
    chapter 13; for BLEU Koehn 2004, "Statistical significance tests for MT evaluation".
    """
    counts_NE = self._having()
    if len(counts_NE) < 2:
      return None
    sums = [weights_RN @ counts_NE for weights_RN in _drawn(len(counts_NE))]
    scores_R = self.value(np.concatenate(sums))
    tail = (1 - SHARE) / 2
    return np.quantile(scores_R, [tail, 1 - tail]).tolist()

  def _having(self) -> np.ndarray:
    return self.counts_NE[~np.isnan(self.counts_NE).any(axis=1)]


def ratio(sums: np.ndarray) -> np.ndarray:
  """Returns the first of two sums over the second."""
  return sums[..., 0] / sums[..., 1]


def scores(tallies: Mapping[str, Tally]) -> dict:
  """Returns {name: score, "intervals": {name: [low, high]}} of the tallies that have examples."""
  by_name: dict = {}
  intervals = {}
  for name, tally in tallies.items():
    score, interval = tally.score(), tally.interval()
    if score is not None:
      by_name[name] = score
    if interval is not None:
      intervals[name] = interval
  return {**by_name, "intervals": intervals} if intervals else by_name


def by_group(groups: Sequence[str | None], among: Among) -> dict[str, dict]:
  """Returns {group: scores} of the examples in each group."""
  names = sorted({*groups} - {None})
  return {name: among([group == name for group in groups]) for name in names}


def _drawn(examples: int) -> Iterator[np.ndarray]:
  """Yields weights_RN: how often each of N examples was drawn, for R resamples at a time."""
  random = np.random.default_rng(SEED)
  most = max(1, AT_ONCE // examples)
  for start in range(0, RESAMPLES, most):
    resamples = min(most, RESAMPLES - start)
    drawn_RN = random.integers(0, examples, (resamples, examples))
    drawn_RN += np.arange(resamples)[:, None] * examples
    weights = np.bincount(drawn_RN.ravel(), minlength=resamples * examples)
    yield weights.reshape(resamples, examples).astype(np.float64)
