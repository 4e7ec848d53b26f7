"""Likelihood scores from sums per example: nats per cell and token accuracy, by modality."""

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np

from audiopalm.metrics import tally
from audiopalm.metrics.tally import Tally

RULE = "nats per predicted cell, each given the reference cells before it"


@dataclasses.dataclass(frozen=True)
class Sums:
  """Sums over the predicted cells of one modality, of one example or many.

  `nll` is the weighted sum of -log p in nats, `correct` the weighted number of cells whose most
  likely id is the target, `weight` the sum of the weights: the number of cells if all weights are
  1.
  """

  nll: float = 0.0
  correct: float = 0.0
  weight: float = 0.0

  def __add__(self, other: "Sums") -> "Sums":
    return Sums(self.nll + other.nll, self.correct + other.correct, self.weight + other.weight)


def reduce(examples: Iterable[Mapping[str, Sums]]) -> dict:
  """Returns {"nll", "token_accuracy", "modalities": {modality: the same two}} over all examples.

  Every value is length-normalized: a sum over all cells divided by their weight, so that a long
  example counts for its length and one example's value does not depend on its neighbors. Each comes
  with its "intervals" over examples (`tally.scores`). Modalities without cells are left out;
  without any cells the result is empty.
  """
  examples = list(examples)
  modalities = sorted({modality for example in examples for modality in example})
  scored = {
    modality: _scores([example.get(modality, Sums()) for example in examples])
    for modality in modalities
  }
  scored = {modality: scores for modality, scores in scored.items() if scores}
  if not scored:
    return {}
  return {**_scores([sum(example.values(), Sums()) for example in examples]), "modalities": scored}


def _scores(sums: list[Sums]) -> dict:
  counts_NE = np.array([(of.nll, of.correct, of.weight) for of in sums if of.weight > 0])
  counts_NE = counts_NE.reshape(-1, 3)
  return tally.scores(
    {
      "nll": Tally(counts_NE[:, [0, 2]], tally.ratio),
      "token_accuracy": Tally(counts_NE[:, [1, 2]], tally.ratio),
    }
  )
