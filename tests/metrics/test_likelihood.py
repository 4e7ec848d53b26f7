import pytest

from audiopalm.metrics import likelihood
from audiopalm.metrics.likelihood import Sums


def test_values_are_sums_over_cells_not_means_of_examples():
  scores = likelihood.reduce([{"text": Sums(3.0, 1.0, 1.0)}, {"text": Sums(3.0, 1.0, 3.0)}])
  assert scores["nll"] == 6 / 4
  assert scores["token_accuracy"] == 2 / 4


def test_modalities_are_scored_apart_and_together():
  scores = likelihood.reduce([{"text": Sums(2.0, 1.0, 2.0), "speech": Sums(9.0, 0.0, 3.0)}])
  assert scores["modalities"] == {
    "speech": {"nll": 3.0, "token_accuracy": 0.0},
    "text": {"nll": 1.0, "token_accuracy": 0.5},
  }
  assert scores["nll"] == pytest.approx(11 / 5)


def test_a_modality_without_a_cell_is_left_out():
  scores = likelihood.reduce([{"text": Sums(2.0, 1.0, 2.0), "speech": Sums()}])
  assert list(scores["modalities"]) == ["text"]


def test_nothing_predicted_gives_no_scores():
  assert likelihood.reduce([]) == {}
  assert likelihood.reduce([{"text": Sums()}]) == {}
