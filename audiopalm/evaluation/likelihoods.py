"""How likely the model finds the right answers: sums per example, from packed rows."""

import functools
from collections.abc import Sequence

import jax
import numpy as np

from audiopalm import sharding
from audiopalm.data import loader, rows
from audiopalm.inference import prompting
from audiopalm.metrics.likelihood import Sums
from audiopalm.objectives import next_token
from audiopalm.types import Grid


def of_examples(generator: prompting.Generator, grids: Sequence[Grid]) -> list[dict[str, Sums]]:
  """Returns {modality: Sums} of the predicted cells of each grid, in the order of the grids.

  Grids share rows as in training, which changes no value. Under teacher forcing: every cell is
  predicted from the right ones before it.
  """
  if not grids:
    return []
  row_length, machine = generator.experiment.row_length, generator.machine
  offsets_R, order_N = rows.pack(np.array([len(grid) for grid in grids]), row_length)
  packed = [order_N[start:stop] for start, stop in zip(offsets_R, offsets_R[1:], strict=False)]
  # As many rows as a micro-batch of training, which is known to fit the device.
  mesh = sharding.mesh(machine)
  batch_rows, ways = generator.experiment.batch_rows, sharding.batch_ways(mesh)
  each = batch_rows // machine.accumulation(batch_rows // ways, row_length)
  most = 1 << (max(map(len, packed)) - 1).bit_length()  # a power of two: tasks share the program
  sums: dict[int, dict[str, Sums]] = {}
  for start in range(0, len(packed), each):
    here = packed[start : start + each]
    held = [[grids[number] for number in row] for row in here] + [[]] * (each - len(here))
    batch = loader.assemble(held, [0] * each, row_length, generator.prepared.space.columns)
    with jax.set_mesh(mesh):
      found = _score(
        generator.model,
        generator.params,
        sharding.place(batch, mesh, ("batch", "rows")),
        machine,
        segments=most,
      )
    found = jax.tree.map(np.asarray, found)
    for b, row in enumerate(here):
      for segment, number in enumerate(row, 1):
        sums[int(number)] = {
          modality: Sums(
            float(values["nll"][b, segment]),
            float(values["correct"][b, segment]),
            float(values["count"][b, segment]),
          )
          for modality, values in found.items()
        }
  return [sums[number] for number in range(len(grids))]


@functools.partial(jax.jit, static_argnames=("model", "machine", "segments"))
def _score(model, params, batch, machine, *, segments):
  return next_token.score(model, params, batch, machine, segments)
