import dataclasses

import jax
import numpy as np
import pytest

from audiopalm import sharding
from audiopalm.evaluation import likelihoods, suites, trials
from audiopalm.models import decoder
from audiopalm.objectives.next_token import NextToken
from audiopalm.parts import mixtures

SMALL = decoder.Decoder(layers=1, width=16, heads=2, kv_heads=2, head_width=8, hidden=32)


def test_sums_of_an_example_do_not_depend_on_what_shares_its_row(made_up):
  run = made_up.trained(mixtures.asr, objective=NextToken())
  model = SMALL.build(run.prepared.space)
  params = model.init(jax.random.key(0), sharding.mesh(run.machine))
  run = dataclasses.replace(run, model=model, params=params)
  kind = suites.kinds(run.experiment.tasks, run.prepared.space.streams)["asr"]
  grids = [question.grid for question in trials.of_split(run, kind, "test").questions[:4]]
  together = likelihoods.of_examples(run, grids)
  for grid, sums in zip(grids, together, strict=True):
    (alone,) = likelihoods.of_examples(run, [grid])
    assert sums["text"].nll == pytest.approx(alone["text"].nll, rel=1e-5)
    predicted = np.count_nonzero(grid.weights_LK)
    assert (sums["text"].weight, sums["special"].weight) == (predicted - 1, 1)  # the stop
    assert sums["speech"].weight == 0
