import dataclasses

import jax
import numpy as np
import pytest

from audiopalm import sharding
from audiopalm.settings import Evaluation
from audiopalm.training import goodput, held_out


def test_held_out_loss_is_the_mean_over_cells_however_the_rows_are_batched(tiny, tmp_path):
  made = tiny.experiment(evaluation=Evaluation(held_out_batch_rows=10))
  prepared, mesh = tiny.Prepared(made), sharding.mesh(tiny.ONE)
  model = made.model.build(prepared.space)
  spent = goodput.Goodput(tmp_path / "goodput.jsonl")
  found = []
  with jax.set_mesh(mesh):
    params = tiny.params(model, mesh)
    for batch_rows in (8, 2):
      data = dataclasses.replace(made.data, batch_rows=batch_rows)
      measured = dataclasses.replace(made, data=data)
      make = held_out.HeldOut(measured, prepared, model, tiny.ONE, mesh, spent)
      found.append(make.measure(params, {}))
      assert make.measure(params, {}) == found[-1]
  assert set(found[0]) == {"asr", "mt"}
  for task, values in found[0].items():
    for name, value in values.items():
      np.testing.assert_allclose(value, found[1][task][name], rtol=1e-5)
  assert found[0]["asr"]["nll_text"] == pytest.approx(np.log(128), rel=0.5)
  assert spent.seconds["compile"] > 0 and spent.seconds["evaluation"] > 0
