"""One of several processes that agree on things and make batches together; a program:

python tests/training/several.py OUT MESH --coordinator-address HOST:PORT --num-processes N
  --process-id I
"""

import argparse
import dataclasses
import hashlib
import json
import sys
from pathlib import Path

import jax
import tiny
from jax.experimental import multihost_utils

from audiopalm import sharding
from audiopalm.batch import Counts
from audiopalm.cli import processes
from audiopalm.data import loader
from audiopalm.errors import DataError
from audiopalm.settings import Machine
from audiopalm.training import together

STEPS = 3


def digest(batch) -> str:
  """Returns what is equal for equal batches."""
  parts = [getattr(batch, field.name).tobytes() for field in dataclasses.fields(batch)]
  return hashlib.sha256(b"".join(parts)).hexdigest()


def counted(counts: Counts) -> list:
  """Returns counts as JSON takes them."""
  by_task = [counts.rows_T, counts.examples_T, counts.tokens_T]
  lengths = sorted(counts.lengths_N.tolist())
  return [*(numbers_T.tolist() for numbers_T in by_task), lengths, counts.digest]


def main() -> int:
  parser = argparse.ArgumentParser()
  parser.add_argument("out", type=Path)
  parser.add_argument("mesh", help="as in data=2,fsdp=4")
  processes.add_arguments(parser)
  args = parser.parse_args()
  processes.join(args)
  index = jax.process_index()

  def fail():
    raise DataError("nothing here")

  told = together.from_first(lambda: {"by": index})
  everybody = together.gathered(f"process {index}")
  try:
    together.from_first(fail)
  except DataError as error:
    complaint = str(error)

  made = tiny.experiment()
  prepared = tiny.Prepared(made)
  axes = {axis: int(size) for axis, size in (part.split("=") for part in args.mesh.split(","))}
  mesh, tasks = sharding.mesh(Machine(**axes)), len(made.tasks)
  here = sharding.rows_here(mesh, made.data.batch_rows)
  counts_here = sharding.counted_here(mesh, made.data.batch_rows)
  exchange = together.Exchange(mesh, tasks, made.data.row_length)
  batches, digests, counts, asked = loader.Loader(prepared, made, mine=here), [], [], []
  with jax.set_mesh(mesh):
    for step in range(STEPS):
      batch = batches.batch_at(step)
      placed = sharding.place(batch, mesh, batch.axes(), made.data.batch_rows)
      # The last process is given a signal before the second step.
      given = "SIGTERM" if step >= 1 and index == args.num_processes - 1 else ""
      read = exchange.begin(batch.count(tasks, counts_here, here.start), given)
      counts.append(counted(read()))
      asked.append(exchange.asked_by)
      digests.append(digest(multihost_utils.process_allgather(placed, tiled=True)))
  found = {
    "told": told,
    "everybody": everybody,
    "complaint": complaint,
    "rows": [here.start, here.stop],
    "digests": digests,
    "counts": counts,
    "asked": asked,
  }
  (args.out / f"{index}.json").write_text(json.dumps(found))
  return 0


if __name__ == "__main__":
  sys.exit(main())
