"""Log-likelihood sums of the reference answer of each example, computed in packed rows."""

import functools
from collections.abc import Sequence

import jax
import numpy as np

from audiopalm import sharding
from audiopalm.batch import Batch
from audiopalm.data import packed, rows
from audiopalm.inference.trained import Trained
from audiopalm.metrics.likelihood import Sums
from audiopalm.models.base import LanguageModel, Params
from audiopalm.objectives.base import Objective
from audiopalm.settings import Machine
from audiopalm.types import Grid


def of_examples(trained: Trained, grids: Sequence[Grid]) -> list[dict[str, Sums]]:
  """Returns {modality: Sums} of the predicted cells of each grid, in the order of the grids.

  Every cell is predicted from the reference cells before it. Grids are packed into batch rows as in
  training, which does not change their sums. All are {} if the objective has no likelihoods.
  """
  if not grids:
    return []
  data, machine = trained.experiment.data, trained.machine
  offsets_R, order_N = rows.pack(np.array([len(grid) for grid in grids]), data.row_length)
  packed_rows = [order_N[start:stop] for start, stop in zip(offsets_R, offsets_R[1:], strict=False)]
  # A batch has as many rows as a micro-batch of training, which is known to fit the device.
  mesh = sharding.mesh(machine)
  device_rows = data.batch_rows // sharding.batch_ways(mesh)
  count = data.batch_rows // machine.accumulation(device_rows, data.row_length)
  # A power of two, so that tasks share the compiled program.
  segments = 1 << (max(map(len, packed_rows)) - 1).bit_length()
  sums: dict[int, dict[str, Sums]] = {}
  for start in range(0, len(packed_rows), count):
    batch_rows = packed_rows[start : start + count]
    by_row = [[grids[number] for number in row] for row in batch_rows]
    by_row += [[]] * (count - len(batch_rows))
    batch = packed.assemble(by_row, [0] * count, data.row_length, trained.prepared.space.columns)
    with jax.set_mesh(mesh):
      scores = _score(
        trained.experiment.objective,
        trained.language_model,
        trained.params,
        trained.variables,
        sharding.place(batch, mesh, batch.axes()),
        segments=segments,
        machine=machine,
      )
    if scores is None:
      return [{}] * len(grids)
    scores = jax.tree.map(np.asarray, scores)
    for b, row in enumerate(batch_rows):
      for segment, number in enumerate(row, 1):
        sums[int(number)] = {
          modality: Sums(*(float(of[name][b, segment]) for name in ("nll", "correct", "count")))
          for modality, of in scores.items()
        }
  return [sums[number] for number in range(len(grids))]


@functools.partial(jax.jit, static_argnames=("objective", "model", "segments", "machine"))
def _score(
  objective: Objective,
  model: LanguageModel,
  params: Params,
  variables: Params,
  batch: Batch,
  *,
  segments: int,
  machine: Machine,
) -> dict[str, dict[str, jax.Array]] | None:
  return objective.score(model, params, variables, batch, segments=segments, machine=machine)
