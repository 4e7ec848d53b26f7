"""Likelihood scores from sums per example: nats per cell and token accuracy, by modality."""

import dataclasses
from collections.abc import Iterable, Mapping


@dataclasses.dataclass(frozen=True)
class Sums:
  """What one example (or many) adds up to over the cells predicted in one modality.

  `nll` is the weighted sum of -log p in nats, `correct` the weighted number of cells whose
  likeliest id is the right one, `weight` the sum of the weights: the number of cells where each
  weighs 1.
  """

  nll: float = 0.0
  correct: float = 0.0
  weight: float = 0.0

  def __add__(self, other: "Sums") -> "Sums":
    return Sums(self.nll + other.nll, self.correct + other.correct, self.weight + other.weight)


def reduce(examples: Iterable[Mapping[str, Sums]]) -> dict:
  """Returns {"nll", "token_accuracy", "modalities": {modality: the same two}} over all examples.

  Every value is length-normalised: a sum over all cells divided by their weight, so that a long
  example counts for its length and one example's value does not depend on its neighbours.
  Modalities without a cell are left out; without any cell the result is empty.

      one example, text: nll 3.0 over 2 cells, 1 right   ->  {"nll": 1.5, "token_accuracy": 0.5,
      ...}
  """
  totals: dict[str, Sums] = {}
  for example in examples:
    for modality, sums in example.items():
      totals[modality] = totals.get(modality, Sums()) + sums
  totals = {modality: sums for modality, sums in sorted(totals.items()) if sums.weight > 0}
  if not totals:
    return {}
  everything = sum(totals.values(), Sums())
  modalities = {modality: _means(sums) for modality, sums in totals.items()}
  return {**_means(everything), "modalities": modalities}


def _means(sums: Sums) -> dict[str, float]:
  return {"nll": sums.nll / sums.weight, "token_accuracy": sums.correct / sums.weight}
