"""Does a plan rank meshes as they run? Six meshes of eight CPU devices, predicted and measured.

  python benchmarks/plan_ranking.py

The rates of the devices are measured first (audiopalm plan --calibrate). Then each mesh is planned,
and its training step timed: 7 repeats of all meshes in turn, medians. Pairs of meshes whose times
are within 5 % of each other are left out; of the others Kendall's tau says how far both orders agree
(1: wholly, 0: by chance). Results are in benchmarks/results/plan_ranking-MACHINE.json.
"""

import argparse
import itertools
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import score

from audiopalm import sharding
from audiopalm.batch import Batch
from audiopalm.data.corpora import Synthetic
from audiopalm.experiment import Experiment
from audiopalm.models import decoder
from audiopalm.parts import mixtures, tokenizers
from audiopalm.planning import calibrate, plan, program, topology
from audiopalm.settings import Machine
from audiopalm.training import optimizers, state, step

MESHES = (
  {"data": 8},
  {"fsdp": 8},
  {"data": 2, "fsdp": 2, "tensor": 2},
  {"fsdp": 2, "tensor": 4},
  {"fsdp": 2, "context": 4},
  {"context": 2, "tensor": 4},
)
TIES = 0.05


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--repeats", type=int, default=7)
  arguments = parser.parse_args()
  os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"  # read at the first device
  os.environ["JAX_PLATFORMS"] = "cpu"
  with tempfile.TemporaryDirectory() as folder:
    calibrate.measure(Path(folder, "cpu.json"))
    on = topology.named("cpu:8", calibration=Path(folder, "cpu.json"))
  experiment = made()
  machines = [
    Machine(name="benchmark", **{"data": 1, "fsdp": 1, **sizes}, loss_chunk_rows=256)
    for sizes in MESHES
  ]
  predicted = [plan.training(experiment, machine, on).bounds for machine in machines]
  steps = [prepared(experiment, machine) for machine in machines]
  seconds = [[] for _ in steps]
  for repeat in range(arguments.repeats + 1):
    for number, run in enumerate(steps):
      start_s = time.perf_counter()
      run()
      if repeat:  # the first warms up
        seconds[number].append(time.perf_counter() - start_s)
  measured = [statistics.median(times) for times in seconds]
  tau, pairs = kendall([bounds.bound_s for bounds in predicted], measured)
  result = {
    "command": "python benchmarks/plan_ranking.py",
    **score.conditions(("jax", "flax", "optax", "numpy")),
    "rates": vars(on.chip),
    "repeats": arguments.repeats,
    "meshes": [
      {
        "mesh": sizes,
        "predicted_s": round(bounds.bound_s, 4),
        "of_which": {
          "arithmetic": round(bounds.arithmetic_s, 4),
          "memory": round(bounds.memory_s, 4),
          "links": round(bounds.interconnect_s, 4),
        },
        "measured_s": round(median, 4),
        "measured_s_all": [round(one, 4) for one in times],
      }
      for sizes, bounds, median, times in zip(MESHES, predicted, measured, seconds, strict=True)
    ],
    "pairs": pairs,
    "kendall_tau": round(tau, 3),
  }
  score.write(f"plan_ranking-{score.machine_name()}", result)
  print(json.dumps(result, indent=1))


def kendall(predicted: list[float], measured: list[float]) -> tuple[float, int]:
  """Returns (tau, pairs): the share of pairs in the same order less that in the other, of the pairs
  whose measured times differ by more than TIES."""
  pairs = [
    (a, b)
    for a, b in itertools.combinations(range(len(measured)), 2)
    if abs(measured[a] - measured[b]) > TIES * min(measured[a], measured[b])
  ]
  agree = sum(
    np.sign(predicted[a] - predicted[b]) * np.sign(measured[a] - measured[b]) for a, b in pairs
  )
  return float(agree / max(len(pairs), 1)), len(pairs)


def made() -> Experiment:
  corpus = Synthetic(languages=("en", "fr"))
  return Experiment(
    name="ranking",
    tokenizers=(tokenizers.text(size=2_000), tokenizers.units(size=256)),
    mixture=mixtures.blend((mixtures.asr(corpus), 1.0)),
    model=decoder.Decoder(layers=4, width=256, heads=4, kv_heads=4, head_width=64, hidden=704),
    row_length=256,
    batch_rows=16,
  )


def prepared(experiment: Experiment, machine: Machine):
  """Returns a function that takes one training step on the machine's mesh."""
  mesh, space = sharding.mesh(machine), program.space_of(experiment)
  model = decoder.model(experiment.model, space)
  chain = optimizers.build(experiment.optimizer, experiment.steps)
  shape = experiment.batch_rows, experiment.row_length
  ones_BL = np.ones(shape, np.int32)
  tokens_BL = np.random.default_rng(0).integers(2_000, size=shape, dtype=np.int32)
  batch = Batch(
    tokens_BLK=tokens_BL[..., None],
    weights_BLK=np.ones((*shape, 1), np.float32),
    segments_BL=ones_BL,
    positions_BL=np.arange(experiment.row_length, dtype=np.int32) * ones_BL,
    visible_BL=0 * ones_BL,
    task_B=np.zeros(shape[0], np.int32),
  )
  key = jax.random.key(0)
  with jax.set_mesh(mesh):
    now = state.create(model.init(key, mesh), {}, experiment.objective.players, chain)
    placed = sharding.place(batch, mesh, ("batch", "rows"))
    train_step = step.build(model, experiment.objective, chain, machine)

  def run() -> None:
    nonlocal now
    with jax.set_mesh(mesh):
      now, metrics = train_step(now, placed, key)
      jax.block_until_ready(metrics)

  return run


if __name__ == "__main__":
  main()
